"""One training step of a pair of the quick grid (test_resnet, batch 64 at 32 px), whole and by part."""

import math
from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from search_spaces.grids.build import Choices, build_grid
from tests.benchmarks.timing import IN_CPU_TIME, TIMER
from tests.gpu.pair_step import PARTS, Clock, PairStep, Variant
from trainables.data.images import TRAIN, ImageData
from trainables.models.backbones import count_sites, create_backbone

pytestmark = IN_CPU_TIME
CPU = torch.device("cpu")


def bench_training_step(benchmark: BenchmarkFixture, record: Callable[..., None], digits: ImageData) -> None:
    cell = next(cell for cell in build_grid("quick", Choices(), count_sites).cells if cell.budget_level == "B")
    step = PairStep(
        cell.recipe,
        digits.splits[TRAIN].images_BCHW[: cell.recipe.batch_size],
        view=digits.view,
        # As trainables.memory_format has it on a CPU.
        variant=Variant(layout="channels last"),
        white_box=create_backbone(cell.recipe.architecture, 10).eval().requires_grad_(False),
    )
    best = dict.fromkeys(PARTS, math.inf)

    def split() -> None:
        clock = Clock(CPU, TIMER)
        step.by_part(clock)
        for name, seconds in clock.seconds().items():
            best[name] = min(best[name], seconds)

    benchmark.pedantic(step.run, setup=split, rounds=60, iterations=1, warmup_rounds=3)
    whole, total = benchmark.stats.stats.min, sum(best.values())
    record("training step of the quick grid's pair", whole * 1e3, "ms", detail=f"sum of its parts {total * 1e3:.3g} ms")
    for name, seconds in best.items():
        record(f"of it: {name}", seconds * 1e3, "ms", detail=f"{seconds / total:.0%}")
