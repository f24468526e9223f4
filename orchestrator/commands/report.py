"""`dptq-sweep report`: Table 1 and the figures of a sweep, from the store alone."""

import click

from orchestrator.commands.options import (
    echo_json,
    json_option,
    make_console,
    open_sweep,
    storage_option,
    sweep_argument,
)
from orchestrator.facts import sweep_facts
from orchestrator.reports.console import render_table1
from orchestrator.reports.pages import write_report
from orchestrator.reports.pairs import records_of
from orchestrator.reports.table1 import table1
from orchestrator.reports.trials import read_trials


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
    for path in write_report(plan, sweep.store, sweep.name, facts=sweep_facts(plan)):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
