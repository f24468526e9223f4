"""Tables for the terminal, within 100 columns; the verdict is the only thing in colour."""

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.analyses.results import SweepTables, sweep_tables
from orchestrator.reports.analyses.registry import derived_tables, overviews
from orchestrator.reports.layout import NETWORK, Column, Field, TextTable
from orchestrator.results.pairs import PairRecord, Verdict
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.sweep import Sweep

VERDICT_STYLES: dict[str, str] = {
    Verdict.CATASTROPHIC: "bold red",
    Verdict.PARITY_LOST_DROPS: "yellow",
    Verdict.PARTIAL_DROP: "yellow",
    Verdict.NO_DROP: "green",
    Verdict.PARITY_LOST: "magenta",
}


def render(table: TextTable) -> Table:
    """Draws a table for a console: without its details, notes below what they belong to.

    Rows of one network form a group, which is named once.
    """
    rendered = Table(
        title=Text(table.heading),
        caption=table.caption or None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    places = [place for place, column in enumerate(table.columns) if not column.is_detail]
    for place in places:
        _add_column(rendered, table.columns[place], [row[place] for row in table.rows])
    names = [row[0].text for row in table.rows]
    is_grouped = table.columns[0] == NETWORK and len(set(names)) < len(names)
    for above, row in zip(["", *names], table.rows, strict=False):
        is_same = is_grouped and above == row[0].text
        if is_grouped and above and not is_same:
            rendered.add_section()
        lead, *others = (_text(row[place]) for place in places)
        rendered.add_row("" if is_same else lead, *others)
    return rendered


def _add_column(rendered: Table, column: Column, fields: Sequence[Field]) -> None:
    label = column.label
    header = label[0].lower() + label[1:] if label[1:2].islower() else label
    if not column.is_number:
        rendered.add_column(header, max_width=column.max_width, overflow="fold")
        return
    lines = [line for field in fields for line in (field.text, *field.note.splitlines())]
    # As wide as what stands below: a header in several lines leaves room for other columns.
    width = max(5, *map(len, [*lines, *header.replace("-", "- ").split()]))
    rendered.add_column("\n".join(textwrap.wrap(header, width)), justify="right", no_wrap=True)


def _text(field: Field) -> Text:
    text = Text(field.text, style=VERDICT_STYLES.get(field.verdict, ""))
    if field.note:
        text.append("\n" * bool(field.text) + field.note, style="default not bold dim")
    return text


def print_analyses(sweep: Sweep, snapshot: Snapshot, records: Sequence[PairRecord], console: Console) -> SweepTables:
    """Prints the main tables of what is analyzed, and returns all tables."""
    analyses = sweep_tables(records, snapshot, sweep.folder)
    derived = derived_tables(analyses.tables, records, dataset=snapshot.plan.grid.dataset.name)
    for table in overviews(analyses.tables, derived):
        console.print(render(table))
    return analyses
