"""The description of a sweep in MLflow: the begin of its report, as far as MLflow keeps it."""

from dataclasses import replace

from orchestrator.reports.assessment.tables import verdict_line
from orchestrator.reports.document import Page, Section
from orchestrator.reports.layout import TextTable
from orchestrator.reports.rendering import markdown
from orchestrator.reports.summary import headline, progress, table1_text
from orchestrator.reports.table1 import table1
from orchestrator.results.assessments import read_assessments
from orchestrator.results.cell_verdicts import cell_verdicts
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing
from orchestrator.results.trials import chance_level, read_trials

MOST_CHARACTERS = 7000
"""MLflow keeps 8,000 of a description; links come after it."""


def sweep_note(snapshot: Snapshot, sweep: str, standing: Standing) -> str:
    """Returns headline, progress and Table 1 of a sweep in Markdown, whatever has been done of it so far."""
    plan, trials = snapshot.plan, read_trials(snapshot)
    said, section = "", Section(title="")
    if plan.grid.assessments:
        found = [verdict_line(each) for each in read_assessments(snapshot, ())]
        said = " ".join(found) or "No network is assessed yet."
    else:
        table = table1(plan, trials)
        text = table1_text(table, cell_verdicts(trials), chance=chance_level(trials), is_short=True)
        said, section = (
            headline(table),
            Section(title="Table 1", caption=f"{text.title}.", tables=(replace(text, title=""),)),
        )
    page = Page(
        title=f"Sweep {sweep}", headline=said, progress=progress(plan, standing), is_complete=True, sections=(section,)
    )
    return _fitting(page if section.tables else replace(page, sections=()))


def _fitting(page: Page) -> str:
    """Returns a page in Markdown, without the rows of its table that MLflow has no room for."""
    while len(text := markdown(page)) > MOST_CHARACTERS and page.sections:
        (section,) = page.sections
        (table,) = section.tables
        page = replace(page, sections=(replace(section, tables=(_shorter(table, MOST_CHARACTERS / len(text)),)),))
    # Without its title: MLflow folds a description after a few lines.
    return text.partition("\n\n")[2][:MOST_CHARACTERS]


def _shorter(table: TextTable, share: float) -> TextTable:
    """Returns a table with so many of its rows, whose title says that there are more."""
    rows = table.rows[: min(len(table.rows) - 1, int(share * len(table.rows)))]
    return replace(table, rows=rows, title=f"The first {len(rows)} rows; the report has all")
