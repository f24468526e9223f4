"""What a trial runs: the point of its study, that of the pair that it confirms, or the recipe of its grid as it is."""

from collections.abc import Mapping

from orchestrator.plan import Node
from orchestrator.search.study import CellStudy
from orchestrator.search.warm_start import Neighbours
from orchestrator.store.trial import TrialFolder
from search_spaces.loss_space import Point


class TrialPoints:
    """The studies of a plan's searched cells, asked for points."""

    def __init__(self, studies: Mapping[str, CellStudy], neighbours: Neighbours) -> None:
        """Takes the open study of every searched cell, by cell_id, and what cells can take from one another."""
        self._studies, self._neighbours = studies, neighbours

    def study_of(self, node: Node) -> CellStudy | None:
        """Returns the study that a trial belongs to; confirmations belong to none, lest they be searched from."""
        return self._studies.get(node.cell_id) if node.cell_id and not node.is_confirmation else None

    def point(self, node: Node, folder: TrialFolder) -> tuple[Point | None, str | None]:
        """Returns the point that a trial is moved to before it runs, and the cell that it comes from.

        Args:
            node: The trial.
            folder: Its folder, which may be changed.

        Returns:
            None for the point where the recipe stays as it is, and for the cell where the point is of its own study.
        """
        if node.is_confirmation:
            return self._neighbours.found_point(node), None
        if (study := self.study_of(node)) is None:
            return None, None
        point = study.point(node, folder, self._neighbours.to_borrow(node) if node.is_searched else None)
        return self._neighbours.with_start(node, point), study.point_from(node)
