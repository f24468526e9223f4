"""`dptq-sweep status`: how far a sweep is, read from the store alone."""

from typing import Any

import click

from orchestrator.commands.options import (
    echo_json,
    json_option,
    make_console,
    open_sweep,
    storage_option,
    sweep_argument,
)
from orchestrator.overview import Overview, overview_from_store
from orchestrator.progress import render_overview
from orchestrator.sweeps import Sweep
from search_spaces.recipes import TrainingRecipe


@click.command("status")
@sweep_argument
@storage_option
@json_option
def command(name: str | None, storage: str, as_json: bool) -> None:
    """Show how far a sweep is: counts per stage, running trials, the best pair, failures."""
    sweep, plan = open_sweep(storage, name)
    has_driver = sweep.has_driver()
    overview = overview_from_store(plan, sweep.store, has_driver=has_driver)
    if as_json:
        echo_json(status_as_json(sweep, overview, has_driver=has_driver))
        return
    console = make_console()
    activity = "a launch is at work" if has_driver else "no launch is at work"
    console.print(f"sweep {sweep.name} in {sweep.store.uri}: {activity}", highlight=False, soft_wrap=True)
    console.print(render_overview(overview, max(1, len(overview.epochs))))
    nodes = plan.by_uid()
    for uid, headline in overview.headlines.items():
        console.print(f"{overview.states[uid]} {nodes[uid].name}: {headline}", highlight=False, soft_wrap=True)
    if not has_driver and overview.num_done() < len(plan.nodes):
        console.print(f"finish it with: {sweep.launch_command()}", highlight=False, soft_wrap=True)


def status_as_json(sweep: Sweep, overview: Overview, *, has_driver: bool) -> dict[str, Any]:
    """Returns the state of a sweep as plain values."""
    nodes = overview.plan.by_uid()
    best = overview.best

    def num_epochs(uid: str) -> int:
        recipe = nodes[uid].recipe
        assert isinstance(recipe, TrainingRecipe)
        return recipe.epochs

    return {
        "sweep": sweep.name,
        "has_driver": has_driver,
        "counts": {str(stage): {str(k): v for k, v in c.items()} for stage, c in overview.counts().items()},
        "running": [
            {"uid": uid, "name": nodes[uid].name, "epoch": epoch, "num_epochs": num_epochs(uid)}
            for uid, epoch in overview.epochs.items()
        ],
        "best": None
        if best is None
        else {"name": best.name, "validation_drop": best.drop, "validation_parity_gap": best.parity_gap},
        "failures": [
            {"uid": uid, "name": nodes[uid].name, "state": str(overview.states[uid]), "error": headline}
            for uid, headline in overview.headlines.items()
        ],
    }
