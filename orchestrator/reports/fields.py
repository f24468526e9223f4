"""Cells of tables as text: which cell of Table 1 a row is about, and numbers with their spread over seeds."""

from collections.abc import Callable

import pandas as pd

from orchestrator.reports.format import is_missing, pct
from orchestrator.reports.sections import Column, Field
from orchestrator.reports.seeds import Row

CELL_COLUMNS = (Column("Network", is_number=False), Column("Cell", is_number=False), Column("Bits"))


def cell_columns(table: pd.DataFrame) -> tuple[Column, ...]:
    """Returns the columns that say what a row is about; `seeds` only where a cell has several.

    Args:
        table: From `over_seeds`.
    """
    return (*CELL_COLUMNS, Column("seeds")) if has_seeds(table) else CELL_COLUMNS


def cell_fields(row: Row, *, with_seeds: bool) -> tuple[Field, ...]:
    """Returns the cells below `cell_columns`."""
    fields = (
        Field(str(row["architecture"])),
        Field(f"{row['option_set']}-{row['budget_level']}"),
        Field(str(row["budget"])),
    )
    return (*fields, Field(str(row["num_seeds"]))) if with_seeds else fields


def has_seeds(table: pd.DataFrame) -> bool:
    """Tells whether any row of a table from `over_seeds` is a mean over several seeds."""
    return bool((table["num_seeds"] > 1).any())


def spread_field(row: Row, name: str, write: Callable[[object], str], *, note: str = "") -> Field:
    """Writes a mean over seeds with its standard deviation; with one seed, a note of its own."""
    sd = row[f"{name}_sd"]
    is_one = is_missing(sd)
    return Field(write(row[name]), note=note if is_one else f"\N{PLUS-MINUS SIGN} {pct(sd)}")


def p_text(p_value: object) -> str:
    """Writes a p-value as people compare it.

    Examples:
        >>> p_text(0.04321), p_text(1e-9), p_text(None)
        ('p = 0.043', 'p < 0.001', '')
    """
    if not isinstance(p_value, float) or is_missing(p_value):
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def number(digits: int) -> Callable[[object], str]:
    """Returns a function that writes a number with so many digits; nothing where there is none."""

    def write(value: object) -> str:
        is_number = isinstance(value, int | float) and not is_missing(value)
        return f"{value:.{digits}f}" if is_number else ""

    return write
