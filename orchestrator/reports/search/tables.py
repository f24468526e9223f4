"""Tables of searches as text: what they found, what it cost, and what pruning did."""

from collections.abc import Iterable, Sequence
from functools import partial

import pandas as pd

from orchestrator.reports.layout import (
    Column,
    Field,
    Fields,
    TextTable,
    interval_text,
    judged_cell,
    number,
    pct,
    pp,
    text_table,
    with_note,
)
from orchestrator.reports.search.importance import objective_word
from orchestrator.results.searches import SearchedCell
from orchestrator.results.verdicts import Finding, Outcome
from search_spaces.names import OBJECTIVES, Objective

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
        Field(str(finding.pair.trial_number), link=f"#{finding.pair.uid}"),
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
