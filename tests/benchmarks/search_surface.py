"""What the settings of a search are worth on a made-up response surface, in trials per hit.

    python -m tests.benchmarks.search_surface [NETWORKS]

Whole searches on the driver's own calls, whose trials train nothing: their figures are read off a surface that is drawn
anew for every network (12 unless given), with five budgets of growing difficulty. It has the shape that pairs have:
along a direction of the space the attack gets stronger, first the quantized student falls, then the student at full
precision; between the two is a window, where the hits are. Too small and too large a learning rate find nothing. The
recipe is no hit as a rule, and a random point is one in a few cases of a hundred.
"""

import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from orchestrator.plan import Node, Origin
from orchestrator.search.arms import Arm
from orchestrator.search.comparison_arms import choices_for
from orchestrator.store.store import Store
from search_spaces.grids.build import Choices
from search_spaces.grids.named import HARD
from search_spaces.loss_space import coordinates
from tests.orchestrator.search_driver import SearchDriver, search_plan

BUDGETS = (60, 70, 82, 90, 105)
NUM_IMAGES = 143
"""Of a validation split: accuracies move in steps of one image."""
_BEFORE: dict[str, Any] = dict.fromkeys(("objective", "startup", "learns_from", "portfolio"))
_BEFORE["start_points"] = ("recipe", "as-published")
VARIANTS: Mapping[str, dict[str, Any]] = {
    "random points": dict(choices_for(Arm.RANDOM, Choices()).search),
    "as the grids before `hard`": _BEFORE,
    "the same without the one as published": _BEFORE | {"start_points": ("recipe",)},
    "`hard`": {},
    "`hard`, learns from the cell alone": {"learns_from": None},
    "`hard`, without a portfolio": {"portfolio": 0},
    "`hard`, the drop": {"objective": None},
    "`hard`, startup 8": {"startup": 8},
}
"""Fields of a search in which each differs from that of `hard`."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What the points of a network come to."""

    direction_d: np.ndarray
    """In which the attack gets stronger, over the shares of the space's ranges."""
    falls_at: float
    """Strength at which the quantized student of the easiest budget falls."""
    best_rate: float
    """Share of the range of learning rates."""

    @classmethod
    def draw(cls, seed: int) -> "Surface":
        """Draws one."""
        draw = np.random.default_rng(seed)
        direction_d = np.array([0.6, -0.9, 0.7, -0.3, 0.35]) * (1 + 0.25 * draw.normal(size=5))
        return cls(direction_d, 0.25 + 0.1 * draw.normal(), 0.55 + 0.12 * draw.normal())

    def at(self, shares_d: list[float], difficulty: float) -> tuple[float, float, float, float]:
        """Returns parity gap, drop, lag and divergence."""
        strength = float(self.direction_d @ (np.array(shares_d) - 0.5)) - difficulty
        off_rate = abs(shares_d[-1] - self.best_rate) / 0.22
        fallen = _rise(strength - self.falls_at, 0.08) * _rise(1.5 - off_rate, 0.25)
        lag = 1.85 * fallen - 0.95
        gap = 0.6 * _rise(strength - self.falls_at - 0.5 + 1.5 * difficulty, 0.06) + 0.7 * _rise(off_rate - 1.6, 0.2)
        drop = 0.9 * _rise(lag - 0.05, 0.12)
        return round(gap * NUM_IMAGES) / NUM_IMAGES, round(drop * NUM_IMAGES) / NUM_IMAGES, lag, 4 * gap**1.3 + 0.002


def _rise(value: float, width: float) -> float:
    return 1 / (1 + math.exp(-max(min(value / width, 50.0), -50.0)))


def run(search: Mapping[str, Any], network: int, folder: Path) -> tuple[int, int]:
    """Searches the cells of a network; returns the hits and the trials."""
    surface, fields = Surface.draw(network), HARD.search.model_dump() if HARD.search else {}
    plan = search_plan(budgets=BUDGETS, epochs=1, seeds=(network,), **(fields | {"levels": "all"} | dict(search)))
    driver = SearchDriver(plan, Store(str(folder / "storage")), folder / "log", lambda node: (0.0, 0.0))

    def figures(node: Node) -> tuple[float, float, float, float]:
        record = driver.frontier._snapshot.trial(node).recipe()
        assert record is not None
        assert node.cell is not None
        if node.origin is Origin.AS_PUBLISHED:
            return 0.9, 0.0, 0.0, 5.0
        difficulty = 0.04 * BUDGETS.index(node.cell.recipe.budget)
        return surface.at(coordinates(plan.grid.search.space, record.recipe), difficulty)

    driver.quality, driver.slopes = lambda node: figures(node)[:2], lambda node: figures(node)[2:]
    driver.run()
    findings = driver.frontier._snapshot.findings
    begun = [node for node in plan.nodes if node.cell and node.uid in findings.begun]
    return len({node.cell_id for node in begun if node.uid in findings.qualifying}), len(begun)


def main() -> None:
    """Prints a line per variant."""
    num_networks = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    num_cells = num_networks * len(BUDGETS)
    for name, search in VARIANTS.items():
        hits = trials = 0
        for network in range(num_networks):
            with tempfile.TemporaryDirectory() as folder:
                found, taken = run(search, network, Path(folder))
            hits, trials = hits + found, trials + taken
        click.echo(f"{name:40} {hits:3} of {num_cells} cells, {trials:4} trials, {trials / max(1, hits):5.1f} per hit")


if __name__ == "__main__":
    main()
