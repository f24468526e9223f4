"""What a page is made of, before it becomes Markdown or HTML: sections of sentences, pictures and tables of text."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.reports.drawing import dark, png, svg
from orchestrator.reports.grouping import Row, is_missing

LONG_TABLE = 30
"""Rows from which a table is folded away on the page."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its header, its group, whether it holds numbers, whether long text may wrap."""

    header: str
    group: str = ""
    is_number: bool = True
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One cell of a table."""

    text: str
    note: str = ""
    """Said more quietly beside the text, in one or more lines: the paper's number, a state, an interval."""
    verdict: str = ""
    """The verdict that colours the cell."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table ready to be written down."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: its name and how many there are."""
        names = (column.group for column in self.columns)
        return [(name, len(list(same))) for name, same in groupby(names)]

    @property
    def is_long(self) -> bool:
        """Whether the page shows it on request only."""
        return len(self.rows) > LONG_TABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One figure of the report."""

    name: str
    alt: str
    png: bytes
    svg: bytes

    @property
    def light_uri(self) -> str:
        """The figure as a data URI."""
        return _data_uri(self.svg)

    @property
    def dark_uri(self) -> str:
        """The figure for the dark theme as a data URI."""
        return _data_uri(dark(self.svg))


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of a page; what it lacks is left out."""

    title: str
    statement: str = ""
    """One sentence that says what the section shows, computed from its numbers."""
    caption: str = ""
    """How to read it."""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[TextTable, ...] = ()
    terms: Mapping[str, str] = field(default_factory=dict)
    """Words and what they mean, or names and their values."""
    is_literal: bool = False
    """Whether the values of `terms` are code: versions, commands."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but a title."""
        return not (self.pictures or self.tables or self.terms or self.statement)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Everything that both pages show, in reading order."""

    title: str
    headline: str
    progress: str
    is_complete: bool
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The figures that there are."""
        return tuple(picture for section in self.sections for picture in section.pictures)


def pictures(*drawn: tuple[str, str, Figure | None]) -> tuple[Picture, ...]:
    """Saves figures, given as name, description and the figure; those that are None are left out."""
    return tuple(Picture(name=name, alt=alt, png=png(figure), svg=svg(figure)) for name, alt, figure in drawn if figure)


def _data_uri(picture: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture).decode()


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


def pct(fraction: object, *, digits: int = 2) -> str:
    """Writes a fraction as percent without the sign; nothing where there is no number.

    Examples:
        >>> pct(0.8803), pct(None)
        ('88.03', '')
    """
    if not isinstance(fraction, float) or is_missing(fraction):
        return ""
    return f"{_clean(fraction, digits):.{digits}f}"


def pp(difference: object, *, digits: int = 2) -> str:
    """Writes a difference of fractions in percentage points, signed unless it rounds to zero.

    Examples:
        >>> pp(-0.8647), pp(0.004), pp(-1e-9)
        ('-86.47', '+0.40', '0.00')
    """
    if not isinstance(difference, float) or is_missing(difference):
        return ""
    points = _clean(difference, digits)
    return f"{points:+.{digits}f}" if points else f"{points:.{digits}f}"


def point(value: object) -> str:
    """Writes a loss weight or margin with three significant digits."""
    return "" if not isinstance(value, float) or is_missing(value) else f"{value:.3g}"


def _clean(fraction: float, digits: int) -> float:
    """Percent, rounded, without the negative zero that formatting would print."""
    return round(100 * fraction, digits) + 0.0
