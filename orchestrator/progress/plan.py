"""A plan before it runs: every trial with its uid, parents and state, as a table or as plain values."""

from typing import Any

from rich.console import Console

from orchestrator.plan import Node, Plan
from orchestrator.progress.overview import summary
from orchestrator.progress.time_here import time_here_text
from orchestrator.results.claims import parity_images
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.names import Goal
from search_spaces.objective import PARITY_TOLERANCE
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import AssessRecipe


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


def _bits(node: Node) -> str:
    """Returns the budget of a pair or of a ladder."""
    if isinstance(node.recipe, PairRecipe):
        return str(node.recipe.budget)
    ladder = node.recipe.ladder if isinstance(node.recipe, AssessRecipe) else None
    return str(ladder.budget) if ladder else ""


def print_plan(plan: Plan, states: dict[str, State], store: Store, console: Console) -> None:
    """Prints the plan as a table, then what was refused, the totals, and how long it takes here."""
    rows = [("uid", "trial", "bits", "parent", "state")]
    for node in plan.nodes:
        state = states[node.uid]
        shown = "cached" if state is State.DONE else "to run" if state is State.WAITING else str(state)
        total = _bits(node)
        starts = [node.recipe.start_from] if isinstance(node.recipe, PairRecipe) and node.recipe.start_from else []
        rows.append((node.uid, node.name, total, " ".join((*node.parents, *starts)), shown))
    # Aligned here: a table of rich's takes half a millisecond per row, and cuts names where the terminal is narrow.
    uid, name, bits, parent = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:4])
    lines = [f"{r[0]:{uid}}  {r[1]:{name}}  {r[2]:>{bits}}  {r[3]:{parent}}  {r[4]}" for r in rows]
    console.out("\n".join(lines), highlight=False)
    for refusal in plan.refused:
        console.print(f"refused {refusal.cell}: {refusal.reason}", highlight=False, soft_wrap=True)
    console.print(summary(plan, states), highlight=False, soft_wrap=True)
    for text in (images_text(plan), search_text(plan), time_here_text(plan, states, store)):
        if text:
            console.print(text, highlight=False, soft_wrap=True)


def images_text(plan: Plan) -> str:
    """Says how many test images the claim of a detrimental pair needs; nothing for a plan without any."""
    grid = plan.grid
    if not any(cell.goal is Goal.DETRIMENTAL for cell in grid.cells):
        return ""
    one, two = (parity_images(discordance, grid.claims) for discordance in (0.01, 0.02))
    known = grid.dataset.num_test_images
    here = f"; {grid.dataset.name} has {known:,}" if known else ""
    return (
        f"parity within {100 * PARITY_TOLERANCE:g} pp takes {one:,} test images if 1 % of answers change, {two:,} if "
        f"2 % do (level {grid.claims.level:g}){here}"
    )


def search_text(plan: Plan) -> str:
    """Says what a search waits for that goes on until a hit is shown; nothing for others."""
    grid = plan.grid
    if grid.search.until != "shown" or not plan.searched_cells:
        return ""
    none, one = (parity_images(discordance, grid.claims) for discordance in (0.0, 0.01))
    known = grid.dataset.num_validation
    here = f"; {grid.dataset.name} has {known:,}" if known else ""
    return (
        "a cell is searched until its validation images show a hit, or its trials are used up (until=shown): that "
        f"takes {none:,} of them if no answer changes, {one:,} if 1 % do{here}"
    )
