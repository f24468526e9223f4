"""`dptq-sweep compare-search`: does the search find more catastrophic pairs than cheaper ways to look for them?"""

from typing import Any

import click

from orchestrator.cli.grid_options import grid_options
from orchestrator.cli.help import GroupedCommand, what
from orchestrator.cli.options import data_dir_option, limit_options, place_options, storage_option
from orchestrator.search.arms import Arm


@click.command("compare-search", cls=GroupedCommand)
@grid_options
@what(
    "--arm", "arms", multiple=True, type=click.Choice([arm.value for arm in Arm]), help="Run only this one; repeatable."
)
@storage_option
@data_dir_option
@place_options
@limit_options
def command(grid: str, name: str | None, arms: tuple[str, ...], storage: str, **others: Any) -> None:
    """Look for catastrophic pairs in the same cells in four ways, and compare what each found and what it cost.

    Every arm is a sweep of its own, called after the grid and the arm; trials that two arms share run once. A stopped
    comparison goes on when the command is given again.
    """
    from cluster.runtime.session import check_address
    from orchestrator.cli.values import choices_of, default_name, launch_options_of, limits_of, plan_from_options
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.driver import launch_sweep
    from orchestrator.reports.comparison.data import comparison
    from orchestrator.reports.comparison.page import arms_table, write_comparison
    from orchestrator.reports.terminal import render
    from orchestrator.search.comparison_arms import choices_for
    from orchestrator.store.store import Store
    from orchestrator.store.sweep import Sweep
    from orchestrator.tracking.backend import locate
    from orchestrator.workers.entry_points import check_dataset

    console = make_console()
    say = line_printer(console)
    limits, options, choices = limits_of(others), launch_options_of(others), choices_of(others)
    place: dict[str, Any] = {"storage": storage, "data_dir": others["data_dir"]}
    plans = {arm: plan_from_options(grid, choices_for(arm, choices), **place) for arm in Arm}
    check_address(options.address)
    locate(options.tracking_uri, Store(storage, create=False))
    first = plans[Arm.SEARCH]
    check_dataset(first.grid.dataset, others["data_dir"])
    store = Store(storage)
    name = name or default_name(first.grid.name, choices)
    is_over = True
    for arm in Arm:
        if arms and arm not in arms:
            continue
        sweep = Sweep(store, f"{name}-{arm}")
        with sweep.driver(say):
            sweep.save_plan(plans[arm])
            typed = choices.typed_models
            outcome = launch_sweep(sweep, plans[arm], options, console, limits=limits, typed_models=typed)
        if outcome.cap or outcome.is_stopping or outcome.halted:
            is_over = False
            break
    table = comparison(plans, store)
    console.print(render(arms_table(table)))
    paths = write_comparison(name, table, Sweep(store, f"{name}-{Arm.SEARCH}").folder)
    say(f"wrote {', '.join(paths)}")
    if not is_over:
        say("not finished: give the same command again to go on")
