"""`dptq-sweep report`: Table 1 and the figures of a sweep, from the store alone."""

from collections.abc import Sequence

import click
from rich.console import Console

from orchestrator.analyses.tables import SweepTables, sweep_tables
from orchestrator.commands.options import (
    echo_json,
    json_option,
    make_console,
    open_sweep,
    storage_option,
    sweep_argument,
    written,
)
from orchestrator.facts import sweep_facts
from orchestrator.plan import Plan
from orchestrator.reports.analysis_console import render_analyses
from orchestrator.reports.analysis_report import derived_tables
from orchestrator.reports.console import render_table1
from orchestrator.reports.pages import write_report
from orchestrator.reports.pairs import PairRecord, records_of
from orchestrator.reports.search_console import render_searches
from orchestrator.reports.search_trials import read_searches
from orchestrator.reports.search_verdicts import outcome_of
from orchestrator.reports.table1 import table1
from orchestrator.reports.trials import read_trials
from orchestrator.sweeps import Sweep


@click.command("report")
@sweep_argument
@storage_option
@json_option
def command(name: str | None, storage: str, as_json: bool) -> None:
    """Print Table 1 of a sweep and write its report (HTML, Markdown, CSV, Parquet, figures)."""
    sweep, plan = open_sweep(storage, name)
    trials = read_trials(plan, sweep.store)
    if as_json:
        echo_json({"pairs": [record.as_json() for record in records_of(trials)]})
        return
    console = make_console()
    console.print(render_table1(table1(plan, trials)))
    if searches := read_searches(trials, sweep.store):
        console.print(render_searches([outcome_of(cell) for cell in searches]))
    analyses = print_analyses(sweep, plan, records_of(trials), console)
    paths = write_report(plan, sweep.store, sweep.name, facts=sweep_facts(plan), analyses=analyses)
    console.print(written(paths), highlight=False, soft_wrap=True)


def print_analyses(sweep: Sweep, plan: Plan, records: Sequence[PairRecord], console: Console) -> SweepTables:
    """Prints Tables 2 and 3 and the sites where accuracy is lost, of what is analyzed, and returns all tables."""
    analyses = sweep_tables(records, sweep.store, sweep.folder)
    for table in render_analyses(derived_tables(analyses.tables, records, dataset=plan.grid.dataset.name)):
        console.print(table)
    return analyses
