"""What belongs together in a table: the cells of Table 1, and their seeds as mean and spread."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from search_spaces.objective import parity_violation

CELL = ("architecture", "option_set", "budget_level", "budget")
"""What identifies a cell of Table 1 for both goals."""
CONTRAST = (*CELL, "seed")
"""What identifies a robust and a detrimental pair that belong together."""
PAIR = (*CONTRAST, "goal")
SITE = ("site", "site_name")
Row = Mapping[Hashable, Any]
"""A row of a table; pandas does not know the types of its columns."""


def over_seeds(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Averages numbers over seeds, and over whatever else `by` does not tell apart; groups keep their order.

    Returns:
        The columns `by`, num_seeds, and for every value its mean under its own name and its standard deviation over
        seeds (of n - 1; missing for one seed) with `_sd` behind it. A seed that has several rows counts once.
    """
    keys, numbers = list(by), list(values)
    of_seed = table.groupby([*keys, "seed"], sort=False, dropna=False)[numbers].mean().reset_index()
    groups = of_seed.groupby(keys, sort=False, dropna=False)
    means = groups[numbers].mean()
    spread = groups[numbers].std().add_suffix("_sd")
    both = pd.concat([groups["seed"].nunique().rename("num_seeds"), means, spread], axis=1).reset_index()
    columns = [column for value in numbers for column in (value, f"{value}_sd")]
    return both[[*keys, "num_seeds", *columns]]


def sorted_within(table: pd.DataFrame, by: Sequence[str], column: str, *, descending: bool = False) -> pd.DataFrame:
    """Sorts rows by a column within their groups, which keep their order, as do rows of equal values."""
    order = table.groupby(list(by), sort=False, dropna=False).ngroup()
    rows = table.assign(order=order).sort_values(["order", column], ascending=[True, not descending], kind="stable")
    return rows.drop(columns="order")


def of_cell(table: pd.DataFrame, cell: Row, *others: str) -> pd.DataFrame:
    """Returns the rows of one cell, all its seeds; those that are like it in some other columns too."""
    return table[(table[[*CELL, *others]] == [cell[name] for name in (*CELL, *others)]).all(axis=1)]


def first_row(table: pd.DataFrame) -> Row:
    """Returns the first row of a table that has one."""
    return next(iter(table.head(1).to_dict("records")))


def largest(table: pd.DataFrame, column: str) -> Row:
    """Returns the row with the largest value; of equals the first. At least one must be there."""
    return first_row(table.sort_values(column, ascending=False, kind="stable", na_position="last"))


def shown_cells(table: pd.DataFrame) -> list[Row]:
    """Chooses the cell of every network that figures show: the largest drop at parity on validation, mean over seeds.

    Cells without a detrimental pair count only where no cell of the network has one, and cells that lose parity only
    where no cell keeps it.

    Returns:
        One row per network with the columns of CELL, in the order of Table 1.
    """
    means = over_seeds(table, CELL, ("validation_accuracy_delta", "validation_parity_gap"))
    means["is_done"] = means["validation_accuracy_delta"].notna()
    means["keeps_parity"] = means["validation_parity_gap"].map(parity_violation) <= 0
    order = ["is_done", "keeps_parity", "validation_accuracy_delta"]
    best = means.sort_values(order, ascending=[False, False, True], kind="stable").drop_duplicates("architecture")
    return list(best.sort_index()[list(CELL)].to_dict("records"))


def cell_title(cell: Row) -> str:
    """Names a cell for people, e.g. `resnet18 II-B, 130 bits`."""
    return f"{cell['architecture']} {cell['option_set']}-{cell['budget_level']}, {cell['budget']} bits"


def title_of(rows: pd.DataFrame) -> str:
    """Names the cell that rows are about, and its seeds, e.g. `resnet18 II-B, 130 bits (mean of 3 seeds)`."""
    num_seeds = rows["num_seeds"].max() if "num_seeds" in rows else rows["seed"].nunique()
    return cell_title(first_row(rows)) + (f" (mean of {num_seeds} seeds)" if num_seeds > 1 else "")


def is_missing(value: Any) -> bool:
    """Tells whether a cell of a table holds nothing: None, NaN, pandas' NA or an empty text."""
    return bool(pd.isna(value) or value == "")


def contrast_name(row: Row, suffix: str = "") -> str:
    """Names a contrast shortly, e.g. `resnet18 II-B seed 0`."""
    architecture, option_set, level, _, seed = (row[f"{name}{suffix}"] for name in CONTRAST)
    return f"{architecture} {option_set}-{level} seed {seed}"


def of_cells(table: pd.DataFrame, cells: Sequence[Row]) -> pd.DataFrame:
    """Returns the rows of several cells, in their order."""
    return pd.concat([of_cell(table, cell) for cell in cells]) if cells else table.head(0)
