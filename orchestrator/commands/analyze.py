"""`dptq-sweep analyze`: measure the pairs of a sweep, and write the tables and figures that come of it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from cluster.resources import analysis_resources, max_concurrent_trials
from cluster.session import check_address, session
from orchestrator.analyses.progress import AnalysisProgress, render_cost
from orchestrator.analyses.run import AnalysisRun
from orchestrator.analyses.settings import load_analyses, save_analyses
from orchestrator.analyses.tasks import AnalysisFolder, AnalysisTask, tasks_of
from orchestrator.commands.options import (
    address_option,
    data_dir_option,
    line_printer,
    make_console,
    open_sweep,
    shared_option,
    storage_option,
    sweep_argument,
    tracking_option,
)
from orchestrator.commands.publish import publish
from orchestrator.commands.report import print_analyses
from orchestrator.facts import sweep_facts
from orchestrator.plan import Plan
from orchestrator.provenance import code_variables
from orchestrator.reports.pairs import pair_records
from orchestrator.shared_storage import check_storage
from orchestrator.stopping import stop_on_signals
from orchestrator.sweeps import Sweep
from orchestrator.tracking import Tracker
from orchestrator.trials import State
from search_spaces.analyses import ANALYSES, Analysis, analysis_named, set_analyses
from search_spaces.errors import ConfigError
from search_spaces.recipes import Goal


@click.command("analyze")
@sweep_argument
@storage_option
@data_dir_option
@click.option("--only", multiple=True, help=f"One of {', '.join(ANALYSES)}; repeatable. [default: all]")
@click.option(
    "--set",
    "assignments",
    metavar="ANALYSIS.SETTING=VALUE",
    multiple=True,
    help="Change a setting, for example layers.max_images=500; repeatable, and kept with the sweep.",
)
@address_option
@shared_option
@tracking_option
def command(
    name: str | None,
    storage: str,
    data_dir: Path | None,
    only: tuple[str, ...],
    assignments: tuple[str, ...],
    address: str | None,
    shared_storage: bool,
    tracking_uri: str | None,
) -> None:
    """Measure the pairs of a sweep: cross-policy, transitory points, layers, histograms, corruptions, cures.

    What is done is kept, an interrupted analysis goes on with what it lacks; `stop` and Ctrl-C end it in order. Ends
    with the sweep's report.
    """
    console = make_console()
    check_address(address)
    sweep, plan = open_sweep(storage, name)
    analyses = set_analyses(load_analyses(sweep.folder), assignments)
    names = [analysis_named(each).name for each in only] or list(analyses)
    launched = sweep.launch_options()
    tracker, facts = Tracker(tracking_uri or launched.tracking_uri, sweep.store, sweep.name), sweep_facts(plan)
    tracker.check()
    with sweep.driver():
        tasks = list_tasks(sweep, plan, [analyses[each] for each in names], console)
        save_analyses(sweep.folder, analyses)
        ended = AnalysesEnd()
        if pending := not_done(tasks, sweep, console):
            with (
                session(address, environment=code_variables()) as capacity,
                stop_on_signals(sweep, line_printer(console)),
            ):
                if address:
                    check_storage(sweep, capacity, is_shared=shared_storage or launched.shared_storage)
                ended = run_tasks(pending, sweep, data_dir, capacity.resources, console)
        tracker.open(plan, facts)
        tables = print_analyses(sweep, plan, pair_records(plan, sweep.store), console)
        publish(tracker, sweep, plan, facts, console, analyses=tables)
    if ended.num_stopped:
        say_stopped(ended.num_stopped, sweep, console)
    if ended.errors:
        console.print(f"{len(ended.errors)} of {len(tasks)} analyses failed; analyze again to go on with them.")
        sys.exit(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysesEnd:
    """How analyses ended that are not done."""

    errors: Mapping[str, str] = field(default_factory=dict)
    """What went wrong, in one line each, by name of the analysis."""
    num_stopped: int = 0
    """Those that somebody stopped, begun or not."""


def say_stopped(num_stopped: int, sweep: Sweep, console: Console) -> None:
    """Says that analyses were stopped, and how to go on with them."""
    line = f"stopped, {num_stopped} analyses are not done; go on with: "
    console.print(line + sweep.command("analyze"), highlight=False, soft_wrap=True)


def list_tasks(sweep: Sweep, plan: Plan, analyses: Sequence[Analysis], console: Console) -> list[AnalysisTask]:
    """Lists the analyses that can be made of the pairs that are done, and says which cannot.

    Raises:
        ConfigError: None can be made.
    """
    tasks, missing = tasks_of(pair_records(plan, sweep.store), analyses, sweep.store)
    if not tasks:
        lacking = f"{missing[0].reason} for {missing[0].name}" if missing else "no pair is done"
        has_both = len({cell.goal for cell in plan.grid.cells}) == len(Goal)
        cure = f"Finish it with: {sweep.resume_command()}" if has_both else "Launch a grid with both goals."
        raise ConfigError(f"sweep {sweep.name!r} has nothing to analyze: {lacking}. {cure}")
    for each in missing:
        console.print(f"cannot analyze {each.name}: {each.reason}", highlight=False, soft_wrap=True)
    return tasks


def not_done(tasks: Sequence[AnalysisTask], sweep: Sweep, console: Console) -> list[AnalysisTask]:
    """Returns the analyses that are left to do, and says how many are done."""
    pending = [task for task in tasks if AnalysisFolder(sweep.store, task.uid).state() is not State.DONE]
    console.print(f"{len(tasks)} analyses, {len(tasks) - len(pending)} done already", highlight=False)
    return pending


def run_tasks(
    tasks: Sequence[AnalysisTask],
    sweep: Sweep,
    data_dir: Path | None,
    cluster_resources: dict[str, float],
    console: Console,
) -> AnalysesEnd:
    """Says what the analyses cost and runs them."""
    run = AnalysisRun(tasks=tasks, sweep=sweep, data_dir=data_dir, cluster_resources=cluster_resources)
    cost = run.estimate()
    num_parallel = max_concurrent_trials(cluster_resources, [analysis_resources(cluster_resources).get("num_gpus", 0)])
    console.print(render_cost(tasks, cost, num_parallel))
    with AnalysisProgress(tasks, cost, console) as progress:
        num_stopped = run.run(progress)
    return AnalysesEnd(errors=progress.errors, num_stopped=num_stopped)
