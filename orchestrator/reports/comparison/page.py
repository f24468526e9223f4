"""How `compare` shows what it found: a table on the console, and a page with figure, arms and cells."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.reports.comparison.data import figure_comparison, logrank_of, without_pair
from orchestrator.reports.document import Page, Section, pictures
from orchestrator.reports.grouping import is_missing
from orchestrator.reports.layout import Column, Field, TextTable, number, pp, text_table, with_note
from orchestrator.reports.rendering import page_files, table_files
from orchestrator.reports.summary import DROP, TOLERANCE
from orchestrator.results.pairs import Verdict
from orchestrator.results.time_to_pair import median_text
from orchestrator.search.arms import Arm
from orchestrator.store.folder import Folder
from trainables.assessment.paired import wilson_interval

COLUMNS = (
    *("arm", "cells done", "found", "held", "shown", "95 % of held", "trials", "epochs", "device-hours"),
    *("median to first", "log-rank p", "bits spent"),
)
_OPTIONAL = ("log-rank p", "bits spent")
_RULE = f"gap to the white box at most {TOLERANCE}, drop at least {DROP}"
TERMS = {
    "Catastrophic pair": _RULE,
    "Found": "a pair that is catastrophic on the validation split, on which searches select",
    "Held": "found, and the pair that stands for the cell is catastrophic on the test split; it is judged there once",
    "Shown": "held, and its test images exclude chance: paired one-sided tests of gap and drop",
    "95 % of held": "Wilson's interval of the share of cells that hold, where all cells of a white box count as one, "
    "because they are no independent draws",
    "Trials, epochs, device-hours": "all that the arm's cells have, also what another arm or sweep ran for them",
    "Median to first": "training epochs until half of the cells have a hit (Kaplan-Meier: cells without one count "
    "for as long as they were searched)",
    "Log-rank p": "of the epochs to the first hit against the search's, or the recipe's where no search was launched "
    "(two-sided, as if cells were independent)",
    "Bits spent": "in percent of the budget, where an arm does not hold images to it: mean over test images and cells, "
    "of the pairs that stand for cells; in brackets the images that spend exactly the budget. Its hits are none under "
    "the budget then",
}


def arm_row(arm: Arm, table: pd.DataFrame) -> tuple[Field | str, ...]:
    """Returns the fields of `COLUMNS` for an arm, given all arms."""
    cells, reference = _of(arm, table), reference_arm(table)
    p_value = math.nan
    if reference and arm is not reference:
        p_value = logrank_of(_begun(cells), _begun(_of(reference, table)))
    held, count, num_done = int(cells["held"].sum()), len(cells), int(cells["is_done"].sum())
    num_clusters = cells["white_box"].nunique()
    low, high = wilson_interval(held / count * num_clusters, num_clusters)
    return (
        arm.label,
        str(count) if num_done == count else f"{num_done} of {count}",
        str(int(cells["found"].sum())),
        str(held),
        str(int(cells["shown"].sum())),
        # The cells that are done first are those with a pair: their share says nothing of the others.
        f"{100 * low:.0f} to {100 * high:.0f} %" if num_done == count else "",
        str(int(cells["trials"].sum())),
        f"{int(cells['epochs'].sum()):,}",
        f"{cells['device_seconds'].sum() / 3600:.2f}",
        median_text(without_pair(_begun(cells))),
        number(3)(p_value),
        _spent_field(cells),
    )


def _spent_field(cells: pd.DataFrame) -> Field:
    """What the pairs of an arm spend of their budgets, on average; nothing where all images spend exactly that."""
    if not (cells["on_budget"] < 1).any():
        return Field("")
    spent, on_budget = (cells["mean_bits"] / cells["budget"]).mean(), cells["on_budget"].mean()
    return Field(f"{100 * spent:.1f} %", note=f"[{100 * on_budget:.0f} %]")


def reference_arm(table: pd.DataFrame) -> Arm | None:
    """Returns the arm that the others are compared with, of those that have begun: the search, or else the recipe."""
    begun = begun_arms(table)
    return next((arm for arm in (Arm.SEARCH, Arm.RECIPE) if arm in begun), None)


def _begun(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells["trials"] > 0]


def _of(arm: Arm, table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == arm]


def begun_arms(table: pd.DataFrame) -> list[Arm]:
    """Returns the arms of which a trial has begun, in their order."""
    return [arm for arm in Arm if table.loc[table["arm"] == arm, "trials"].sum()]


def arms_table(table: pd.DataFrame) -> TextTable:
    """Lays out the comparison: one row per arm that has begun."""
    reference = reference_arm(table)
    compared = f"; log-rank: against {reference.label}" if reference else ""
    return text_table(
        "",
        (Column(name, is_number=name != "arm", is_optional=name in _OPTIONAL) for name in COLUMNS),
        (arm_row(arm, table) for arm in begun_arms(table)),
        heading=f"Catastrophic pairs: {_RULE}",
        caption="found on validation, held on test: one pair per cell" + compared + ";\n"
        "median of Kaplan-Meier: cells without a hit count for as long as they were searched",
    )


def comparison_page(name: str, table: pd.DataFrame, *, not_launched: Sequence[Arm] = ()) -> Page:
    """Makes the page of a comparison.

    Args:
        name: Of the comparison.
        table: Of the arms that were launched; see `comparison`.
        not_launched: Arms that were asked for and have still to begin.
    """
    of_arms = arms_table(table)
    num_cells = table["cell_id"].nunique()
    found = [f"{arm.text} {found.text} and {held.text}" for arm, _, found, held, *_ in of_arms.rows]
    headline = f"Of {num_cells} cells so many have a hit on validation and on test: {'; '.join(found)}."
    waiting = [arm.label for arm in Arm if arm in not_launched or not _of(arm, table)["is_done"].all()]
    alt = "Share of cells without a pair over training epochs, for every arm."
    sections = (
        Section(title="Arms", tables=(of_arms,)),
        Section(title="How soon", pictures=pictures(("figure_comparison", alt, figure_comparison(table)))),
        Section(
            title="Cells",
            caption="Of the pair that stands for a cell: delta and gap to the white box on test, in percentage points. "
            "In brackets the trials up to the first pair on validation, or those that found none.",
            tables=(_cells_table(table, begun_arms(table)),),
        ),
        Section(title="Terms", terms=TERMS),
    )
    return Page(
        title=f"Comparison {name}",
        headline=headline,
        progress=f"Not done: {', '.join(waiting)}." if waiting else "Complete.",
        is_complete=not waiting,
        sections=sections,
    )


def write_comparison(name: str, table: pd.DataFrame, folder: Folder, *, not_launched: Sequence[Arm] = ()) -> list[str]:
    """Saves the table as CSV, Parquet and JSON, the figure as PNG and SVG, and both as a page in Markdown and in HTML.

    Args:
        name: Of the comparison.
        table: Of the arms that were launched; see `comparison`.
        folder: Of one of their sweeps.
        not_launched: Arms that were asked for and have still to begin.

    Returns:
        The paths of the files.
    """
    page = comparison_page(name, table, not_launched=not_launched)
    files = table_files({"comparison": table}) | page_files("comparison", page)
    files["comparison.json"] = table.to_json(orient="records", indent=2).encode()
    for path, content in files.items():
        folder.write_bytes(path, content)
    return [f"{folder.root}/{path}" for path in files]


def _cells_table(table: pd.DataFrame, arms: Sequence[Arm]) -> TextTable:
    has_seeds = table["cell_id"].str.rpartition("/")[2].nunique() > 1
    rows: list[list[Field | str]] = []
    for cell_id, of_cell in table.groupby("cell_id", sort=False):
        by_arm = {row["arm"]: row for row in of_cell.to_dict("records")}
        rows.append([_title(str(cell_id), has_seeds=has_seeds), *(_cell_field(by_arm[arm]) for arm in arms)])
    return text_table("", map(Column.name, ("cell", *(arm.label for arm in arms))), rows)


def _title(cell_id: str, *, has_seeds: bool) -> str:
    architecture, option_set, level, _, seed = cell_id.rsplit("/", 4)
    return f"{architecture} {option_set}-{level}" + (f", seed {seed.removeprefix('seed')}" if has_seeds else "")


def _cell_field(row: Mapping[Hashable, Any]) -> Field:
    """What an arm has in a cell: the verdict on test, drop and gap there, trials."""
    if not row["trials"]:
        return Field("")
    trials = row["trials_to_first"] if row["found"] else row["trials"]
    note = (
        f"[{trials:.0f}]"
        if is_missing(row["drop"])
        else f"{pp(-row['drop'])} at {pp(row['parity_gap'])} [{trials:.0f}]"
    )
    if not is_missing(row["on_budget"]) and row["on_budget"] < 1:
        note += f"\n{row['mean_bits']:.1f} of {row['budget']:.0f} bits"
    if row["held"]:
        field = Field(str(Verdict.CATASTROPHIC), note=note, verdict=Verdict.CATASTROPHIC)
        return with_note(field, row["evidence"])
    return Field("on validation only" if row["found"] else "none" if row["is_done"] else "none yet", note=note)
