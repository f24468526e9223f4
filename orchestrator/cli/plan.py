"""`dptq-sweep plan`: every trial that a launch would run, and which of them are done already."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestrator.cli.estimate import estimate_as_json, estimate_from_options, estimate_options, print_estimate
from orchestrator.cli.grid_options import choices_of, grid_options, plan_from_options
from orchestrator.cli.options import echo_json, json_option, storage_option
from orchestrator.console import make_console
from orchestrator.plan import Plan
from orchestrator.progress.overview import summary
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.states import State
from orchestrator.store.store import Store


@click.command("plan")
@grid_options
@storage_option
@estimate_options
@json_option
def command(
    grid: str,
    name: str | None,
    storage: str,
    cluster_file: Path | None,
    price_file: Path | None,
    step_seconds: tuple[str, ...],
    start_minutes: float,
    as_json: bool,
    **choices: Any,
) -> None:
    """Show every trial that `launch` would run: stage, uid, parents, and whether it is done.

    With --cluster also what it would take there: machines, GPU-hours, time and price.
    """
    plan = plan_from_options(grid, choices_of(choices))
    store = Store(storage, create=False)
    states = Snapshot(plan, store).states
    estimated = estimate_from_options(
        plan,
        states,
        store,
        cluster_file=cluster_file,
        price_file=price_file,
        step_seconds=step_seconds,
        start_minutes=start_minutes,
    )
    if as_json:
        costs = {"estimate": estimate_as_json(estimated)} if estimated else {}
        echo_json(plan_as_json(plan, states) | costs)
        return
    console = make_console()
    print_plan(plan, states, console)
    if estimated:
        print_estimate(estimated, console)


def plan_as_json(plan: Plan, states: dict[str, State]) -> dict[str, Any]:
    """Returns the plan as plain values."""
    return {
        "nodes": [
            {
                "uid": node.uid,
                "stage": str(node.stage),
                "name": node.name,
                "parents": list(node.parents),
                "state": str(states[node.uid]),
                "cell": node.cell_id,
                "trial_number": node.trial_number,
                "origin": str(node.origin),
                "seed": node.seed,
                "recipe": node.recipe.model_dump(mode="json"),
            }
            for node in plan.nodes
        ],
        "refused": [{"cell": refusal.cell, "reason": refusal.reason} for refusal in plan.refused],
    }


def print_plan(plan: Plan, states: dict[str, State], console: Console) -> None:
    """Prints the plan as a table, then what was refused and the totals."""
    rows = [("uid", "trial", "bits", "parent", "state")]
    for node in plan.nodes:
        state = states[node.uid]
        shown = "cached" if state is State.DONE else "to run" if state is State.WAITING else str(state)
        total = str(node.cell.recipe.budget) if node.cell else ""
        rows.append((node.uid, node.name, total, " ".join(node.parents), shown))
    # Aligned here: a table of rich's takes half a millisecond per row, and cuts names where the terminal is narrow.
    uid, name, bits, parent = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:4])
    lines = [f"{r[0]:{uid}}  {r[1]:{name}}  {r[2]:>{bits}}  {r[3]:{parent}}  {r[4]}" for r in rows]
    console.out("\n".join(lines), highlight=False)
    for refusal in plan.refused:
        console.print(f"refused {refusal.cell}: {refusal.reason}", highlight=False, soft_wrap=True)
    console.print(summary(plan, states), highlight=False, soft_wrap=True)
