"""`dptq-sweep compare-search`: does the search find more catastrophic pairs than cheaper ways to look for them?"""

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
from orchestrator.console import line_printer, make_console
from orchestrator.launch.driver import launch_sweep
from orchestrator.plan import Plan
from orchestrator.reports.comparison.data import comparison
from orchestrator.reports.comparison.page import arms_table, write_comparison
from orchestrator.reports.terminal import render
from orchestrator.search.comparison_arms import Arm, choices_for
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.tracking.backend import locate
from orchestrator.workers.entry_points import check_dataset

ARMS = tuple(arm.value for arm in Arm)


@click.command("compare-search")
@grid_options
@click.option("--arm", "arms", multiple=True, type=click.Choice(ARMS), help="Run only this one; repeatable.")
@storage_option
@data_dir_option
@address_option
@shared_option
@tracking_option
@limit_options
def command(
    grid: str,
    name: str | None,
    arms: tuple[str, ...],
    storage: str,
    data_dir: Path,
    address: str | None,
    shared_storage: bool,
    tracking_uri: str | None,
    **others: Any,
) -> None:
    """Look for catastrophic pairs in the same cells in four ways, and compare what each found and what it cost.

    Every arm is a sweep of its own, called after the grid and the arm; trials that two arms share run once. A stopped
    comparison goes on when the command is given again.
    """
    console = make_console()
    limits = limits_of(others)
    choices = choices_of(others)
    plans = {arm: plan_from_options(grid, choices_for(arm, choices)) for arm in Arm}
    check_address(address)
    locate(tracking_uri, Store(storage, create=False))
    first = plans[Arm.SEARCH]
    check_dataset(first.grid.dataset, data_dir)
    store = Store(storage)
    name = name or default_name(first.grid.name, choices)
    options = LaunchOptions(
        data_dir=data_dir.absolute(), address=address, tracking_uri=tracking_uri, shared_storage=shared_storage
    )
    is_over = True
    for arm in Arm:
        if arms and arm not in arms:
            continue
        sweep = Sweep(store, f"{name}-{arm}")
        with sweep.driver(line_printer(console)):
            sweep.save_plan(plans[arm])
            outcome = launch_sweep(sweep, plans[arm], options, console, limits=limits)
        if outcome.cap or outcome.is_stopping or outcome.halted:
            is_over = False
            break
    _show(name, plans, store, console)
    if not is_over:
        console.print("not finished: give the same command again to go on", highlight=False)


def _show(name: str, plans: dict[Arm, Plan], store: Store, console: Any) -> None:
    table = comparison(plans, store)
    console.print(render(arms_table(table)))
    paths = write_comparison(name, table, Sweep(store, f"{name}-{Arm.SEARCH}").folder)
    console.print(f"wrote {', '.join(paths)}", highlight=False, soft_wrap=True)
