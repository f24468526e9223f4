"""Which point a cell tries that was a hit in other cells: the portfolio, with the cell itself left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.search.ladder import distance
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import LossSpace, Point, coordinates

NEAR = 0.05
"""Share of every range within which two points are one to a portfolio."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial of a cell that ended at a point of the space."""

    cell: Cell
    point: Point
    is_hit: bool


def next_of_portfolio(
    cell: Cell, attempts: Sequence[Attempt], tried: Sequence[Point], space: LossSpace
) -> tuple[str, Point] | None:
    """Returns a point that was a hit elsewhere, with the cell_id; None if none is new to the cell.

    First comes the point that was a hit in the largest share of the cells that tried it or one near it, counted with
    one success and one failure more (Laplace's rule); then that of the nearest cell.

    Args:
        cell: The one that asks; its own attempts are left out.
        attempts: Of all cells whose points it may take.
        tried: Points of the cell, also of trials that run; those near them are not taken again.
        space: What is searched.
    """
    others = [attempt for attempt in attempts if attempt.cell.cell_id != cell.cell_id]
    hits = [attempt for attempt in others if attempt.is_hit]
    if not hits:
        return None
    # h = hits, a = attempts, d = fields.
    hit_hd = np.array([coordinates(space, hit.point) for hit in hits])
    attempt_ad = np.array([coordinates(space, attempt.point) for attempt in others])
    near_ha = np.abs(hit_hd[:, None] - attempt_ad[None]).max(axis=2) <= NEAR
    is_new_h = np.ones(len(hits), dtype=bool)
    if tried:
        tried_td = np.array([coordinates(space, point) for point in tried])
        is_new_h = (np.abs(hit_hd[:, None] - tried_td[None]).max(axis=2) > NEAR).all(axis=1)

    def rank(number: int) -> tuple[float, tuple[bool, bool, int, int, int, str]]:
        near = [other for other, is_near in zip(others, near_ha[number], strict=True) if is_near]
        cells = {attempt.cell.cell_id for attempt in near}
        won = {attempt.cell.cell_id for attempt in near if attempt.is_hit}
        return -(len(won) + 1) / (len(cells) + 2), distance(cell, hits[number].cell)

    fresh = [number for number in range(len(hits)) if is_new_h[number]]
    best = min(fresh, key=rank, default=None)
    return None if best is None else (hits[best].cell.cell_id, hits[best].point)
