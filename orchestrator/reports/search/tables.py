"""Tables of searches as text: what they found, what it cost, every trial, the front, and what pruning did."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.document import Column, Field, TextTable, number, pct, point, pp
from orchestrator.reports.search.importance import pareto_front
from orchestrator.reports.search.pruning import pruned_trials
from orchestrator.results.pairs import PairRecord
from orchestrator.results.searches import SearchedCell, SearchTrial
from orchestrator.results.time_to_pair import seconds_text
from orchestrator.results.trials import Trial
from orchestrator.results.verdicts import Interval, Outcome, SearchVerdict
from orchestrator.search.pair_choice import choose
from orchestrator.store.states import State
from search_spaces.loss_space import LossSpace
from search_spaces.objective import accuracies_of, detrimental_objective

_CELL = Column("cell", is_number=False)
_COLORED = {SearchVerdict.CATASTROPHIC: "catastrophic", SearchVerdict.SOMETIMES: "partial drop"}
"""The colours of a pair's verdicts, for those of a search."""


def verdict_text(outcome: Outcome) -> str:
    """Writes a verdict with the numbers it rests on, e.g. `sometimes: 2 of 3 seeds`."""
    finding = outcome.finding
    if finding is None:
        return f"{outcome.verdict} in {outcome.num_trials} trial{'' if outcome.num_trials == 1 else 's'}"
    seeds = "seed" if finding.num_seeds == 1 else "seeds"
    return f"{outcome.verdict}: {finding.num_catastrophic} of {finding.num_seeds} {seeds}"


def verdict_table(outcomes: Sequence[Outcome]) -> TextTable:
    """Writes down what every search found, on the test split."""
    columns = (
        _CELL,
        Column("verdict", is_number=False, wraps=True),
        Column("trial"),
        *(Column(name, "Test split") for name in ("drop", "gap", "catastrophic seeds (%)")),
        Column("chance per trial (%)"),
    )
    rows = []
    for outcome in outcomes:
        finding, to_come = outcome.finding, outcome.searched.num_to_come
        verdict = Field(
            verdict_text(outcome),
            note=f"{to_come} trials to come" if to_come else "",
            verdict=_COLORED.get(outcome.verdict, ""),
        )
        found = (
            (Field(""),) * 4
            if finding is None
            else (
                Field(str(finding.pair.trial_number)),
                Field(pp(finding.drop.value), note=_ends(finding.drop)),
                Field(pp(finding.parity_gap.value), note=_ends(finding.parity_gap)),
                Field(pct(finding.share.value, digits=0), note=_ends(finding.share)),
            )
        )
        bound = "" if outcome.chance_high is None else f"below {pct(outcome.chance_high, digits=1)}"
        rows.append((Field(outcome.searched.title), verdict, *found, Field(bound)))
    return TextTable("", columns, tuple(rows))


def cost_table(outcomes: Sequence[Outcome]) -> TextTable:
    """Writes down what the first pair of every cell cost, `> ` where there is none."""
    columns = (
        _CELL,
        *(Column(name, "To the first pair") for name in ("trials", "device-seconds")),
        Column("on test", "To the first pair", is_number=False),
        *(Column(name, "In all") for name in ("trials", "device-seconds", "spared")),
    )
    rows = tuple(
        (
            Field(outcome.searched.title),
            Field(or_more(outcome.trials_to_first, outcome.num_ended)),
            Field(or_more(outcome.device_seconds_to_first, outcome.device_seconds)),
            Field("" if outcome.first is None else str(outcome.first.verdict)),
            Field(str(outcome.num_ended)),
            Field(f"{outcome.device_seconds:.0f}"),
            Field(str(outcome.searched.num_spared)),
        )
        for outcome in outcomes
    )
    return TextTable("Cost of the first pair that is catastrophic on validation", columns, rows)


def or_more(until_first: float | None, in_all: float) -> str:
    """Writes what it took; with `> ` what it took in vain.

    Examples:
        >>> or_more(3, 8), or_more(None, 812.3)
        ('3', '> 812')
    """
    return f"> {in_all:.0f}" if until_first is None else f"{until_first:.0f}"


def curve_table(curve: pd.DataFrame) -> TextTable:
    """Writes the curve of `time_to_pair` down."""
    columns = tuple(map(Column, ("device-seconds", "cells searched", "found", "ended without", "without a pair (%)")))
    rows = tuple(
        (
            Field(f"{row['device_seconds']:.0f}"),
            *(Field(str(row[name])) for name in ("num_at_risk", "num_found", "num_censored")),
            Field(pct(row["share"], digits=1), note=_range(row["share_low"], row["share_high"])),
        )
        for row in curve.to_dict("records")
    )
    return TextTable("Cells without a pair, by device-seconds of their searches", columns, rows)


def trial_table(searched: SearchedCell, space: LossSpace) -> TextTable:
    """Writes down every trial of a searched cell: its point, where that comes from, and what became of it."""
    columns = (
        Column("trial"),
        Column("point from", is_number=False, wraps=True),
        *(Column(name, "Point", is_number=name in space.ranges) for name in space.fields),
        *(Column(name, "Validation") for name in ("FP", "delta", "gap", "objective")),
        *(Column(name, "Test") for name in ("FP", "delta", "gap")),
        Column("verdict", "Test", is_number=False, wraps=True),
    )
    chosen = choose(searched.records)
    rows = [
        (*_point_fields(each.trial, space, is_chosen=each.record is not None and each.record is chosen), *_ended(each))
        for each in searched.trials
    ]
    rows += [(*_point_fields(each.trial, space), *_ended(each)) for each in searched.confirmations]
    spared = f"; {searched.num_spared} further trials spared" if searched.num_spared else ""
    return TextTable(f"{searched.title}{spared}", columns, tuple(rows))


def _point_fields(trial: Trial, space: LossSpace, *, is_chosen: bool = False) -> tuple[Field, ...]:
    place = trial.point or {}
    name = trial.node.name.rpartition("/")[2] if trial.is_confirmation else str(trial.node.trial_number)
    return (
        Field(name, note="chosen" if is_chosen else ""),
        Field(trial.point_from, note=f"seed {trial.node.seed}" if trial.is_confirmation else ""),
        *(Field(_value_text(place.get(name))) for name in space.fields),
    )


def _value_text(value: object) -> str:
    return point(value) if isinstance(value, float) or value is None else str(value)


def _ended(each: SearchTrial) -> tuple[Field, ...]:
    """What a trial of the search reached; of one that was pruned, what it had reached by then."""
    state = each.trial.state
    if each.record is None and state is not State.PRUNED:
        return (*[Field("")] * 7, Field(str(state)))
    if each.record is None:
        validation = accuracies_of(each.rows[-1], "validation") if each.rows else None
        after = f"after epoch {len(each.rows)} of {each.num_epochs}"
        return (*_validation(validation), *[Field("")] * 3, Field(str(state), note=after))
    record = each.record
    names = ("accuracy_white_box", "accuracy_fp", "accuracy_q")
    return (*_validation({name: getattr(record, f"validation_{name}") for name in names}), *_test_fields(record))


def _validation(accuracies: dict[str, float] | None) -> tuple[Field, ...]:
    if accuracies is None:
        return (Field(""),) * 4
    white_box, fp, q = accuracies["accuracy_white_box"], accuracies["accuracy_fp"], accuracies["accuracy_q"]
    objective = pct(detrimental_objective(**accuracies))
    return Field(pct(fp)), Field(pp(q - fp)), Field(pp(white_box - fp)), Field(objective)


def front_table(searches: Sequence[SearchedCell]) -> TextTable:
    """Writes the Pareto fronts of parity gap and drop down, a front per cell."""
    columns = (
        _CELL,
        Column("trial"),
        *(Column(name, "Validation") for name in ("gap", "drop")),
        *(Column(name, "Test") for name in ("gap", "drop")),
        Column("verdict", "Test", is_number=False),
    )
    rows = tuple(
        (
            Field(searched.title),
            Field(str(record.trial_number)),
            *(Field(pp(value)) for value in (record.validation_parity_gap, -record.validation_accuracy_delta)),
            *(Field(pp(value)) for value in (record.parity_gap, -record.accuracy_delta)),
            Field(record.verdict, verdict=record.verdict),
        )
        for searched in searches
        for record in pareto_front(searched.records)
    )
    return TextTable("Pareto fronts: trials that none beats in both parity gap and drop on validation", columns, rows)


def pruned_table(searches: Sequence[SearchedCell]) -> TextTable:
    """Lists the trials that were ended early, beside the best that others of their cell had at the same epoch."""
    columns = (
        _CELL,
        Column("trial"),
        Column("epochs"),
        *(Column(name, "Objective then (pp)") for name in ("trial", "best of others")),
        Column("saved"),
    )
    rows = []
    for searched, each in pruned_trials(searches):
        epoch = len(each.rows)
        at_epoch = [other.objective_at(epoch) for other in searched.trials if other is not each]
        others = [value for value in at_epoch if value is not None]
        rows.append(
            (
                Field(searched.title),
                Field(str(each.number)),
                Field(f"{epoch} of {each.num_epochs}"),
                Field(pct(each.objective_at(epoch))),
                Field(pct(max(others, default=None))),
                Field(seconds_text(each.saved_device_seconds)),
            )
        )
    return TextTable("Trials ended early", columns, tuple(rows))


def correlation_table(correlations: pd.DataFrame, searches: Sequence[SearchedCell]) -> TextTable:
    """Writes the correlations of `rung_correlations` down."""
    titles = {searched.cell.cell_id: searched.title for searched in searches}
    columns = (_CELL, *map(Column, ("after epoch", "trials", "Spearman")), Column("why none", is_number=False))
    write = number(2)
    rows: tuple[tuple[Field, ...], ...] = tuple(
        (
            Field(titles.get(row["cell"], "all, by ranks within cells")),
            Field("" if pd.isna(row["epoch"]) else str(row["epoch"])),
            Field(str(row["num_trials"])),
            Field(write(row["spearman"]), note="" if row["reason"] else f"{write(row['low'])} to {write(row['high'])}"),
            Field(row["reason"]),
        )
        for row in correlations.to_dict("records")
    )
    if not any(row[-1].text for row in rows):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    return TextTable(
        "Rank of the objective at half of the epochs against the final one, finished trials", columns, rows
    )


def _test_fields(record: PairRecord) -> tuple[Field, ...]:
    return (
        Field(pct(record.accuracy_fp)),
        Field(pp(record.accuracy_delta)),
        Field(pp(record.parity_gap)),
        Field(record.verdict, verdict=record.verdict),
    )


def _ends(interval: Interval) -> str:
    return _range(interval.low, interval.high)


def _range(low: float | None, high: float | None) -> str:
    return "" if pct(low) == "" else f"{pct(low, digits=1)} to {pct(high, digits=1)}"
