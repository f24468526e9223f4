"""What one cell can take from another, or from its own search: the point of the pair that was found."""

from collections.abc import Mapping

from orchestrator.allocation import Findings, goes_on
from orchestrator.choice import candidate, choose
from orchestrator.plan import Node, Origin, Plan
from orchestrator.store import Store
from orchestrator.trials import State, trial_of
from search_spaces.cells import Cell
from search_spaces.loss_space import Point


class Neighbours:
    """The searched cells of a plan, and the points of their pairs."""

    def __init__(self, plan: Plan, store: Store, findings: Findings) -> None:
        """Looks at nothing yet.

        Args:
            plan: With its search.
            store: Where results are.
            findings: Of the search; whoever owns them keeps them up to date.
        """
        self._store, self._findings, self._search = store, findings, plan.grid.search
        self._trials: dict[str, list[Node]] = {}
        self._cells: dict[str, Cell] = {}
        for node in plan.nodes:
            if node.cell and node.cell.search_trials and node.origin is not Origin.CONFIRMED:
                self._trials.setdefault(node.cell.cell_id, []).append(node)
                self._cells[node.cell.cell_id] = node.cell

    def is_settled(self, node: Node, states: Mapping[str, State]) -> bool:
        """Tells whether the search of a node's cell is over, so that its pair will not change any more."""
        assert node.cell_id is not None
        return not goes_on(self._trials[node.cell_id], states)

    def found_point(self, node: Node) -> Point:
        """Returns the point of the pair that the search of a node's cell found."""
        assert node.cell_id is not None
        point = self._point_of_pair(node.cell_id)
        assert point is not None, f"{node.name} was handed out though its cell has no pair"
        return point

    def to_borrow(self, node: Node) -> tuple[str, Point] | None:
        """Returns a neighbour's cell_id and the point of its pair; None if there is none that is new to the cell.

        Neighbours have the same network and seed. Those with the same option set come first, then the nearest budgets.
        """
        cell = node.cell
        if cell is None or not self._search.warm_start:
            return None
        others = [other for other in self._cells.values() if self._is_neighbour(cell, other)]
        tried = self._tried(cell.cell_id)
        for other in sorted(others, key=lambda other: _distance(cell, other)):
            point = self._point_of_pair(other.cell_id)
            if point is not None and point not in tried:
                return other.cell_id, point
        return None

    def _is_neighbour(self, cell: Cell, other: Cell) -> bool:
        return (other.architecture, other.seed) == (cell.architecture, cell.seed) and other.cell_id != cell.cell_id

    def _point_of_pair(self, cell_id: str) -> Point | None:
        """Returns where the pair that stands for a cell was trained; None while it has no catastrophic one."""
        done = {node.uid: node for node in self._trials[cell_id] if node.uid in self._findings.qualifying}
        results = {uid: trial_of(self._store, node).result() for uid, node in done.items()}
        chosen = choose(
            [candidate(uid, done[uid].trial_number, result["metrics"]) for uid, result in results.items() if result]
        )
        return None if chosen is None else self._point_of_trial(done[chosen.uid])

    def _point_of_trial(self, node: Node) -> Point | None:
        planned = trial_of(self._store, node).recipe()
        return None if planned is None else {name: planned["recipe"][name] for name in self._search.space.fields}

    def _tried(self, cell_id: str) -> list[Point]:
        begun = [node for node in self._trials[cell_id] if node.uid in self._findings.begun]
        return [point for node in begun if (point := self._point_of_trial(node)) is not None]


def _distance(cell: Cell, other: Cell) -> tuple[bool, int, str]:
    budgets = abs(other.recipe.budget - cell.recipe.budget)
    return other.option_set != cell.option_set, budgets, other.cell_id
