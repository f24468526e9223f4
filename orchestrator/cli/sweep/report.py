"""`dptq-sweep report`: Table 1 and the figures of a sweep, from the store alone."""

import click

from orchestrator.cli.options import echo_json, json_option, storage_option, sweep_argument


@click.command("report")
@sweep_argument
@storage_option
@json_option
def command(name: str | None, storage: str, as_json: bool) -> None:
    """Print Table 1 of a sweep and write its report (HTML, Markdown, CSV, Parquet, figures)."""
    from orchestrator.cli.values import open_sweep
    from orchestrator.console import make_console, written
    from orchestrator.launch.ending.assessments import report_assessments
    from orchestrator.reports.page import write_report
    from orchestrator.reports.search.tables import overview_table
    from orchestrator.reports.summary import table1_text
    from orchestrator.reports.table1 import table1
    from orchestrator.reports.terminal import print_analyses, render
    from orchestrator.reports.verification import runtime_table
    from orchestrator.results.cell_verdicts import cell_verdicts
    from orchestrator.results.pairs import records_of
    from orchestrator.results.run_facts import run_facts
    from orchestrator.results.searches import read_searches
    from orchestrator.results.snapshot import EVERYTHING, Snapshot
    from orchestrator.results.standing import standing_of
    from orchestrator.results.trials import chance_level, read_trials
    from orchestrator.results.verdicts import outcome_of
    from orchestrator.results.verifications import verified_trials
    from orchestrator.store.provenance.facts import sweep_facts

    sweep, plan = open_sweep(storage, name)
    snapshot = Snapshot(plan, sweep.store, ahead=EVERYTHING)
    if plan.grid.assessments:
        report_assessments(sweep, snapshot, make_console(), as_json=as_json)
        return
    trials = read_trials(snapshot)
    if as_json:
        pairs = [record.as_json() for record in records_of(trials)]
        facts = {"name": sweep.name, **standing_of(snapshot, sweep.folder).as_json()}
        cells = [verdict.as_json() for verdict in cell_verdicts(trials)]
        echo_json({"sweep": facts, "cells": cells, "pairs": pairs})
        return
    console, standing = make_console(), standing_of(snapshot, sweep.folder)
    console.print(f"sweep {sweep.name} is {standing.text}", highlight=False, soft_wrap=True)
    verdicts, chance = cell_verdicts(trials), chance_level(trials)
    console.print(render(table1_text(table1(plan, trials), verdicts, chance=chance, is_short=True)))
    if searches := read_searches(trials):
        console.print(render(overview_table([outcome_of(cell) for cell in searches])))
    if (runtime := runtime_table(verified_trials(trials), plan.grid.dataset.title)).rows:
        console.print(render(runtime))
    analyses = print_analyses(sweep, snapshot, records_of(trials), console)
    shown = {**run_facts(snapshot, sweep.folder, trials), **sweep_facts(plan)}
    paths = write_report(snapshot, sweep.name, facts=shown, standing=standing, analyses=analyses)
    console.print(written(paths), highlight=False, soft_wrap=True)
