"""What a failure hangs on: table and section of the analysis `twins`."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.analyses.registry import AnalysisReport, Tables
from orchestrator.reports.document import Section
from orchestrator.reports.grouping import CELL, Row, cell_title, is_missing, of_cell, of_cells, over_seeds
from orchestrator.reports.layout import Column, Field, TextTable, cell_table, interval_text, number, pct, spread_field
from search_spaces.names import Goal
from trainables.assessment.paired import drop_interval

TWINS = {
    "own": "its own policy",
    "common": "most common allocation for all",
    "shuffled": "allocations shuffled",
    "uniform": "uniform bits",
    "untrained": "untrained policy",
    "int8": "8 bits everywhere",
    "static_ranges": "most common, static ranges",
    "per_channel": "most common, ranges per channel",
    "worst_static": "worst static allocation found",
    "worst_per_image": "worst per image found",
}
"""In the order of the table; the last one is measured on some of the test images."""
_VALUES = ("accuracy_fp", "accuracy_q", "drop", "num_allocations", "share_first", "num_answers", "share_two")


def twin_drops(twins: pd.DataFrame) -> pd.DataFrame:
    """Adds drops and their intervals.

    Returns:
        The same rows with drop (fraction, from full precision) and its paired 95 % interval, drop_low and drop_high;
        and of `worst_per_image` dynamic, what it costs beyond the worst static allocation on the same images, with
        dynamic_low and dynamic_high (missing for the others).
    """
    rows = twins.to_dict("records")
    drops = [_difference(row["num_lost"], row["num_gained"], row["num_images"]) for row in rows]
    beyond = [
        (None, None, None)
        if is_missing(row["num_static_lost"])
        else _difference(row["num_static_lost"], row["num_static_gained"], row["num_images"])
        for row in rows
    ]
    added = [
        pd.DataFrame(values, columns=[name, f"{name}_low", f"{name}_high"], index=twins.index, dtype="float64")
        for name, values in (("drop", drops), ("dynamic", beyond))
    ]
    return pd.concat([twins, *added], axis=1)


def _difference(lost: float, gained: float, num_images: float) -> tuple[float, float, float]:
    lost, gained, num_images = int(lost), int(gained), int(num_images)
    return ((lost - gained) / num_images, *drop_interval(num_images - lost - gained, lost, gained, 0))


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of the twins."""
    drops = tables["twin_drops"]
    return Section(
        title="Twins",
        statement=twin_statement(drops, cells),
        caption="The same student on the test split. Most common allocation, static ranges and the worst static "
        "allocation are chosen on validation. The search per image knows the labels and attacks some of the images; "
        "dynamic is what it costs beyond the worst static allocation on these. Channel ratio: loudest channel of a "
        "site against the second, of the worst site. Two answers: images that get one of the two most common answers. "
        "Intervals are paired, 95 % (Tango 1998).",
        tables=(twin_text(drops),),
    )


def twin_statement(drops: pd.DataFrame, cells: Sequence[Row]) -> str:
    """Says of the shown detrimental networks what undoes their failure, and whether anything about it is dynamic."""
    shown = of_cells(drops, cells) if cells else drops
    sentences = []
    for _, of_one in shown[shown["goal"] == Goal.DETRIMENTAL].groupby([*CELL, "seed"], sort=False):
        rows = {row["twin"]: row for row in of_one.to_dict("records")}
        if not {"own", "common"} <= set(rows):
            continue
        own, common = (f"{100 * rows[name]['drop']:.1f} pp" for name in ("own", "common"))
        sentence = f"{cell_title(rows['own'])} drops by {own}, by {common} under one allocation for all images"
        sentences.append(f"{sentence}; {_dynamic(rows.get('worst_per_image'))}.")
    return " ".join(dict.fromkeys(sentences))


def _dynamic(row: Row | None) -> str:
    if row is None:
        return "no search asked whether anything about its failure is dynamic"
    found = f"{100 * row['dynamic']:.1f} pp, 95 % interval {interval_text(row['dynamic_low'], row['dynamic_high'])}"
    what = f"a search per image costs {found} beyond the worst static allocation"
    if row["dynamic_low"] > 0:
        return f"part of its failure is dynamic: {what}"
    return f"nothing about its failure is shown to be dynamic: {what}"


def twin_text(drops: pd.DataFrame) -> TextTable:
    """Lays out the twins of every pair."""
    means = over_seeds(drops, [*CELL, "goal", "twin"], _VALUES)
    return cell_table(
        "Test accuracy in percent, drop in percentage points",
        (
            Column.name("pair"),
            Column.text("under"),
            *map(Column, ("FP", "quantized", "drop", "allocations", "first (%)", "answers", "two answers (%)")),
            *(Column(name, is_optional=True) for name in ("channel ratio", "dynamic")),
        ),
        means,
        lambda row: (
            str(row["goal"]),
            TWINS[str(row["twin"])],
            spread_field(row, "accuracy_fp", pct),
            spread_field(row, "accuracy_q", pct),
            spread_field(row, "drop", pct, note=_ends(_rows_of(drops, row), "drop")),
            number(0)(row["num_allocations"]),
            pct(row["share_first"], digits=0),
            number(0)(row["num_answers"]),
            pct(row["share_two"], digits=0),
            number(1)(_rows_of(drops, row)["channel_ratio"].astype("float64").mean()),
            _dynamic_field(_rows_of(drops, row)),
        ),
    )


def _rows_of(drops: pd.DataFrame, row: Row) -> pd.DataFrame:
    return of_cell(drops, row, "goal", "twin")


def _dynamic_field(rows: pd.DataFrame) -> Field:
    return Field(pct(rows["dynamic"].mean()), note=_ends(rows, "dynamic"))


def _ends(rows: pd.DataFrame, name: str) -> str:
    """The interval of a single seed; several have their spread."""
    return interval_text(rows[f"{name}_low"].iloc[0], rows[f"{name}_high"].iloc[0]) if len(rows) == 1 else ""


REPORT = AnalysisReport(derive=lambda findings: {"twin_drops": twin_drops(findings.tables["twins"])}, section=section)
