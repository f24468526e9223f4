"""What a page is made of, before it becomes Markdown or HTML: sections of sentences, pictures and tables of text."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

from matplotlib.figure import Figure

from orchestrator.reports.drawing import dark, png, svg

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
