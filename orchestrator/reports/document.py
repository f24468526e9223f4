"""What a page is made of, before it becomes Markdown or HTML: sections of sentences, pictures and tables."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from orchestrator.reports.drawing import dark, file_name, png, svg
from orchestrator.reports.grouping import Row, cell_title
from orchestrator.reports.layout import TextTable


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
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()

    @property
    def dark_uri(self) -> str:
        """The figure for the dark theme as a data URI."""
        return replace(self, svg=dark(self.svg)).light_uri


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
    points: tuple[str, ...] = ()
    """Sentences, one a line."""
    terms: Mapping[str, str] = field(default_factory=dict)
    """Words and what they mean, or names and their values."""
    is_folded: bool = False
    """Whether the page shows it on request only."""
    is_literal: bool = False
    """Whether the values of `terms` are code: versions, commands."""

    @property
    def anchor(self) -> str:
        """Its place in the page, for links.

        Examples:
            >>> Section(title="Figure 2: where accuracy is lost").anchor
            'figure-2-where-accuracy-is-lost'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but a title."""
        return not (self.pictures or self.tables or self.points or self.terms or self.statement)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Everything that both pages show, in reading order."""

    title: str
    headline: str
    progress: str
    is_complete: bool
    sections: tuple[Section, ...]
    pages: Mapping[str, str] = field(default_factory=dict)
    """Addresses, or commands, of what shows more, by what that is."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The figures that there are."""
        return tuple(picture for section in self.sections for picture in section.pictures)


def pictures(*drawn: tuple[str, str, Figure | None]) -> tuple[Picture, ...]:
    """Saves figures, given as name, description and the figure; those that are None are left out."""
    return tuple(Picture(name=name, alt=alt, png=png(figure), svg=svg(figure)) for name, alt, figure in drawn if figure)


def cell_pictures(
    name: str, alt: str, cells: Sequence[Row], draw: Callable[[Row], Figure | None]
) -> tuple[Picture, ...]:
    """Saves a figure of each cell, named after its network; in the description `{cell}` stands for the cell's title."""
    return pictures(
        *(
            (file_name(name, str(cell["architecture"])), alt.replace("{cell}", cell_title(cell)), draw(cell))
            for cell in cells
        )
    )
