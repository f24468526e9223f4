"""The worst allocation of every image at a budget, which no policy is needed for: how far a network can fall.

The search uses labels, so what it finds is a worst case and no estimate of what a policy does. Without labels, pass
the network's own answers at full precision. Every claim is a forward pass of the network: an image that is counted as
broken is broken by its allocation; one that is not may still be breakable.

Shape letters: B = images, N = some of them, L = sites, K = classes, C H W = image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.attacks.scores import Scorer
from trainables.attacks.search import Progress, RowScorer, descend, ignore
from trainables.attacks.space import Space
from trainables.attacks.uniform import uniform
from trainables.losses import leads
from trainables.quant.quantizable import Quantizable
from trainables.quant.random_allocation import random_allocations

BATCH = 64
"""Images per forward pass: large enough for a CPU, small enough for 224 px with gradients."""
NUM_STARTS = 20
"""Allocations per image before the search knows enough to propose some: uniform bits, and random ones."""
MAX_PASSES = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocated:
    """An allocation of every image, and what the network answers there; all on the CPU."""

    bit_width_BL: Tensor
    """Bits, int64; every row sums to the budget."""
    logits_BK: Tensor
    passes_B: Tensor
    """Passes that the choice took for each image, int64, a forward and a backward being one each."""

    @property
    def predictions_B(self) -> Tensor:
        """Class that the network answers for every image."""
        return self.logits_BK.argmax(1)


def worst_per_image(
    network: Quantizable,
    images: Tensor,
    labels_B: Tensor,
    space: Space,
    *,
    scorer: Scorer | None = None,
    max_passes: int = MAX_PASSES,
    seed: int = 0,
    batch_size: int = BATCH,
    on_progress: Progress = ignore,
) -> Allocated:
    """Searches for every image an allocation that makes the network miss its label.

    It minimizes the lead of the label's logit; see `search`. An image stops as soon as it is misclassified.

    Args:
        network: In evaluation mode, on the device of the images.
        images: Normalized images, [B, C, H, W].
        labels_B: Their classes, int64.
        space: Sites, options and budget.
        scorer: Adds moves that it predicts to be bad; `GradientScores(network, bit_widths, loss="lead")`. None searches
            by forward passes alone, which finds as much in as many passes (docs/results.md).
        max_passes: Most passes per image, at least 2; the last one verifies the result.
        seed: Of everything random.
        batch_size: Images that run together.
        on_progress: Is told the share of the passes that are spent.
    """
    attack = _Attack(network, images, labels_B, batch_size)
    draws = [_draw(space, len(images), seed, number) for number in range(NUM_STARTS - 1)]
    found = descend(
        attack.values,
        space,
        [uniform(len(images), space), *draws],
        max_passes=max_passes - 1,
        seed=seed,
        floor=0.0,
        scorer=attack.row_scorer(scorer) if scorer else None,
        on_progress=on_progress,
    )
    return attack.allocated(found.bit_width_BL, found.passes_B)


def worst_random_per_image(
    network: Quantizable,
    images: Tensor,
    labels_B: Tensor,
    space: Space,
    *,
    num_draws: int = 100,
    seed: int = 0,
    batch_size: int = BATCH,
    on_progress: Progress = ignore,
) -> Allocated:
    """Draws random allocations for every image and keeps the one of the smallest lead.

    Args:
        network: In evaluation mode, on the device of the images.
        images: Normalized images, [B, C, H, W].
        labels_B: Their classes, int64.
        space: Sites, options and budget.
        num_draws: Most draws per image, at least 1; an image that is misclassified gets no more.
        seed: Of the draws.
        batch_size: Images that run together.
        on_progress: Is told the share of the draws that are done.
    """
    attack = _Attack(network, images, labels_B, batch_size)
    draws = [_draw(space, len(images), seed, number) for number in range(num_draws)]
    found = descend(attack.values, space, draws, max_passes=num_draws, seed=seed, floor=0.0, on_progress=on_progress)
    return attack.allocated(found.bit_width_BL, found.passes_B)


def allocate(network: Quantizable, images: Tensor, bit_width_BL: Tensor, *, batch_size: int = BATCH) -> Allocated:
    """Runs the network at given allocations, which took no passes to choose."""
    nothing_B = torch.zeros(len(images), dtype=torch.int64)
    return Allocated(
        bit_width_BL=bit_width_BL, logits_BK=run(network, images, bit_width_BL, batch_size), passes_B=nothing_B
    )


@torch.inference_mode()
def run(network: Quantizable, images: Tensor, bit_width_BL: Tensor, batch_size: int) -> Tensor:
    """Returns the logits of all images, float32 on the CPU."""
    parts = zip(images.split(batch_size), bit_width_BL.split(batch_size), strict=True)
    return torch.cat([network(part, bits_BL).float().cpu() for part, bits_BL in parts])


def _draw(space: Space, num_images: int, seed: int, number: int) -> Tensor:
    return random_allocations(num_images, space.num_sites, space.bit_widths, space.budget, seed=(seed, number))


class _Attack:
    """A network, the images that are attacked, and the logits of the worst allocation so far."""

    def __init__(self, network: Quantizable, images: Tensor, labels_B: Tensor, batch_size: int) -> None:
        self._network, self._images, self._batch_size = network, images, batch_size
        self._labels_B = labels_B.cpu()

    def values(self, rows_N: Tensor, bit_width_NL: Tensor) -> Tensor:
        """Measures the lead of the label; below 0 exactly where the answer is another class."""
        logits_NK = run(self._network, self._select(rows_N), bit_width_NL, self._batch_size)
        labels_N = self._labels_B[rows_N]
        lead_N = leads(logits_NK, labels_N)
        # Equal logits are answered by the first class, which may be the label or not.
        is_wrong_N = logits_NK.argmax(1) != labels_N
        return torch.where(is_wrong_N, lead_N.clamp(max=-1e-12), lead_N.clamp(min=0))

    def row_scorer(self, scorer: Scorer) -> RowScorer:
        """Makes a scorer of losses one of leads, which fall as losses grow."""

        def changes(rows_N: Tensor, bit_width_NL: Tensor) -> Tensor:
            parts = zip(rows_N.split(self._batch_size), bit_width_NL.split(self._batch_size), strict=True)
            return torch.cat([-scorer(self._select(rows), self._labels_B[rows], bits) for rows, bits in parts])

        return RowScorer(measure=changes, num_passes=scorer.num_passes)

    def allocated(self, bit_width_BL: Tensor, passes_B: Tensor) -> Allocated:
        """Verifies what was found by one more pass of all images."""
        logits_BK = run(self._network, self._images, bit_width_BL, self._batch_size)
        return Allocated(bit_width_BL=bit_width_BL, logits_BK=logits_BK, passes_B=passes_B + 1)

    def _select(self, rows_N: Tensor) -> Tensor:
        return self._images[rows_N.to(self._images.device)]
