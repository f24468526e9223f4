"""`dptq-sweep launch`: run a grid, or finish what an earlier launch began."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cluster.resources import max_concurrent_trials
from cluster.session import session
from orchestrator.commands.options import default_name, grid_options, make_console, plan_from_options, storage_option
from orchestrator.commands.plan import print_plan, summary
from orchestrator.deferred import check_dataset
from orchestrator.facts import sweep_facts
from orchestrator.frontier import Frontier
from orchestrator.launch import Launch
from orchestrator.overview import Overview, overview_from_store
from orchestrator.progress import Progress
from orchestrator.reports.console import render_table1
from orchestrator.reports.pages import write_report
from orchestrator.reports.table1 import table1
from orchestrator.reports.trials import read_trials
from orchestrator.store import Store
from orchestrator.sweeps import Sweep
from orchestrator.tracking import Tracker
from orchestrator.trials import State, states_of
from search_spaces.grids import Choices


@click.command("launch")
@grid_options
@storage_option
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the datasets that are not bundled.")
@click.option("--address", help="Ray cluster to join: auto, or host:port. [default: this machine]")
@click.option("--tracking-uri", help="MLflow: sqlite:///... or http(s)://... [default: a database in the storage]")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.pass_obj
def command(
    arguments: Sequence[str],
    /,
    grid: str,
    name: str | None,
    storage: str,
    data_dir: Path | None,
    address: str | None,
    tracking_uri: str | None,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Run a grid of trials on Ray, or finish what an earlier launch of it began.

    Finished trials are kept, interrupted ones go on from their last epoch.
    """
    console = make_console()
    chosen = Choices(**choices)
    plan = plan_from_options(grid, chosen)
    if dry_run:
        print_plan(plan, states_of(Store(storage, create=False), plan), console)
        return
    check_dataset(plan.grid.dataset, data_dir)
    store = Store(storage)
    sweep = Sweep(store, name or default_name(grid, chosen))
    with sweep.driver():
        sweep.save_plan(plan)
        sweep.save_launch(list(arguments))
        overview = run_sweep(Launch(sweep=sweep, plan=plan, data_dir=data_dir), address, tracking_uri, console)
    finish_sweep(sweep, overview, console)


def run_sweep(launch: Launch, address: str | None, tracking_uri: str | None, console: Console) -> Overview:
    """Runs what is left of a plan, follows it in MLflow and writes its report.

    Returns:
        The state of every trial afterwards.
    """
    sweep, plan, store = launch.sweep, launch.plan, launch.sweep.store
    tracker = Tracker(tracking_uri, store, sweep.name)
    tracker.check()
    frontier = launch.open_frontier()
    for refusal in plan.refused:
        console.print(f"refused {refusal.cell}: {refusal.reason}", highlight=False, soft_wrap=True)
    console.print(f"sweep {sweep.name} in {store.uri}", highlight=False, soft_wrap=True)
    console.print(summary(plan, frontier.states), highlight=False, soft_wrap=True)
    facts = sweep_facts(plan)
    if frontier.num_pending:
        with _ray_and_mlflow(tracker, launch, facts, address) as cluster_resources:
            _run_trials(launch, frontier, tracker, cluster_resources, console)
    else:
        tracker.open(plan, facts)
    paths = write_report(plan, store, sweep.name, facts=facts)
    if local := sweep.folder.local_path:
        tracker.sweep_artifacts(local)
    overview = overview_from_store(plan, store, has_driver=False)
    behind = tracker.close("FINISHED" if overview.num_done() == len(plan.nodes) else "FAILED")
    if behind:
        console.print(
            f"MLflow lacks {len(behind)} trials; launch again when its server answers, and they are replayed.",
            highlight=False,
        )
    console.print(f"report: {next(path for path in paths if path.endswith('.html'))}", highlight=False, soft_wrap=True)
    return overview


def finish_sweep(sweep: Sweep, overview: Overview, console: Console) -> None:
    """Prints Table 1 of the run, what went wrong and what comes next; exits with 1 if a trial is not done."""
    console.print()
    console.print(render_table1(table1(overview.plan, read_trials(overview.plan, sweep.store))))
    nodes = overview.plan.by_uid()
    for uid, headline in overview.headlines.items():
        console.print(f"{overview.states[uid]} {nodes[uid].name}: {headline}", highlight=False, soft_wrap=True)
    storage = ["--storage", sweep.store.uri]
    report, ui = ["dptq-sweep", "report", "--name", sweep.name, *storage], ["dptq-sweep", "ui", *storage]
    console.print(f"next: {shlex.join(report)}\n      {shlex.join(ui)}", highlight=False, soft_wrap=True)
    num_left = len(overview.plan.nodes) - overview.num_done()
    if num_left:
        num_diverged = sum(state is State.DIVERGED for state in overview.states.values())
        diverged = f" ({num_diverged} diverged and will not run again)" if num_diverged else ""
        text = f"{num_left} of {len(overview.plan.nodes)} trials are not done{diverged}; finish with: "
        console.print(text + sweep.launch_command(), highlight=False, soft_wrap=True)
        sys.exit(1)


@contextmanager
def _ray_and_mlflow(
    tracker: Tracker, launch: Launch, facts: Mapping[str, str], address: str | None
) -> Iterator[dict[str, float]]:
    """Starts Ray and opens the tracker at the same time: each takes seconds, and neither needs the other."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        opening = pool.submit(tracker.open, launch.plan, dict(facts))
        with session(address) as cluster_resources:
            opening.result()
            yield cluster_resources


def _run_trials(
    launch: Launch,
    frontier: Frontier,
    tracker: Tracker,
    cluster_resources: dict[str, float],
    console: Console,
) -> None:
    overview = overview_from_store(launch.plan, launch.sweep.store, has_driver=False)
    num_parallel = max_concurrent_trials(cluster_resources)
    console.print(f"Ray is up: {num_parallel} trials at a time", highlight=False)
    with Progress(overview, launch.sweep.store, console, num_parallel=num_parallel) as progress:
        launch.run(frontier, cluster_resources, (progress, tracker))
