"""`dptq-sweep launch`: run a grid, or finish what an earlier launch began."""

from typing import Any

import click

from orchestrator.cli.grid_options import grid_options
from orchestrator.cli.help import GroupedCommand, limit, other, what, where
from orchestrator.cli.options import data_dir_option, limit_options, place_options, storage_option
from orchestrator.store.failures import MAX_RETRIES


@click.command("launch", cls=GroupedCommand)
@grid_options
@storage_option
@data_dir_option
@where("--download", is_flag=True, help="Fetch the dataset into --data-dir first, if it is not there.")
@place_options
@what("--analyze", is_flag=True, help="Measure the pairs, too, once they are trained.")
@limit(
    "--gpus-per-trial",
    type=click.FloatRange(min=0.01, max=1),
    help="Share of a GPU for every trial. [default: by measured memory]",
)
@limit(
    "--threads",
    type=click.IntRange(min=1, max=256),
    default=1,
    show_default=True,
    help="Cores of a teacher or white box beside which no other trial can run, on a machine without other work.",
)
@limit(
    "--max-retries",
    type=click.IntRange(min=0),
    default=MAX_RETRIES,
    show_default=True,
    help="Tries again after an unknown error; lost machines and full GPUs are counted apart.",
)
@limit_options
@other("--dry-run", is_flag=True, help="Only show the plan.")
def command(grid: str, name: str | None, storage: str, download: bool, dry_run: bool, **others: Any) -> None:
    """Run a grid of trials on Ray, or finish what an earlier launch of it began.

    Finished trials are kept, interrupted ones go on from their last epoch. With --address http://HOST:8265 the same
    launch runs as a job on the head of that cluster, and this command follows it.
    """
    from cluster.runtime.session import check_address
    from orchestrator.cli.default_names import default_name, extension_note
    from orchestrator.cli.remote import (
        check_place_of_job,
        follow_to_the_end,
        is_dashboard,
        job_request,
        job_server,
        submit,
    )
    from orchestrator.cli.values import (
        check_data,
        check_data_if_here,
        choices_of,
        launch_options_of,
        limits_of,
        plan_from_options,
    )
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.driver import launch_sweep
    from orchestrator.launch.ending.finish import finish_sweep
    from orchestrator.progress.plan import print_plan
    from orchestrator.results.snapshot import Snapshot
    from orchestrator.store.store import Store
    from orchestrator.store.sweep import Sweep, check_sweep_name
    from orchestrator.tracking.backend import check, locate
    from orchestrator.workers.moved_data import check_moved_data

    console = make_console()
    limits, options, chosen = limits_of(others), launch_options_of(others), choices_of(others)
    is_remote = bool(options.address and is_dashboard(options.address))
    place = {"storage": storage, "data_dir": others["data_dir"], "download": download}
    plan = plan_from_options(grid, chosen, **place, runs_here=not is_remote)
    if name is None:
        name = default_name(plan.grid.name, chosen)
        if note := extension_note(grid, plan.grid.name, name):
            console.print(note, highlight=False, soft_wrap=True)
    check_sweep_name(name)
    if dry_run:
        check_data_if_here(plan.grid.dataset, others["data_dir"])
        store = Store(storage, create=False)
        print_plan(plan, Snapshot(plan, store).states, store, console)
        return
    if options.address and is_remote:
        request = job_request(click.get_current_context())
        with job_server(options.address) as server:
            follow_to_the_end(submit(request, server, console), server, options.address, console)
        return
    check_place_of_job(click.get_current_context())
    check_address(options.address)
    location = locate(options.tracking_uri, Store(storage, create=False))
    if options.tracking_uri is not None:
        check(location)
    check_data(plan.grid.dataset, others["data_dir"], download=download)
    store = Store(storage)
    check_moved_data(plan, store, options.data_dir, line_printer(console))
    sweep = Sweep(store, name)
    with sweep.driver(line_printer(console)):
        if num_new := sweep.save_plan(plan):
            console.print(f"sweep {sweep.name} grows by {num_new} trials", highlight=False)
        # Code runs only for whoever typed its name.
        typed = chosen.typed_models
        outcome = launch_sweep(sweep, plan, options, console, limits=limits, typed_models=typed)
    finish_sweep(sweep, outcome, console)
