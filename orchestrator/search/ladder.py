"""Ladders: pairs whose students start from the student of another pair, of the same network, that is done.

Weights that were made to fail under an easier allocation fail sooner under a harder one than the white box does
(docs/results.md, "Ladders"). Cells of a network and a seed are the rungs; `nearest_first` is their order.
"""

from collections.abc import Iterable
from functools import partial

from orchestrator.plan import Node, Plan
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from search_spaces.errors import ConfigError
from search_spaces.grids.cells import Cell
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage


def nearest_first(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """Returns the other cells of a cell's network and seed, the nearest first."""
    place = (cell.architecture, cell.seed)
    others = [other for other in cells if (other.architecture, other.seed) == place and other.cell_id != cell.cell_id]
    return sorted(others, key=partial(distance, cell))


def distance(cell: Cell, other: Cell) -> tuple[bool, bool, int, int, int, str]:
    """Orders other cells by what they have in common with one: network, option set, bits.

    Of the other sets those come first whose fewest bits are nearest (I begins at 3 bits, II at 4, III at 5). Then come
    the nearest budgets; of two that are as near the one with fewer bits comes first, for it is easier. Budgets of two
    networks are sums over other numbers of sites, so they say nothing.
    """
    is_other_network = other.architecture != cell.architecture
    steps = abs(other.recipe.bit_widths[0] - cell.recipe.bit_widths[0])
    budgets = (0, 0) if is_other_network else (abs(other.recipe.budget - cell.recipe.budget), other.recipe.budget)
    return is_other_network, other.option_set != cell.option_set, steps, *budgets, other.cell_id


def started_from(node: Node, folder: TrialFolder) -> str | None:
    """Returns the uid of the pair that a pair's student starts from; None for the white box, and until it is named."""
    if not isinstance(node.recipe, PairRecipe) or node.recipe.start_from is None:
        return None
    if node.recipe.start_uid or (record := folder.recipe()) is None:
        return node.recipe.start_uid
    return record.start_uid


def needed_by(node: Node, folder: TrialFolder) -> tuple[str, ...]:
    """Returns the uids of all that must be done before a trial runs.

    A pair that its student starts from is, unless it was restarted, and need not be of the same sweep.
    """
    start = started_from(node, folder)
    return (*node.parents, start) if start else node.parents


def check_starts(plan: Plan, storage: str) -> None:
    """Makes sure, before anything runs, that the pairs which a plan names by uid can be started from.

    Raises:
        ConfigError: One is no finished pair of the storage, or of another network than a trial that is to start from
            it.
    """
    pairs = [(node, node.recipe) for node in plan.nodes if isinstance(node.recipe, PairRecipe)]
    for node, recipe in pairs:
        if (uid := recipe.start_uid) is None:
            continue
        store = Store(storage, create=False)
        folder = TrialFolder(store, Stage.PAIR, uid)
        record = folder.recipe()
        if record is None or folder.result() is None:
            what = f"{record.name}, is {folder.state()}" if record else f"of {store.uri} is no pair"
            raise ConfigError(f"start_from={uid}: {what}; name a pair that is done, as `status --json` shows its uid.")
        own = (node.parents, recipe.model_dump(mode="json").get("white_box"), node.dataset.model_dump(mode="json"))
        if (record.parents, record.recipe.get("white_box"), record.dataset) != own:
            raise ConfigError(
                f"start_from={uid} is {record.name}, of another white box than {node.name}: plan one network alone, "
                "with --architecture or --white-box, on the same data, teacher and seed."
            )
