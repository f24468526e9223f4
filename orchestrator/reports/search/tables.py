"""Tables of searches as text: what they found, what it cost, every trial, the front, and what pruning did."""

from collections.abc import Iterable, Sequence
from functools import partial

import pandas as pd

from orchestrator.reports.layout import (
    Column,
    Field,
    Fields,
    TextTable,
    interval_text,
    judged,
    judged_cell,
    number,
    pct,
    pp,
    text_table,
    with_note,
)
from orchestrator.reports.search.importance import objective_word, pareto_front
from orchestrator.reports.search.pruning import pruned_trials
from orchestrator.results.searches import SearchedCell, SearchTrial
from orchestrator.results.time_to_pair import seconds_text
from orchestrator.results.trials import Trial
from orchestrator.results.verdicts import Finding, Outcome
from orchestrator.search.pair_choice import choose
from orchestrator.store.states import State
from search_spaces.loss_space import LossSpace
from search_spaces.names import OBJECTIVES, Objective
from search_spaces.objective import ACCURACIES, accuracies_of

_CELL = Column("cell", is_number=False, max_width=38)


def _verdict_field(outcome: Outcome) -> Field:
    """A verdict with what it rests on, e.g. `catastrophic` on `2 of 3 seeds`."""
    finding = outcome.finding
    if finding is None:
        return Field(f"{outcome.verdict} in {_count(outcome.num_trials, 'trial')}")
    return with_note(judged_cell(finding.on_seeds), _start(outcome.searched, finding))


def _start(searched: SearchedCell, finding: Finding) -> str:
    """Where the student of a finding started if not at the white box, and whether further seeds did, too."""
    starts = {each.record.uid: each.trial.started_from for each in searched.trials if each.record}
    if not (start := starts.get(finding.pair.uid)):
        return ""
    confirmed = [each.trial.started_from for each in searched.confirmations if each.record]
    how = "further seeds, too" if any(confirmed) else "further seeds from scratch"
    return f"started from {start}" + (f"; {how}" if confirmed else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def overview_table(outcomes: Sequence[Outcome]) -> TextTable:
    """Lays out what every search found and what its first pair cost, for the terminal."""
    rows: Iterable[Fields] = (
        (outcome.searched.title, _verdict_field(outcome), str(outcome.num_ended), *_to_first(outcome)[:2])
        for outcome in outcomes
    )
    return text_table(
        "",
        (_CELL, Column.text("verdict"), *map(Column, ("trials", "first trial", "epochs"))),
        rows,
        heading="Searched cells: verdict on test, and the cost of the first pair",
        caption="first: until the first pair that is catastrophic on validation; > : without any",
    )


def verdict_table(outcomes: Sequence[Outcome]) -> TextTable:
    """Lays out what every search found, on the test split."""
    columns = (
        _CELL,
        Column.text("verdict"),
        Column("trial"),
        *(Column(name, "Test split") for name in ("drop", "gap", "catastrophic seeds (%)")),
        Column("chance per draw (%)"),
    )
    rows: list[Fields] = []
    for outcome in outcomes:
        to_come = outcome.searched.num_to_come
        verdict = with_note(_verdict_field(outcome), f"{to_come} trials to come" if to_come else "")
        rows.append((outcome.searched.title, verdict, *_found(outcome.finding), _chance(outcome)))
    return text_table("", columns, rows)


def _chance(outcome: Outcome) -> Field:
    if outcome.num_drawn is None:
        return Field("")
    bound = "" if outcome.chance_high is None else f"below {pct(outcome.chance_high, digits=1)}"
    return Field(bound or "any", note=_count(outcome.num_drawn, "draw"))


def _found(finding: Finding | None) -> Fields:
    if finding is None:
        return [""] * 4
    intervals = ((finding.drop, pp), (finding.parity_gap, pp), (finding.share, partial(pct, digits=0)))
    return (
        str(finding.pair.trial_number),
        *(Field(write(each.value), note=interval_text(each.low, each.high)) for each, write in intervals),
    )


def cost_table(outcomes: Sequence[Outcome]) -> TextTable:
    """Lays out what the first pair of every cell cost, `> ` where there is none."""
    columns = (
        _CELL,
        *(Column(name, "To the first pair") for name in ("trials", "epochs", "device-seconds")),
        Column.name("on test", "To the first pair"),
        *(Column(name, "In all") for name in ("trials", "epochs", "device-seconds", "skipped")),
    )
    rows: Iterable[Fields] = (
        (
            outcome.searched.title,
            *_to_first(outcome),
            "" if outcome.first is None else str(outcome.first.verdict),
            str(outcome.num_ended),
            str(outcome.num_epochs),
            f"{outcome.device_seconds:.0f}",
            str(outcome.searched.num_skipped),
        )
        for outcome in outcomes
    )
    return text_table("Cost of the first pair that is catastrophic on validation", columns, rows)


def _to_first(outcome: Outcome) -> tuple[str, str, str]:
    """Trials, epochs and device-seconds until the first pair; with `> ` what they were in vain, e.g. `> 812`."""
    if outcome.first is None:
        return f"> {outcome.num_ended}", f"> {outcome.num_epochs}", f"> {outcome.device_seconds:.0f}"
    return f"{outcome.trials_to_first}", f"{outcome.epochs_to_first}", f"{outcome.device_seconds_to_first:.0f}"


def curve_table(curve: pd.DataFrame) -> TextTable:
    """Lays out the curve of `time_to_pair`."""
    columns = map(Column, ("epochs", "cells searched", "found", "ended without", "without a hit (%)"))
    rows: Iterable[Fields] = (
        (
            f"{row['epochs']:.0f}",
            *(str(row[name]) for name in ("num_at_risk", "num_found", "num_censored")),
            Field(pct(row["share"], digits=1), note=interval_text(row["share_low"], row["share_high"])),
        )
        for row in curve.to_dict("records")
    )
    return text_table("Cells without a hit, by epochs of their searches", columns, rows)


def trial_table(searched: SearchedCell, space: LossSpace, objective: Objective = OBJECTIVES[0]) -> TextTable:
    """Lists every trial of a searched cell: its point, where that comes from, and what became of it."""
    columns = (
        Column("trial"),
        Column.text("point from"),
        *(Column(name, "Point", is_number=name in space.ranges) for name in space.fields),
        *(Column(name, "Validation") for name in ("FP", "delta", "gap", objective_word(objective))),
        *(Column(name, "Test") for name in ("FP", "delta", "gap")),
        Column.text("verdict", "Test"),
    )
    chosen = choose(searched.records)
    rows: list[Fields] = [
        (
            *_point_fields(each.trial, space, is_chosen=bool(each.record) and each.record is chosen),
            *_ended(each, objective),
        )
        for each in (*searched.trials, *searched.confirmations)
    ]
    skipped = f"; {searched.num_skipped} further trials skipped" if searched.num_skipped else ""
    return text_table(f"{searched.title}{skipped}", columns, rows)


def _point_fields(trial: Trial, space: LossSpace, *, is_chosen: bool) -> Fields:
    point = [(trial.point or {}).get(name) for name in space.fields]
    name = trial.node.name.rpartition("/")[2] if trial.is_confirmation else str(trial.node.trial_number)
    return (
        Field(name, note="chosen" if is_chosen else ""),
        with_note(
            Field(trial.point_from, note=f"seed {trial.node.seed}" if trial.is_confirmation else ""),
            f"started from {trial.started_from}" if trial.started_from else "",
        ),
        *(
            Field("" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value))
            for value in point
        ),
    )


def _ended(each: SearchTrial, objective: Objective) -> Fields:
    """What a trial of the search reached; of one that was pruned, what it had reached by then."""
    if record := each.record:
        reached = {name: getattr(record, f"validation_{name}") for name in ACCURACIES}
        test = (pct(record.accuracy_fp), pp(record.accuracy_delta), pp(record.parity_gap))
        stopped = _after(each) if each.stopped_on_hit else ""
        return (
            *_validation(reached, record.scored(objective)),
            *test,
            with_note(judged(record.verdict, record.evidence), stopped),
        )
    state = each.trial.state
    if state is not State.PRUNED:
        return (*[""] * 7, str(state))
    validation: Sequence[str] = [""] * 4
    if each.rows:
        last = each.rows[-1]
        validation = _validation(accuracies_of(last, "validation"), each.scored_at(last["epoch"], objective))
    return (*validation, *[""] * 3, Field(str(state), note=_after(each)))


def _after(each: SearchTrial) -> str:
    return f"after epoch {each.num_epochs_run} of {each.num_epochs}"


def _validation(accuracies: dict[str, float], scored: float | None) -> tuple[str, ...]:
    white_box, fp, q = (accuracies[name] for name in ACCURACIES)
    return pct(fp), pp(q - fp), pp(white_box - fp), pct(scored)


def front_table(searches: Sequence[SearchedCell]) -> TextTable:
    """Lays out the Pareto fronts of parity gap and drop, a front per cell."""
    columns = (
        _CELL,
        Column("trial"),
        *(Column(name, split) for split in ("Validation", "Test") for name in ("gap", "drop")),
        Column.name("verdict", "Test"),
    )
    rows: Iterable[Fields] = (
        (
            searched.title,
            str(record.trial_number),
            *map(pp, (record.validation_parity_gap, -record.validation_accuracy_delta)),
            *map(pp, (record.parity_gap, -record.accuracy_delta)),
            judged(record.verdict, record.evidence),
        )
        for searched in searches
        for record in pareto_front(searched.records)
    )
    return text_table("Pareto fronts: trials that none beats in both parity gap and drop on validation", columns, rows)


def pruned_table(searches: Sequence[SearchedCell], objective: Objective = OBJECTIVES[0]) -> TextTable:
    """Lists the trials that were ended early, beside the best that others of their cell had at the same epoch."""
    columns = (
        _CELL,
        Column("trial"),
        Column("epochs"),
        *(Column(name, f"{objective_word(objective).capitalize()} then (pp)") for name in ("trial", "best of others")),
        Column("saved"),
    )
    rows = []
    for searched, each in pruned_trials(searches):
        epoch = len(each.rows)
        at_epoch = [other.scored_at(epoch, objective) for other in searched.trials if other is not each]
        best = max((value for value in at_epoch if value is not None), default=None)
        done, saved = f"{epoch} of {each.num_epochs}", seconds_text(each.saved_device_seconds)
        rows.append((searched.title, str(each.number), done, pct(each.scored_at(epoch, objective)), pct(best), saved))
    return text_table("Trials ended early", columns, rows)


def correlation_table(
    correlations: pd.DataFrame, searches: Sequence[SearchedCell], objective: Objective = OBJECTIVES[0]
) -> TextTable:
    """Lays out the correlations of `rung_correlations`."""
    titles = {searched.cell.cell_id: searched.title for searched in searches}
    columns = (_CELL, *map(Column, ("after epoch", "trials", "Spearman")), Column.name("why none", is_optional=True))
    write = number(2)
    rows: Iterable[Fields] = (
        (
            titles.get(row["cell"], "all, by ranks within cells"),
            "" if pd.isna(row["epoch"]) else str(row["epoch"]),
            str(row["num_trials"]),
            Field(write(row["spearman"]), note="" if row["reason"] else f"{write(row['low'])} to {write(row['high'])}"),
            row["reason"],
        )
        for row in correlations.to_dict("records")
    )
    return text_table(
        f"Rank of the {objective_word(objective)} at half of the epochs against the final one, finished trials",
        columns,
        rows,
    )
