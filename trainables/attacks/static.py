"""The best and the worst allocation that all images share, chosen on one split and meant to be measured on another.

`best_static` is the baseline of practice: sensitivities averaged over calibration images and an exact solution for the
budget, as in HAWQ (Dong et al. 2019; HAWQ-V3 solves it exactly) and NVIDIA ModelOpt's `auto_quantize`; here it is
followed by a search that verifies every step on the split. `worst_static` is the same with the sign turned.

Shape letters: B = images of a batch, L = sites, O = options, C H W = image.
"""

from collections.abc import Iterable
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

Batches = Iterable[tuple[Tensor, Tensor]]
"""Normalized images, [B, C, H, W], and their labels; iterated once per pass, so no iterator that ends for good."""
NUM_STARTS = 8
"""Uniform bits, and random ones that the fitted effects begin with."""
MAX_PASSES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticAllocation:
    """One allocation for all images."""

    bit_width_L: Tensor
    """Bits, int64; they sum to the budget."""
    accuracy: float
    """On the images that it was chosen on, in [0, 1]."""
    lead: float
    """Mean lead of the label's probability on these images, in [-1, 1]."""
    passes: int
    """Passes per image of the split that the choice took, a forward and a backward being one each."""

    def rows(self, num_images: int) -> Tensor:
        """Returns bit_width_BL for some images."""
        return self.bit_width_L.expand(num_images, -1)


def best_static(
    network: Quantizable,
    batches: Batches,
    space: Space,
    scorer: Scorer | None,
    *,
    max_passes: int = MAX_PASSES,
    seed: int = 0,
    on_progress: Progress = ignore,
) -> StaticAllocation:
    """Searches the allocation under which most images of a split are answered right.

    Args:
        network: In evaluation mode, on the device of the images.
        batches: The images to choose on.
        space: Sites, options and budget.
        scorer: Estimates what each option does to the loss of an image. None, or one that takes more than `max_passes`,
            searches by forward passes alone.
        max_passes: Most passes per image, at least 1. The first is at uniform bits, so the result is never worse.
        seed: Of everything random.
        on_progress: Is told the share of the passes that are spent.
    """
    return _search(network, batches, space, scorer, -1.0, max_passes, seed, on_progress)


def worst_static(
    network: Quantizable,
    batches: Batches,
    space: Space,
    scorer: Scorer | None,
    *,
    max_passes: int = MAX_PASSES,
    seed: int = 0,
    on_progress: Progress = ignore,
) -> StaticAllocation:
    """Searches the allocation under which most images of a split are missed; arguments as of `best_static`."""
    return _search(network, batches, space, scorer, 1.0, max_passes, seed, on_progress)


def _search(
    network: Quantizable,
    batches: Batches,
    space: Space,
    scorer: Scorer | None,
    sign: float,
    max_passes: int,
    seed: int,
    on_progress: Progress,
) -> StaticAllocation:
    """Minimizes `sign` times the mean lead; of all that was tried the most extreme accuracy wins, then the lead."""
    tried: list[tuple[float, float, Tensor]] = []

    def values(rows_1: Tensor, bit_width_1L: Tensor) -> Tensor:
        accuracy, lead = _measure(network, batches, bit_width_1L)
        tried.append((sign * accuracy, sign * lead, bit_width_1L[0]))
        return torch.tensor([sign * lead])

    found = descend(
        values,
        space,
        _starts(space, seed),
        max_passes=max_passes,
        seed=seed,
        scorer=_row_scorer(scorer, batches, sign) if scorer else None,
        on_progress=on_progress,
    )
    accuracy, lead, bit_width_L = min(tried, key=lambda each: each[:2])
    return StaticAllocation(
        bit_width_L=bit_width_L, accuracy=sign * accuracy, lead=sign * lead, passes=int(found.passes_B[0])
    )


def _starts(space: Space, seed: int) -> list[Tensor]:
    draws_BL = random_allocations(NUM_STARTS - 1, space.num_sites, space.bit_widths, space.budget, seed)
    return [uniform(1, space), *draws_BL.split(1)]


@torch.inference_mode()
def _measure(network: Quantizable, batches: Batches, bit_width_1L: Tensor) -> tuple[float, float]:
    """Returns accuracy and mean lead in probability."""
    parts: list[tuple[Tensor, Tensor]] = []
    for images, labels_B in batches:
        probs_BK = network(images, bit_width_1L.expand(len(images), -1)).float().softmax(1).cpu()
        labels_B = labels_B.cpu()
        parts.append(((probs_BK.argmax(1) == labels_B).double(), leads(probs_BK, labels_B).double()))
    is_right_B, lead_B = (torch.cat(each) for each in zip(*parts, strict=True))
    return is_right_B.mean().item(), lead_B.mean().item()


def _row_scorer(scorer: Scorer, batches: Batches, sign: float) -> RowScorer:
    """Makes a scorer of images one of the split."""

    def changes(rows_1: Tensor, bit_width_1L: Tensor) -> Tensor:
        parts = [scorer(images, labels_B, bit_width_1L.expand(len(images), -1)) for images, labels_B in batches]
        # The search minimizes, and a larger loss is a smaller lead.
        return -sign * torch.cat(parts).mean(0, keepdim=True)

    return RowScorer(measure=changes, num_passes=scorer.num_passes)
