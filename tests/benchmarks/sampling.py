"""How long a driver takes to choose the next point once a search has told many trials.

    python -m tests.benchmarks.sampling [TRIALS] [SAMPLER]

Whole searches of one network on the driver's own calls, whose trials train nothing: five cells, so many trials told in
all (500 unless given), the settings of `hard`. All but the last ten points are drawn by chance, since only their number
counts. Printed is the processor time of what chooses a point for each of the last ten, the files of its trial included.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import cast

import click
from optuna.samplers import RandomSampler

from orchestrator.plan import Node
from orchestrator.search import study
from orchestrator.search.samplers import make_sampler
from orchestrator.store.store import Store
from search_spaces.names import SAMPLERS, Sampler
from tests.orchestrator.search_driver import SearchDriver, search_plan

BUDGETS = (60, 70, 82, 90, 105)
NUM_MEASURED = 10


def seconds_per_point(sampler: Sampler, num_told: int, folder: Path) -> list[float]:
    """Returns the processor time of each of the points behind so many told trials."""
    plan = search_plan(
        budgets=BUDGETS, epochs=1, trials=num_told // len(BUDGETS) + NUM_MEASURED, keep_searching=True, pruner="none",
        sampler=sampler, objective="lag", learns_from="network", portfolio=2, startup=8, start_points=("recipe",),
    )  # fmt: skip
    driver = SearchDriver(plan, Store(str(folder / "storage")), folder / "log", lambda node: (0.02, 0.0), _slopes)
    study.make_sampler = lambda name, *, seed: RandomSampler(seed=seed)
    found, moments = [], driver.moments()
    while len(found) < NUM_MEASURED:
        if sum(name.startswith("pair") for name in driver.started) >= num_told:
            study.make_sampler = make_sampler
        begin = time.process_time()
        _until(moments, "handed out")
        if study.make_sampler is make_sampler:
            found.append(time.process_time() - begin)
        _until(moments, "told")
    return found


def _until(moments: Iterator[str], what: str) -> None:
    next(moment for moment in moments if moment.endswith(f" {what}") and not moment.endswith("not told"))


def _slopes(node: Node) -> tuple[float, float]:
    return -0.9 + 0.01 * (node.trial_number % 7), 0.001 * (node.trial_number % 5)


def main() -> None:
    """Prints a line per sampler."""
    num_told = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for sampler in SAMPLERS if len(sys.argv) < 3 else sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            seconds = seconds_per_point(cast(Sampler, sampler), num_told, Path(folder))
        click.echo(f"{sampler:7} {num_told} told: median {median(seconds):.3f} s, most {max(seconds):.3f} s")


if __name__ == "__main__":
    main()
