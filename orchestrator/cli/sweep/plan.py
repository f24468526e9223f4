"""`dptq-sweep plan`: every trial that a launch would run, and which of them are done already."""

from typing import Any

import click

from orchestrator.cli.grid_options import grid_options
from orchestrator.cli.help import GroupedCommand, estimate
from orchestrator.cli.options import cluster_options, data_dir_option, echo_json, json_option, storage_option
from orchestrator.store.defaults import START_SECONDS


@click.command("plan", cls=GroupedCommand)
@grid_options
@storage_option
@data_dir_option
@cluster_options(estimate)
@estimate(
    "--step-seconds",
    multiple=True,
    metavar="STAGE=SECONDS",
    help="Time of a training step, such as pair=0.02 or pair/resnet18=0.02; commas part several; "
    "repeatable. [default: as measured on this storage]",
)
@estimate(
    "--start-minutes",
    type=click.FloatRange(min=0),
    default=START_SECONDS / 60,
    show_default=True,
    help="From asking for a machine until it runs trials.",
)
@json_option
def command(grid: str, name: str | None, storage: str, as_json: bool, **others: Any) -> None:
    """Show every trial that `launch` would run: stage, uid, parents, and whether it is done.

    With --cluster also what it would take there: machines, GPU-hours, time and price.
    """
    from orchestrator.cli.default_names import default_name
    from orchestrator.cli.estimate import estimate_as_json, estimate_from_options, print_estimate
    from orchestrator.cli.values import check_data_if_here, choices_of, plan_from_options
    from orchestrator.console import make_console
    from orchestrator.progress.plan import plan_as_json, print_plan
    from orchestrator.results.snapshot import Snapshot
    from orchestrator.store.store import Store
    from orchestrator.store.sweep import check_sweep_name

    chosen = choices_of(others)
    plan = plan_from_options(grid, chosen, storage=storage, data_dir=others["data_dir"])
    check_sweep_name(name or default_name(plan.grid.name, chosen))
    check_data_if_here(plan.grid.dataset, others["data_dir"])
    store = Store(storage, create=False)
    states = Snapshot(plan, store).states
    estimated = estimate_from_options(plan, states, store, others)
    if as_json:
        costs = {"estimate": estimate_as_json(estimated)} if estimated else {}
        echo_json(plan_as_json(plan, states) | costs)
        return
    console = make_console()
    print_plan(plan, states, store, console)
    if estimated:
        print_estimate(estimated, console)
