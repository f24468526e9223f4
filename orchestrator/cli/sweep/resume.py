"""`dptq-sweep resume`: go on with a sweep, with the plan and the options that it was launched with."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.completion import uids
from orchestrator.cli.help import GroupedCommand, limit, what
from orchestrator.cli.options import (
    launched_data_dir_option,
    limit_options,
    place_options,
    storage_option,
    sweep_argument,
)


@click.command("resume", cls=GroupedCommand)
@sweep_argument
@storage_option
@what("--failed", is_flag=True, help="Also run what diverged or used up its tries.")
@what("--only", multiple=True, metavar="UID", shell_complete=uids, help="Run this trial and its parents; repeatable.")
@what(
    "--restart",
    "restarted",
    multiple=True,
    metavar="UID",
    shell_complete=uids,
    help="Run this trial from scratch; repeatable.",
)
@what("--with-children", is_flag=True, help="With --restart: also what was trained from it.")
@what("--shared-with", multiple=True, metavar="SWEEP", help="With --restart: a sweep that may lose trials by it.")
@launched_data_dir_option
@place_options
@limit_options
@limit("--no-caps", is_flag=True, help="Forget the caps of the launch; those given here still hold.")
def command(
    name: str | None,
    storage: str,
    failed: bool,
    only: tuple[str, ...],
    restarted: tuple[str, ...],
    with_children: bool,
    shared_with: tuple[str, ...],
    no_caps: bool,
    **others: Any,
) -> None:
    """Go on with a sweep: `launch` with its own plan and options, which need not be typed again.

    A UID may be cut short as long as it is unique. A restarted trial keeps its recipe. The caps of the launch apply
    again unless they are given again: --max-hours from now on, --max-gpu-hours and --max-cost to all that the sweep has
    taken so far; --no-caps drops them. What is given here is kept for the next time, but for the target of --on-event:
    it may hold a secret, so it has to be given again.
    """
    from cluster.runtime.session import check_address
    from orchestrator.cli.values import check_data, check_places, limits_of, open_sweep
    from orchestrator.console import line_printer, make_console
    from orchestrator.launch.driver import launch_sweep
    from orchestrator.launch.ending.finish import finish_sweep
    from orchestrator.launch.restarts import find_node, forget_failures, other_plans, restart, with_parents
    from orchestrator.store.sweep import Caps
    from orchestrator.tracking.backend import check_kept, locate
    from orchestrator.workers.moved_data import check_moved_data

    console = make_console()
    say = line_printer(console)
    sweep, plan = open_sweep(storage, name)
    options = sweep.launch_options()
    if no_caps:
        options = options.model_copy(update={"caps": Caps()})
    limits = limits_of(others, options)
    # What is left of the options are the places.
    given = {name: value for name, value in others.items() if value not in (None, False)}
    given |= {name: value.absolute() for name, value in given.items() if isinstance(value, Path)}
    check_kept(None if "tracking_uri" in given else options.tracking_uri)
    options = options.model_copy(update=given)
    check_places(options.tracking_uri, options.address)
    locate(options.tracking_uri, sweep.store)
    chosen = [find_node(plan, prefix) for prefix in only]
    to_restart = [find_node(plan, prefix) for prefix in restarted]
    check_address(options.address)
    check_data(plan.grid.dataset, options.data_dir, needs_labels=not plan.grid.assessments)
    check_moved_data(plan, sweep.store, options.data_dir, say)
    if str(limits.caps):
        say(f"caps of sweep {sweep.name}: {limits.caps}")
    if options.on_event and limits.on_event is None:
        say(
            f"events are not reported: the launch told {options.on_event}, which is not kept since it may hold a "
            "secret; give --on-event again, or '' to go without"
        )
    with sweep.driver(say):
        for node in restart(
            plan,
            sweep.store,
            to_restart,
            children_too=with_children,
            leases=sweep.leases(),
            others=other_plans(sweep.store, sweep.name, [node.uid for node in to_restart]) if to_restart else {},
            shared_with=shared_with,
        ):
            say(f"restarting {node.name} ({node.uid})")
        if failed:
            say(f"{forget_failures(plan, sweep.store)} failed trials have all their tries again")
        uids = with_parents(plan, chosen) if chosen else None
        outcome = launch_sweep(sweep, plan, options, console, limits=limits, only=uids)
    finish_sweep(sweep, outcome, console)
