"""What one cell can take from another, or from its own search: point and student of the pair that was found."""

from collections.abc import Callable, Mapping

from orchestrator.plan import Node, Plan
from orchestrator.search.ladder import nearest_first
from orchestrator.search.pair_choice import candidate, choose
from orchestrator.search.portfolio import Attempt, next_of_portfolio
from orchestrator.search.trial_budget import Findings, goes_on
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import Point, place_of
from search_spaces.model import parse
from search_spaces.recipes import NEIGHBOUR, PairRecipe


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
        self._places: dict[str, tuple[Point | None, str | None]] = {}

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
        return dict(recipe) | ({"start_from": None} if self._search.confirm_from_scratch else {})

    def with_start(self, node: Node, point: Point | None) -> Point | None:
        """Adds to a trial's point the pair that its student starts from, where the recipe leaves that to the search.

        A trial that was begun keeps its start. Others take the pair that stands for the nearest cell with a hit, and
        the white box while there is none.
        """
        if node.cell is None or not isinstance(node.recipe, PairRecipe) or node.recipe.start_from != NEIGHBOUR:
            return point
        if record := self._trial(node).recipe():
            return (point or {}) | {"start_from": record.start_uid}
        pairs = (self._pair_of(other.cell_id) for other in nearest_first(node.cell, self._cells))
        return (point or {}) | {"start_from": next((pair.uid for pair in pairs if pair), None)}

    def to_borrow(self, node: Node) -> tuple[str, Point] | None:
        """Returns another cell's cell_id and the point of a hit; None if none is in the space and new to this one.

        With `portfolio`, any cell of the same seed; otherwise the pairs that stand for the cells of the same network,
        in the order of `nearest_first`.
        """
        cell = node.cell
        if cell is None:
            return None
        if self._search.portfolio is not None:
            return self._from_portfolio(cell, self._search.portfolio)
        if not self._search.warm_start:
            return None
        tried = [place for place, _ in self._begun(cell)]
        for other in nearest_first(cell, self._cells):
            recipe = self._recipe_of_pair(other.cell_id)
            point = place_of(recipe, other.recipe, self._search.space) if recipe else None
            if point is not None and point not in tried:
                return other.cell_id, point
        return None

    def _from_portfolio(self, cell: Cell, most: int) -> tuple[str, Point] | None:
        begun = self._begun(cell)
        cell_ids = {other.cell_id for other in self._cells}
        if sum(source in cell_ids for _, source in begun) >= most:
            return None
        # Seeds stand for chance: one that learned from another would say nothing of it.
        attempts = [
            Attempt(other, place, node.uid in self._findings.qualifying)
            for other in self._cells
            if other.seed == cell.seed and other.cell_id != cell.cell_id
            for node in self._trials[other.cell_id]
            if node.uid in self._findings.begun and (place := self._place(node, other)[0]) is not None
            if self._trial(node).state().is_final
        ]
        return next_of_portfolio(cell, attempts, [place for place, _ in begun if place], self._search.space)

    def _recipe_of_pair(self, cell_id: str) -> PairRecipe | None:
        """Returns how the pair that stands for a cell was trained; None while it has no catastrophic one."""
        pair = self._pair_of(cell_id)
        return self._recipe_of_trial(pair) if pair else None

    def _pair_of(self, cell_id: str) -> Node | None:
        """Returns the pair that stands for a cell; None while it has no catastrophic one."""
        done = {node.uid: node for node in self._trials[cell_id] if node.uid in self._findings.qualifying}
        results = [(node, result) for node in done.values() if (result := self._trial(node).result())]
        shown = self._findings.shown
        chosen = choose(
            [
                candidate(node.uid, node.trial_number, result.metrics, hit_is_shown=node.uid in shown)
                for node, result in results
            ]
        )
        return done[chosen.uid] if chosen else None

    def _recipe_of_trial(self, node: Node) -> PairRecipe | None:
        record = self._trial(node).recipe()
        return None if record is None else parse(PairRecipe, record.recipe)

    def _begun(self, cell: Cell) -> list[tuple[Point | None, str | None]]:
        """Returns where the trials of a cell that began lie in its space, and where their points come from."""
        return [self._place(node, cell) for node in self._trials[cell.cell_id] if node.uid in self._findings.begun]

    def _place(self, node: Node, cell: Cell) -> tuple[Point | None, str | None]:
        """Returns the same of one trial, which is read once: whatever has begun keeps its point."""
        if node.uid not in self._places:
            record = self._trial(node).recipe()
            if record is None:
                return None, None
            recipe = parse(PairRecipe, record.recipe)
            self._places[node.uid] = place_of(recipe, cell.recipe, self._search.space), record.point_from
        return self._places[node.uid]
