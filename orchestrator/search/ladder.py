"""Ladders: pairs whose students start from the student of another pair, of the same network, that is done.

Weights that were made to fail under an easier allocation fail sooner under a harder one than the white box does
(docs/results.md, "Ladders"). Cells of a network and a seed are the rungs; `nearest_first` is their order.
"""

from collections.abc import Iterable

from orchestrator.plan import Node, Plan
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from search_spaces.errors import ConfigError
from search_spaces.grids.cells import Cell
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage


def nearest_first(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """Returns the other cells of a cell's network and seed, the nearest first.

    Those with the same option set come first, the nearest budget before others. Then come the other sets: first those
    whose fewest bits are nearest (I begins at 3 bits, II at 4, III at 5), the nearest budget before others. Of two that
    are as near the one with fewer bits comes first, for it is easier.
    """

    def distance(other: Cell) -> tuple[bool, int, int, int, str]:
        steps = abs(other.recipe.bit_widths[0] - cell.recipe.bit_widths[0])
        bits = abs(other.recipe.budget - cell.recipe.budget)
        return other.option_set != cell.option_set, steps, bits, other.recipe.budget, other.cell_id

    place = (cell.architecture, cell.seed)
    others = [other for other in cells if (other.architecture, other.seed) == place and other.cell_id != cell.cell_id]
    return sorted(others, key=distance)


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
