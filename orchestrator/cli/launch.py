"""`dptq-sweep launch`: run a grid, or finish what an earlier launch began."""

from pathlib import Path
from typing import Any

import click

from cluster.runtime.session import check_address
from orchestrator.cli.grid_options import choices_of, default_name, grid_options, plan_from_options
from orchestrator.cli.options import (
    address_option,
    data_dir_option,
    limit_options,
    limits_of,
    shared_option,
    storage_option,
    tracking_option,
)
from orchestrator.cli.plan import print_plan
from orchestrator.cli.remote import follow_to_the_end, is_dashboard, job_request, job_server, submit
from orchestrator.console import line_printer, make_console
from orchestrator.launch.driver import finish_sweep, launch_sweep
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.failures import MAX_RETRIES
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.tracking.backend import check, locate
from orchestrator.workers.entry_points import check_dataset


@click.command("launch")
@grid_options
@storage_option
@data_dir_option
@click.option("--download", is_flag=True, help="Fetch the dataset into --data-dir first, if it is not there.")
@address_option
@shared_option
@tracking_option
@click.option("--analyze", is_flag=True, help="Measure the pairs, too, once they are trained.")
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(min=0.01, max=1),
    help="Share of a GPU for every trial. [default: by measured memory]",
)
@click.option(
    "--max-retries",
    type=click.IntRange(min=0),
    default=MAX_RETRIES,
    show_default=True,
    help="Tries again after an unknown error; lost machines and full GPUs are counted apart.",
)
@limit_options
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
def command(
    grid: str,
    name: str | None,
    storage: str,
    data_dir: Path,
    download: bool,
    address: str | None,
    shared_storage: bool,
    tracking_uri: str | None,
    analyze: bool,
    gpus_per_trial: float | None,
    max_retries: int,
    dry_run: bool,
    **others: Any,
) -> None:
    """Run a grid of trials on Ray, or finish what an earlier launch of it began.

    Finished trials are kept, interrupted ones go on from their last epoch. With --address http://HOST:8265 the same
    launch runs as a job on the head of that cluster, and this command follows it.
    """
    console = make_console()
    limits = limits_of(others)
    chosen = choices_of(others)
    plan = plan_from_options(grid, chosen)
    if dry_run:
        print_plan(plan, Snapshot(plan, Store(storage, create=False)).states, console)
        return
    if address is not None and is_dashboard(address):
        request = job_request(click.get_current_context())
        with job_server(address) as server:
            follow_to_the_end(submit(request, server, console), server, address, console)
        return
    check_address(address)
    location = locate(tracking_uri, Store(storage, create=False))
    if tracking_uri is not None:
        check(location)
    check_dataset(plan.grid.dataset, data_dir, download=download)
    store = Store(storage)
    sweep = Sweep(store, name or default_name(plan.grid.name, chosen))
    options = LaunchOptions(
        data_dir=data_dir.absolute(),
        address=address,
        tracking_uri=tracking_uri,
        analyze=analyze,
        gpus_per_trial=gpus_per_trial,
        max_retries=max_retries,
        shared_storage=shared_storage,
    )
    with sweep.driver(line_printer(console)):
        if num_new := sweep.save_plan(plan):
            console.print(f"sweep {sweep.name} grows by {num_new} trials", highlight=False)
        outcome = launch_sweep(sweep, plan, options, console, limits=limits)
    finish_sweep(sweep, outcome, console)
