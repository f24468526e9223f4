"""What a report says of an analysis: the module of this folder that has the analysis's name holds it as `REPORT`.

Functions of these modules take the table of their analysis, or what they derive of it, whole or the rows of one cell;
figures without anything to show are None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

import pandas as pd

from orchestrator.reports.document import Section
from orchestrator.reports.grouping import Row
from orchestrator.reports.layout import TextTable
from orchestrator.results.pairs import PairRecord
from search_spaces.analyses import ANALYSES

Tables = Mapping[str, pd.DataFrame]
"""Tables of analyses by the analyses' names, with `PAIR_COLUMNS` first, and what is derived of them by file name."""


NO_DROP = "No detrimental network that is shown drops beyond noise, so that there is nothing to explain."


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the tables of a report are derived of."""

    tables: Tables
    """Of all analyses, and what is derived of those that come first in `ANALYSES`."""
    records: Sequence[PairRecord]
    """The pairs that are done."""
    dataset: str
    """Name of what the sweep trains on: the paper's numbers stand beside the paper's dataset only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisReport:
    """Tables, section, figures and terminal table of one analysis."""

    derive: Callable[[Findings], dict[str, pd.DataFrame]]
    """Computes what follows from the analysis, by the names of the files that keep it."""
    section: Callable[[Tables, Sequence[Row]], Section]
    """Writes its section, with figures of the given cells."""
    explains_drop: bool = True
    """Whether its sentence is about the drop of the shown pairs, and says nothing where that is chance."""
    overview: Callable[[Tables], TextTable] | None = None
    """Lays out its main table for the terminal; None for an analysis that says nothing there."""


def derived_tables(analyses: Tables, records: Sequence[PairRecord], *, dataset: str) -> dict[str, pd.DataFrame]:
    """Computes everything that follows from the analyses that are done, by name, which is also that of its file."""
    derived: dict[str, pd.DataFrame] = {}
    for report in _reports(analyses):
        derived |= report.derive(Findings(tables={**analyses, **derived}, records=records, dataset=dataset))
    return derived


def analysis_sections(
    analyses: Tables, derived: Tables, cells: Sequence[Row], *, has_drop: bool = True
) -> list[Section]:
    """Writes the sections of the analyses that are done, in the paper's order, with figures of the given cells.

    Where none of their pairs drops beyond noise (`has_drop`), no sentence explains the drop.
    """
    tables, sections = {**analyses, **derived}, []
    for report in _reports(analyses):
        section = report.section(tables, cells)
        is_idle = not has_drop and report.explains_drop and section.statement
        sections.append(replace(section, statement=NO_DROP) if is_idle else section)
    return sections


def overviews(analyses: Tables, derived: Tables) -> list[TextTable]:
    """Lays out the main tables of the analyses that are done, for the terminal."""
    tables = [report.overview({**analyses, **derived}) for report in _reports(analyses) if report.overview]
    return [table for table in tables if table.rows]


def _reports(analyses: Tables) -> list[AnalysisReport]:
    return [import_module(f"orchestrator.reports.analyses.{name}").REPORT for name in ANALYSES if name in analyses]
