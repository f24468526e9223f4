"""Contrasts: the robust and the detrimental pair that stand for one row of Table 1, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.results.pairs import PairRecord
from orchestrator.search.pair_choice import choose
from search_spaces.names import Goal


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Two pairs of one network under one budget; one is missing while no trial of its cell is done."""

    name: str
    """Network, option set, budget level and seed, e.g. `resnet18/I/B/seed0`."""
    robust: PairRecord | None
    detrimental: PairRecord | None

    @property
    def pairs(self) -> tuple[PairRecord, ...]:
        """The pairs that there are, robust first."""
        return tuple(pair for pair in (self.robust, self.detrimental) if pair)


def contrasts_of(records: Sequence[PairRecord]) -> list[Contrast]:
    """Groups the pairs of a sweep that are done, given in plan order, each cell by the trial that Table 1 shows."""
    cells: dict[str, dict[Goal, list[PairRecord]]] = {}
    for record in records:
        name = f"{record.architecture}/{record.option_set}/{record.budget_level}/seed{record.seed}"
        cells.setdefault(name, {}).setdefault(record.goal, []).append(record)
    return [
        Contrast(
            name=name,
            robust=choose(of_goal.get(Goal.ROBUST, [])),
            detrimental=choose(of_goal.get(Goal.DETRIMENTAL, [])),
        )
        for name, of_goal in cells.items()
    ]
