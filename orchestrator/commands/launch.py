"""`dptq-sweep launch`: run a grid, or finish what an earlier launch began."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cluster.resources import max_concurrent_trials
from cluster.session import check_address, session
from orchestrator.analyses.settings import load_analyses
from orchestrator.caps import Caps, Meter
from orchestrator.commands.analyze import list_tasks, not_done, run_tasks
from orchestrator.commands.options import (
    address_option,
    data_dir_option,
    default_name,
    grid_options,
    make_console,
    plan_from_options,
    price_option,
    storage_option,
    tracking_option,
)
from orchestrator.commands.plan import print_plan, summary
from orchestrator.commands.publish import publish
from orchestrator.deferred import check_dataset
from orchestrator.events import Event, Hook, check_target
from orchestrator.facts import sweep_facts
from orchestrator.frontier import Frontier
from orchestrator.launch import Launch
from orchestrator.overview import Overview, overview_from_store
from orchestrator.packing import choose_gpu_shares
from orchestrator.progress import Progress
from orchestrator.reports.console import render_table1
from orchestrator.reports.pairs import pair_records
from orchestrator.reports.table1 import table1
from orchestrator.reports.trials import read_trials
from orchestrator.store import Store
from orchestrator.sweeps import Sweep
from orchestrator.tracking import Tracker
from orchestrator.tracking_uri import check, locate
from orchestrator.trials import State, states_of
from orchestrator.watch import resume_command
from search_spaces.analyses import Analysis
from search_spaces.grids import Choices
from search_spaces.uris import redact

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("launch")
@grid_options
@storage_option
@data_dir_option
@click.option("--download", is_flag=True, help="Fetch the dataset into --data-dir first, if it is not there.")
@address_option
@tracking_option
@click.option("--analyze", is_flag=True, help="Measure the pairs, too, once they are trained.")
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(min=0.01, max=1),
    help="Share of a GPU for every trial. [default: by measured memory]",
)
@click.option("--max-hours", type=POSITIVE, help="Start no trial after so many hours; a later launch goes on.")
@click.option("--max-gpu-hours", type=POSITIVE, help="Start no trial once the sweep took so many GPU-hours.")
@click.option("--max-cost", type=POSITIVE, help="Start no trial once the sweep cost so much at --price-per-hour.")
@price_option
@click.option(
    "--on-event",
    envvar="DPTQ_ON_EVENT",
    help="Shell command (with DPTQ_EVENT set and JSON on its input) or http(s) URL (gets a POST) to tell of failed "
    "trials, a cap, a stall and the end. [env: DPTQ_ON_EVENT]",
)
@click.option(
    "--stalled-minutes",
    type=POSITIVE,
    default=30.0,
    show_default=True,
    help="Without any finished epoch, after which --on-event hears of a stall.",
)
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.pass_obj
def command(
    arguments: Sequence[str],
    /,
    grid: str,
    name: str | None,
    storage: str,
    data_dir: Path,
    download: bool,
    address: str | None,
    tracking_uri: str | None,
    analyze: bool,
    gpus_per_trial: float | None,
    max_hours: float | None,
    max_gpu_hours: float | None,
    max_cost: float | None,
    price_per_hour: float | None,
    on_event: str | None,
    stalled_minutes: float,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Run a grid of trials on Ray, or finish what an earlier launch of it began.

    Finished trials are kept, interrupted ones go on from their last epoch.
    """
    if max_cost is not None and price_per_hour is None:
        raise click.UsageError("--max-cost needs --price-per-hour, the price of a GPU (or a core without one).")
    console = make_console()
    caps = Caps(max_hours=max_hours, max_gpu_hours=max_gpu_hours, max_cost=max_cost, price_per_hour=price_per_hour)
    chosen = Choices(**choices)
    plan = plan_from_options(grid, chosen)
    if dry_run:
        print_plan(plan, states_of(Store(storage, create=False), plan), console)
        return
    check_target(on_event)
    check_address(address)
    if tracking_uri is not None:
        check(locate(tracking_uri, Store(storage, create=False)))
    check_dataset(plan.grid.dataset, data_dir, download=download)
    store = Store(storage)
    sweep = Sweep(store, name or default_name(plan.grid.name, chosen))
    with sweep.driver():
        sweep.save_plan(plan)
        sweep.save_launch([redact(argument) for argument in arguments])
        with _telling(on_event, sweep, console, 60 * stalled_minutes) as hook:
            launched = Launch(
                sweep=sweep,
                plan=plan,
                data_dir=data_dir,
                gpus_per_trial=gpus_per_trial,
                meter=Meter(caps),
                hook=hook,
            )
            analyses = list(load_analyses(sweep.folder).values()) if analyze else []
            overview, errors = run_sweep(launched, analyses, address, tracking_uri, console)
    finish_sweep(sweep, overview, errors, console, cap=launched.meter.hit)


def run_sweep(
    launch: Launch, analyses: Sequence[Analysis], address: str | None, tracking_uri: str | None, console: Console
) -> tuple[Overview, dict[str, str]]:
    """Runs what is left of a plan and of some analyses, follows it in MLflow and writes its report.

    Returns:
        The state of every trial afterwards, and the analyses that failed with their errors.
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
    errors: dict[str, str] = {}
    if frontier.pending or analyses:
        with _ray_and_mlflow(tracker, launch, facts, address) as cluster_resources:
            if frontier.pending:
                _run_trials(launch, frontier, tracker, cluster_resources, console)
            if analyses and pair_records(plan, store):
                pending = not_done(list_tasks(sweep, plan, analyses, console), sweep, console)
                errors = run_tasks(pending, sweep, launch.data_dir, cluster_resources, console) if pending else {}
    else:
        tracker.open(plan, facts)
    overview = overview_from_store(plan, store, has_driver=False)
    publish(tracker, sweep, plan, facts, console)
    if launch.hook:
        event, facts_of_it = (Event.CAP_HIT, {"cap": cap}) if (cap := launch.meter.hit) else (Event.SWEEP_DONE, {})
        num_failed = len(overview.headlines)
        counts = {"trials": len(plan.nodes), "done": overview.num_done(), "failed": num_failed}
        launch.hook.tell(event, **counts, **facts_of_it)
    return overview, errors


def finish_sweep(
    sweep: Sweep, overview: Overview, errors: Mapping[str, str], console: Console, *, cap: str | None
) -> None:
    """Prints Table 1 of the run, what went wrong and what comes next.

    Exits with 1 if anything is not done, unless because a cap was hit.
    """
    console.print()
    console.print(render_table1(table1(overview.plan, read_trials(overview.plan, sweep.store))))
    nodes = overview.plan.by_uid()
    for uid, headline in overview.headlines.items():
        console.print(f"{overview.states[uid]} {nodes[uid].name}: {headline}", highlight=False, soft_wrap=True)
    storage = ["--storage", sweep.store.uri]
    following = (["analyze", sweep.name], ["report", sweep.name], ["ui"])
    lines = [shlex.join(["dptq-sweep", *command, *storage]) for command in following]
    console.print("next: " + "\n      ".join(lines), highlight=False, soft_wrap=True)
    num_left = len(overview.plan.nodes) - overview.num_done()
    if cap:
        line = f"{cap} is hit, {num_left} of {len(overview.plan.nodes)} trials are left; with a higher cap go on with: "
        console.print(line + resume_command(sweep), highlight=False, soft_wrap=True)
    elif num_left:
        num_diverged = sum(state is State.DIVERGED for state in overview.states.values())
        diverged = f" ({num_diverged} diverged and will not run again)" if num_diverged else ""
        text = f"{num_left} of {len(overview.plan.nodes)} trials are not done{diverged}; finish with: "
        console.print(text + sweep.launch_command(), highlight=False, soft_wrap=True)
    if errors:
        console.print(f"{len(errors)} analyses failed; analyze again to go on with them.", highlight=False)
    if (num_left and not cap) or errors:
        sys.exit(1)


@contextmanager
def _telling(target: str | None, sweep: Sweep, console: Console, stalled_seconds: float) -> Iterator[Hook | None]:
    """Opens the hook of --on-event, if there is one."""
    if target is None:
        yield None
        return
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with Hook(target, sweep, say, stalled_seconds=stalled_seconds) as hook:
        yield hook


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
    gpu_shares = choose_gpu_shares(
        frontier.pending,
        launch.plan,
        launch.sweep.store,
        cluster_resources,
        gpus_per_trial=launch.gpus_per_trial,
        say=lambda line: console.print(line, highlight=False, soft_wrap=True),
    )
    launch.meter.open(overview.usage, gpu_shares)
    num_parallel = max_concurrent_trials(cluster_resources, gpu_shares.values())
    console.print(f"Ray is up: {num_parallel} trials at a time", highlight=False)
    with Progress(overview, launch.sweep.store, console, num_parallel=num_parallel) as progress:
        launch.run(frontier, gpu_shares, num_parallel, (progress, tracker))
