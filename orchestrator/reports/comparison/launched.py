"""Which arms a comparison shows: those that were launched under its name, now or earlier."""

from collections.abc import Callable, Mapping

from orchestrator.plan import Plan
from orchestrator.search.arms import Arm
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.names import Goal


def sweep_of(arm: Arm, name: str, store: Store) -> Sweep:
    """Returns the sweep of an arm, which need not exist."""
    return Sweep(store, f"{name}-{arm}")


def launched_plans(
    name: str,
    asked: Mapping[Arm, Plan],
    store: Store,
    num_sites: Callable[[str], int],
    say: Callable[[str], None] = lambda line: None,
) -> dict[Arm, Plan]:
    """Returns the plans of the arms that have a sweep, in the order of `Arm`.

    An arm that was not launched may well have trials, because arms share them: it looked for nothing all the same.

    Args:
        name: Of the comparison.
        asked: Plans of the arms that the user asks for, at least one.
        store: Holds the sweeps.
        num_sites: Tells the number of sites of an architecture.
        say: Takes a line about an arm that was launched earlier and looked at other cells, which is left out.

    Raises:
        StorageError: The plan of an arm was written by another version.
    """
    cells = set().union(*map(_detrimental_cells, asked.values()))
    plans = {}
    for arm in Arm:
        sweep = sweep_of(arm, name, store)
        if sweep.read_plan() is None:
            continue
        plan = asked.get(arm) or sweep.load_plan(num_sites)
        if _detrimental_cells(plan) == cells:
            plans[arm] = plan
        else:
            say(f"{sweep.name} has other cells and is left out: add --arm {arm} to run it on these")
    return plans


def _detrimental_cells(plan: Plan) -> set[str]:
    return {cell.cell_id for cell in plan.grid.cells if cell.goal is Goal.DETRIMENTAL}
