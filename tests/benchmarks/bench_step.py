"""One training step of a pair of the quick grid (test_resnet, batch 64 at 32 px), whole and by part."""

import math
from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn, optim

from search_spaces.grids.build import Choices, build_grid
from search_spaces.recipes import PairRecipe
from tests.benchmarks.timing import IN_CPU_TIME, TIMER
from trainables.data.augment import training_batch
from trainables.data.images import TRAIN, ImageData
from trainables.losses import PAIR_LOSSES, kd_loss
from trainables.memory_format import place
from trainables.models.backbones import count_sites, create_backbone
from trainables.optim import build_optimizer
from trainables.quant.knapsack import straight_through
from trainables.stages.pair import Pair, pair_losses
from trainables.training_loop import LOSS

pytestmark = IN_CPU_TIME
CPU = torch.device("cpu")

PARTS = (
    "augmentation",
    "white box",
    "full precision, forward + backward",
    "policy and knapsack, forward + backward",
    "quantized, forward + backward",
    "gradient clip and optimizer",
)


def bench_training_step(benchmark: BenchmarkFixture, record: Callable[..., None], digits: ImageData) -> None:
    steps = _Steps(digits)
    best = dict.fromkeys(PARTS, math.inf)

    def split() -> None:
        for name, seconds in steps.by_part().items():
            best[name] = min(best[name], seconds)

    benchmark.pedantic(steps.whole, setup=split, rounds=60, iterations=1, warmup_rounds=3)
    whole, total = benchmark.stats.stats.min, sum(best.values())
    record("training step of the quick grid's pair", whole * 1e3, "ms", detail=f"sum of its parts {total * 1e3:.3g} ms")
    for name, seconds in best.items():
        record(f"of it: {name}", seconds * 1e3, "ms", detail=f"{seconds / total:.0%}")


class _Steps:
    """A pair in training."""

    def __init__(self, data: ImageData) -> None:
        cell = next(cell for cell in build_grid("quick", Choices(), count_sites).cells if cell.budget_level == "B")
        self.recipe: PairRecipe = cell.recipe
        self.size = data.image_size
        self.images_BCHW = data.splits[TRAIN].images_BCHW[: self.recipe.batch_size]
        self.white_box = create_backbone(self.recipe.architecture, 10).eval().requires_grad_(False)
        place(self.white_box, CPU)
        self.pair = Pair(self.white_box, self.recipe)
        place(self.pair, CPU)
        self.optimizer: optim.Optimizer = build_optimizer(self.recipe, self.pair.parameters())

    def whole(self) -> None:
        """Does what trainables.stages.pair and the training loop do with a batch."""
        images_BCHW = training_batch(self.images_BCHW, self.size, self.recipe.augmentations)
        with torch.no_grad():
            white_box_logits_BK = self.white_box(images_BCHW)
        losses = pair_losses(self.pair, images_BCHW, white_box_logits_BK)
        self.optimizer.zero_grad(set_to_none=True)
        losses[LOSS].backward()
        self._update()

    def by_part(self) -> dict[str, float]:
        """Does the same with one backward pass per part, and returns the seconds of each."""
        recipe, pair, clock = self.recipe, self.pair, _Clock()
        images_BCHW = training_batch(self.images_BCHW, self.size, recipe.augmentations)
        clock.stop(PARTS[0])
        with torch.no_grad():
            white_box_logits_BK = self.white_box(images_BCHW)
        clock.stop(PARTS[1])
        self.optimizer.zero_grad(set_to_none=True)
        pair.policy.train()
        pair.set_batch_norm(updates_statistics=False)
        clock.skip()
        kd = kd_loss(pair.student(images_BCHW), white_box_logits_BK, temperature=recipe.temperature, scaled=True)
        (recipe.kd_weight * kd).backward()
        clock.stop(PARTS[2])
        option_index_BL, profits_BLO = pair.choose(images_BCHW)
        chosen_BLO = straight_through(option_index_BL, profits_BLO)
        clock.stop(PARTS[3])
        # Cut here, so that the policy's backward pass can be timed apart from the student's.
        selection_BLO = chosen_BLO.detach().requires_grad_()
        probs_BK = pair.student.forward_options(images_BCHW, selection_BLO, recipe.bit_widths).softmax(dim=-1)
        hinge: Tensor = PAIR_LOSSES[recipe.loss_name](probs_BK, white_box_logits_BK, margin=recipe.margin)
        (recipe.hinge_weight * hinge).backward()
        clock.stop(PARTS[4])
        chosen_BLO.backward(selection_BLO.grad)
        clock.stop(PARTS[3])
        self._update()
        clock.stop(PARTS[5])
        return clock.seconds

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.recipe.gradient_clip)
        self.optimizer.step()


class _Clock:
    """Adds up the time between stops."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last = TIMER()

    def stop(self, part: str) -> None:
        """Gives the time since the last stop to a part."""
        self.seconds[part] += TIMER() - self._last
        self._last = TIMER()

    def skip(self) -> None:
        """Gives the time since the last stop to nobody."""
        self._last = TIMER()
