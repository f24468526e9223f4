"""`dptq-sweep compare`: which way to look for catastrophic pairs finds them, and what does it cost?"""

from typing import Any

import click

from orchestrator.cli.grid_options import grid_options
from orchestrator.cli.help import GroupedCommand, what
from orchestrator.cli.options import data_dir_option, limit_options, place_options, storage_option
from orchestrator.search.arms import DEFAULT_ARMS, Arm


@click.command("compare", cls=GroupedCommand)
@grid_options
@what(
    "--arm",
    "arms",
    multiple=True,
    type=click.Choice([arm.value for arm in Arm]),
    default=[arm.value for arm in DEFAULT_ARMS],
    help=f"Way to look, repeatable: only those that are named run. [default: {', '.join(DEFAULT_ARMS)}]",
)
@storage_option
@data_dir_option
@place_options
@limit_options
def command(grid: str, name: str | None, arms: tuple[str, ...], storage: str, **others: Any) -> None:
    """Look for catastrophic pairs in the same cells in several ways, and compare what each found and what it cost.

    Every arm is a sweep of its own, called after the grid and the arm; trials that two arms share run once. A stopped
    comparison goes on when the command is given again. Arms that were launched before under the same name are shown,
    too.
    """
    from cluster.runtime.session import check_address
    from orchestrator.cli.arm_plans import arm_plans
    from orchestrator.cli.default_names import default_name, extension_note
    from orchestrator.cli.values import check_data, choices_of, launch_options_of, limits_of
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.driver import launch_sweep
    from orchestrator.reports.comparison.data import comparison
    from orchestrator.reports.comparison.launched import launched_plans, sweep_of
    from orchestrator.reports.comparison.page import arms_table, write_comparison
    from orchestrator.reports.terminal import render
    from orchestrator.store.store import Store
    from orchestrator.tracking.backend import locate
    from orchestrator.workers.entry_points import num_sites

    console = make_console()
    say = line_printer(console)
    limits, options, choices = limits_of(others), launch_options_of(others), choices_of(others)
    asked = arm_plans(grid, choices, [arm for arm in Arm if arm in arms], storage=storage, data_dir=others["data_dir"])
    check_address(options.address)
    locate(options.tracking_uri, Store(storage, create=False))
    any_grid = next(iter(asked.values())).grid
    check_data(any_grid.dataset, others["data_dir"])
    store = Store(storage)
    if name is None:
        name = default_name(any_grid.name, choices)
        if note := extension_note(grid, any_grid.name, name):
            say(note)
    plans = launched_plans(name, asked, store, num_sites, say)
    is_over = True
    for arm, plan in asked.items():
        sweep = sweep_of(arm, name, store)
        with sweep.driver(say):
            sweep.save_plan(plan)
            plans[arm] = plan
            typed = choices.typed_models
            outcome = launch_sweep(sweep, plan, options, console, limits=limits, typed_models=typed)
        if outcome.cap or outcome.is_stopping or outcome.halted:
            is_over = False
            break
    table = comparison({arm: plans[arm] for arm in Arm if arm in plans}, store)
    console.print(render(arms_table(table)))
    home = Arm.SEARCH if Arm.SEARCH in plans else max(plans, key=list(Arm).index)
    not_launched = [arm for arm in asked if arm not in plans]
    paths = write_comparison(name, table, sweep_of(home, name, store).folder, not_launched=not_launched)
    say(f"wrote {', '.join(paths)}")
    if not is_over:
        say("not finished: give the same command again to go on")
