"""`dptq-sweep resume`: go on with a sweep, with the plan and the options that it was launched with."""

from typing import Any

import click

from cluster.session import check_address
from orchestrator.commands.limits import limit_options, limits_of
from orchestrator.commands.options import (
    address_option,
    make_console,
    open_sweep,
    storage_option,
    sweep_argument,
    tracking_option,
)
from orchestrator.commands.running import finish_sweep, launch_sweep, line_printer
from orchestrator.deferred import check_dataset
from orchestrator.restarts import find_node, forget_failures, restart, with_parents


@click.command("resume")
@sweep_argument
@storage_option
@click.option("--failed", is_flag=True, help="Also run what diverged or used up its tries.")
@click.option("--only", multiple=True, metavar="UID", help="Run this trial and its parents; repeatable.")
@click.option("--restart", "restarted", multiple=True, metavar="UID", help="Run this trial from scratch; repeatable.")
@click.option("--with-children", is_flag=True, help="With --restart: also what was trained from it.")
@address_option
@tracking_option
@limit_options
def command(
    name: str | None,
    storage: str,
    failed: bool,
    only: tuple[str, ...],
    restarted: tuple[str, ...],
    with_children: bool,
    address: str | None,
    tracking_uri: str | None,
    **others: Any,
) -> None:
    """Go on with a sweep: `launch` with its own plan and options, which need not be typed again.

    A UID may be cut short as long as it is unique. A restarted trial keeps its recipe.
    """
    console = make_console()
    say = line_printer(console)
    limits = limits_of(others)
    sweep, plan = open_sweep(storage, name)
    options = sweep.launch_options()
    changes = {"address": address, "tracking_uri": tracking_uri}
    options = options.model_copy(update={key: value for key, value in changes.items() if value is not None})
    chosen = [find_node(plan, prefix) for prefix in only]
    anew = [find_node(plan, prefix) for prefix in restarted]
    check_address(options.address)
    check_dataset(plan.grid.dataset, options.data_dir)
    with sweep.driver(say):
        for node in restart(plan, sweep.store, anew, children_too=with_children):
            say(f"restarting {node.name} ({node.uid})")
        if failed:
            say(f"{forget_failures(plan, sweep.store)} failed trials have all their tries again")
        uids = with_parents(plan, chosen) if chosen else None
        outcome = launch_sweep(sweep, plan, options, console, limits=limits, only=uids)
    finish_sweep(sweep, outcome, console)
