"""What one cell can take from another, or from its own search: the point of the pair that was found."""

from collections.abc import Callable, Mapping

from orchestrator.plan import Node, Plan
from orchestrator.search.pair_choice import candidate, choose
from orchestrator.search.trial_budget import Findings, goes_on
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import Point, place_of
from search_spaces.model import parse
from search_spaces.recipes import PairRecipe


class Neighbours:
    """The searched cells of a plan, and the points of their pairs."""

    def __init__(self, plan: Plan, trial: Callable[[Node], TrialFolder], findings: Findings) -> None:
        """Looks at nothing yet.

        Args:
            plan: With its search.
            trial: Returns the folder of a trial, to read its record and its result.
            findings: Of the search; their owner keeps them up to date.
        """
        self._trial, self._findings, self._search = trial, findings, plan.grid.search
        self._trials, self._cells = plan.searches(), plan.searched_cells

    def has_pair(self, node: Node, states: Mapping[str, State]) -> bool:
        """Tells whether the search of a node's cell found a pair and is over, so that it will not find another."""
        assert node.cell_id is not None
        trials = self._trials[node.cell_id]
        return not goes_on(trials, states) and any(trial.uid in self._findings.qualifying for trial in trials)

    def found_point(self, node: Node) -> Point:
        """Returns all of the recipe of the pair that stands for a node's cell: it need not lie in the space."""
        assert node.cell_id is not None
        recipe = self._recipe_of_pair(node.cell_id)
        assert recipe is not None, f"{node.name} was handed out though its cell has no pair"
        return dict(recipe)

    def to_borrow(self, node: Node) -> tuple[str, Point] | None:
        """Returns a neighbour's cell_id and the point of its pair; None if none is in the space and new to the cell.

        Neighbours have the same network and seed. Those with the same option set come first, then the nearest budgets.
        """
        cell = node.cell
        if cell is None or not self._search.warm_start:
            return None
        others = [other for other in self._cells if _is_neighbour(cell, other)]
        tried = self._tried(cell)
        for other in sorted(others, key=lambda other: _distance(cell, other)):
            recipe = self._recipe_of_pair(other.cell_id)
            point = place_of(recipe, other.recipe, self._search.space) if recipe else None
            if point is not None and point not in tried:
                return other.cell_id, point
        return None

    def _recipe_of_pair(self, cell_id: str) -> PairRecipe | None:
        """Returns how the pair that stands for a cell was trained; None while it has no catastrophic one."""
        done = {node.uid: node for node in self._trials[cell_id] if node.uid in self._findings.qualifying}
        results = [(node, result) for node in done.values() if (result := self._trial(node).result())]
        chosen = choose([candidate(node.uid, node.trial_number, result.metrics) for node, result in results])
        return self._recipe_of_trial(done[chosen.uid]) if chosen else None

    def _recipe_of_trial(self, node: Node) -> PairRecipe | None:
        record = self._trial(node).recipe()
        return None if record is None else parse(PairRecipe, record.recipe)

    def _tried(self, cell: Cell) -> list[Point | None]:
        begun = [node for node in self._trials[cell.cell_id] if node.uid in self._findings.begun]
        recipes = [recipe for node in begun if (recipe := self._recipe_of_trial(node))]
        return [place_of(recipe, cell.recipe, self._search.space) for recipe in recipes]


def _is_neighbour(cell: Cell, other: Cell) -> bool:
    return (other.architecture, other.seed) == (cell.architecture, cell.seed) and other.cell_id != cell.cell_id


def _distance(cell: Cell, other: Cell) -> tuple[bool, int, str]:
    budgets = abs(other.recipe.budget - cell.recipe.budget)
    return other.option_set != cell.option_set, budgets, other.cell_id
