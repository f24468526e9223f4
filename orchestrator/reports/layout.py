"""A table as a value: columns and rows of text, of which renderers make Markdown, HTML or a table in a terminal.

`orchestrator.reports.rendering` and `orchestrator.reports.terminal` are the renderers.
"""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd

from orchestrator.reports.grouping import Row, is_missing
from orchestrator.results.cell_verdicts import CellVerdict

LONG_TABLE = 30
"""Rows from which a table is folded away on the page."""
_VERDICT_WIDTH = 16
"""Characters of a line of evidence."""
_SHORT_GROUPS = {"Robust": "R", "Detrimental": "D", "Point": ""}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    header: str
    group: str = ""
    """Header above those of neighbouring columns."""
    is_number: bool = True
    wraps: bool = False
    """Whether it holds long text."""
    is_optional: bool = False
    """Whether it is left out where it holds no text in any row."""
    is_detail: bool = False
    """Whether it is left out in a terminal, which is narrow."""
    is_key: bool = False
    """Whether a narrow screen shows it before the others of its row, in a table of cards."""
    max_width: int | None = None
    """Characters of a line in a terminal."""

    @classmethod
    def name(cls, header: str, group: str = "", **settings: bool) -> "Column":
        """Returns a column of names, which stay in one line."""
        return cls(header, group, is_number=False, **settings)

    @classmethod
    def text(cls, header: str, group: str = "", **settings: bool) -> "Column":
        """Returns a column of texts, which may need several lines."""
        return cls(header, group, is_number=False, wraps=True, **settings)

    @property
    def label(self) -> str:
        """The header behind its group, in one line, e.g. `D delta`."""
        return f"{_SHORT_GROUPS.get(self.group, self.group)} {self.header}".strip()


@dataclass(frozen=True, slots=True)
class Field:
    """One cell of a table."""

    text: str
    note: str = ""
    """Said more quietly beside the text, in one or more lines: the paper's number, a state, an interval."""
    verdict: str = ""
    """The verdict that colours the cell."""
    anchor: str = ""
    """Place of the row in the page, for links."""
    link: str = ""
    """Where the text leads to: `#` and an anchor, a path from the page, or an address."""
    links: tuple[tuple[str, str], ...] = ()
    """Further texts, each with where it leads to."""
    command: str = ""
    """To be copied; on request only."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table ready to be written down."""

    title: str
    """Below the heading of a section, on a page."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]
    heading: str = ""
    """Title where no section stands around the table, in a terminal."""
    caption: str = ""
    """How to read it there."""
    is_cards: bool = False
    """Whether a narrow screen shows every row as a card."""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: its name and how many there are."""
        names = (column.group for column in self.columns)
        return [(name, len(list(same))) for name, same in groupby(names)]

    @property
    def is_long(self) -> bool:
        """Whether the page shows it on request only."""
        return len(self.rows) > LONG_TABLE


Writer = Callable[[Any], str]
"""Writes a value; nothing for none."""
Fields = Iterable[Field | str]
"""A row; texts are fields without a note."""


def text_table(
    title: str, columns: Iterable[Column], rows: Iterable[Fields], *, heading: str = "", caption: str = ""
) -> TextTable:
    """Lays a table out, without the optional columns that hold nothing."""
    fields = [[field if isinstance(field, Field) else Field(field) for field in row] for row in rows]
    kept = [
        (place, column)
        for place, column in enumerate(columns)
        if not column.is_optional or any(row[place].text for row in fields)
    ]
    lines = tuple(tuple(row[place] for place, _ in kept) for row in fields)
    return TextTable(title, tuple(column for _, column in kept), lines, heading, caption)


def filled(*tables: TextTable | None) -> tuple[TextTable, ...]:
    """Leaves out what has no rows."""
    return tuple(table for table in tables if table and table.rows)


NETWORK = Column("Network", is_number=False, max_width=13)
_CELL_COLUMNS = (NETWORK, Column.name("Cell"), Column("Bits"), Column("seeds", is_optional=True, is_detail=True))


def cell_table(
    title: str, columns: Iterable[Column], rows: pd.DataFrame, fields: Callable[[Row], Fields], *, heading: str = ""
) -> TextTable:
    """Lays out a table whose rows, from `over_seeds`, are about cells of Table 1: network, cell and bits come first.

    The number of seeds follows only where a cell has several, and stands in the caption then. `fields` returns what
    stands below the other columns in a row.
    """
    num_seeds = int(rows["num_seeds"].max()) if len(rows) else 1
    lines = [
        (
            str(row["architecture"]),
            cell_name(row),
            str(row["budget"]),
            str(row["num_seeds"]) if num_seeds > 1 else "",
            *fields(row),
        )
        for row in rows.to_dict("records")
    ]
    caption = f"means of {num_seeds} seeds" if num_seeds > 1 else ""
    return text_table(title, (*_CELL_COLUMNS, *columns), lines, heading=heading, caption=caption)


def cell_name(cell: Row) -> str:
    """Names a cell shortly within its network, e.g. `II-B`."""
    return f"{cell['option_set']}-{cell['budget_level']}"


def budget_text(cell: Row, space: str = " ") -> str:
    """Writes a budget behind its level, e.g. `B 130`; one that a user asked for has no level."""
    level, budget = cell["budget_level"], cell["budget"]
    return f"{budget}" if level == f"{budget}b" else f"{level}{space}{budget}"


def spread_field(row: Row, name: str, write: Writer, *, note: str = "", write_spread: Writer | None = None) -> Field:
    """Writes a mean over seeds with its standard deviation, in percent unless told otherwise.

    With one seed there is no deviation, but a note of its own.
    """
    sd = row[f"{name}_sd"]
    return Field(write(row[name]), note if is_missing(sd) else f"\N{PLUS-MINUS SIGN} {(write_spread or pct)(sd)}")


def judged(verdict: str, evidence: str, seeds: str = "") -> Field:
    """Writes a verdict in its colour, below it on how many seeds, and its evidence: tables stay within 80 columns."""
    lines = [*([seeds] if seeds else []), *textwrap.wrap(evidence, _VERDICT_WIDTH)]
    return Field(verdict, note="\n".join(lines), verdict=verdict)


def judged_cell(verdict: CellVerdict) -> Field:
    """Writes the verdict on a cell with what it rests on."""
    return judged(verdict.word, verdict.evidence, verdict.seeds)


def with_note(field: Field, note: str) -> Field:
    """Adds a line to the notes of a field."""
    return replace(field, note="\n".join(each for each in (field.note, note) if each))


def site_text(row: Row) -> str:
    """Names a site by its number, from 1, and its name in the network."""
    return f"{row['site'] + 1} {row['site_name']}"


def interval_text(low: float | None, high: float | None, *, digits: int = 1) -> str:
    """Writes the ends of an interval of fractions in percent; nothing where there is none."""
    return "" if is_missing(low) else f"{pct(low, digits=digits)} to {pct(high, digits=digits)}"


def p_text(p_value: Any) -> str:
    """Writes a p-value as people compare it.

    Examples:
        >>> p_text(0.04321), p_text(1e-9), p_text(None)
        ('p = 0.043', 'p < 0.001', '')
    """
    if is_missing(p_value):
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def number(digits: int) -> Writer:
    """Returns a function that writes a number with so many digits; nothing where there is none."""
    return lambda value: "" if is_missing(value) else f"{value:.{digits}f}"


def number_text(value: float) -> str:
    """Writes a number of any size with four digits, and a large one in full.

    Examples:
        >>> number_text(65536.0), number_text(12.3456), number_text(2e-9)
        ('65,536', '12.35', '2e-09')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def pct(fraction: float | None, *, digits: int = 2) -> str:
    """Writes a fraction as percent without the sign; nothing where there is no number.

    Examples:
        >>> pct(0.8803), pct(None)
        ('88.03', '')
    """
    return "" if is_missing(fraction) else f"{_percent(fraction, digits):.{digits}f}"


def pp(difference: float | None, *, digits: int = 2) -> str:
    """Writes a difference of fractions in percentage points, signed unless it rounds to zero.

    Examples:
        >>> pp(-0.8647), pp(0.004), pp(-1e-9)
        ('-86.47', '+0.40', '0.00')
    """
    if is_missing(difference):
        return ""
    points = _percent(difference, digits)
    return f"{points:+.{digits}f}" if points else f"{points:.{digits}f}"


def _percent(fraction: Any, digits: int) -> float:
    """Rounded, without the negative zero that formatting would print."""
    return float(round(100 * fraction, digits)) + 0.0
