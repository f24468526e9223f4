"""The rungs: allocations from benign to hostile, each chosen on other images than it is measured on, or image by image.

Shape letters: B = images, D = draws, L = sites, K = classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.stages.assessment import INT8, Ladder
from trainables.assessment.subject import Subject, leads_of, logits
from trainables.attacks.per_image import worst_per_image
from trainables.attacks.scores import GradientScores
from trainables.attacks.space import Space
from trainables.attacks.static import StaticAllocation, best_static, worst_static
from trainables.attacks.uniform import uniform
from trainables.quant.random_allocation import random_allocations
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnxruntime import OnnxNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a network answers on one rung."""

    predictions_DB: Tensor
    """Classes of the test images, one row per draw; rungs without draws have one row."""
    leads_DB: Tensor
    """Probability of the label minus that of the best other class."""
    bit_width_BL: Tensor | None = None
    """The allocation; None at full precision, and where several draws have one each."""
    passes_per_image: float = 0.0
    """Forward passes that choosing the allocation took, per image that it was chosen on."""

    def tensors(self, rung: str) -> dict[str, Tensor]:
        """Returns what a resume state keeps of it."""
        passes = torch.tensor(self.passes_per_image)
        fields = {"predictions": self.predictions_DB, "leads": self.leads_DB, "passes": passes}
        fields |= {} if self.bit_width_BL is None else {"bit_widths": self.bit_width_BL}
        return {f"{rung}.{name}": tensor.contiguous() for name, tensor in fields.items()}

    @staticmethod
    def from_tensors(rung: str, tensors: Mapping[str, Tensor]) -> "Measured":
        """Reads what `tensors` returned."""
        return Measured(
            predictions_DB=tensors[f"{rung}.predictions"],
            leads_DB=tensors[f"{rung}.leads"],
            bit_width_BL=tensors.get(f"{rung}.bit_widths"),
            passes_per_image=tensors[f"{rung}.passes"].item(),
        )


Earlier = Mapping[str, Measured]
"""The rungs that are measured already, by name."""


def full_precision(subject: Subject) -> Measured:
    """Measures the network as it is."""
    return _measure(subject, None)


def everywhere(subject: Subject, bits: int = INT8) -> Measured:
    """Measures the network with the same bits at every site."""
    shape = (len(subject.test), subject.network.num_sites)
    return _measure(subject, torch.full(shape, bits, dtype=torch.int64))


def measure_rung(rung: str, subject: Subject, ladder: Ladder, *, seed: int, earlier: Earlier) -> Measured:
    """Chooses the allocations of a rung and measures them.

    Args:
        rung: One of `LADDER_RUNGS`.
        subject: What is assessed.
        ladder: Budget and options.
        seed: Of everything random.
        earlier: The rungs before it: `worst_random_per_image` chooses among the draws of `random`.
    """
    return _RUNGS[rung](subject, ladder, seed, earlier)


def draw(subject: Subject, ladder: Ladder, seed: int, number: int) -> Tensor:
    """Returns bit_width_BL of one draw of the rung `random`."""
    num_sites = subject.network.num_sites
    return random_allocations(len(subject.test), num_sites, ladder.bit_widths, ladder.budget, (seed, number))


def _uniform(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    return _measure(subject, uniform(len(subject.test), _space(subject, ladder)))


def _best_static(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    return _static(best_static, subject, ladder, seed)


def _worst_static(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    return _static(worst_static, subject, ladder, seed)


def _static(choose: Callable[..., StaticAllocation], subject: Subject, ladder: Ladder, seed: int) -> Measured:
    """Chooses one allocation for all images on the selection, and measures it on the test images."""
    network, images = subject.network, subject.selection.first(ladder.selection_images)
    # Read once: the search goes through them many times.
    batches = [(images_BCHW, images.labels_B[place]) for place, images_BCHW in images.batches()]
    # Without gradients the search goes by what it tried.
    scorer = None if isinstance(network, OnnxNetwork) else GradientScores(network, ladder.bit_widths)
    space = _space(subject, ladder)
    chosen = choose(network, batches, space, scorer, max_passes=ladder.static_passes, seed=seed)
    return _measure(subject, chosen.rows(len(subject.test)), passes_per_image=float(chosen.passes))


def _worst_per_image(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    network, space, labels_B = subject.network, _space(subject, ladder), subject.test.labels_B
    each = [
        worst_per_image(
            *(network, images_BCHW, labels_B[place], space), max_passes=ladder.max_passes, seed=seed + place.start
        )
        for place, images_BCHW in subject.test.batches()
    ]
    bits_BL = torch.cat([one.bit_width_BL for one in each])
    passes = torch.cat([one.passes_B for one in each]).double().mean().item()
    if _shares_ranges(subject):
        return _measure(subject, bits_BL, passes_per_image=passes)
    logits_BK = torch.cat([one.logits_BK for one in each])
    return Measured(
        predictions_DB=logits_BK.argmax(dim=-1)[None],
        leads_DB=leads_of(logits_BK, labels_B)[None],
        bit_width_BL=bits_BL,
        passes_per_image=passes,
    )


def _shares_ranges(subject: Subject) -> bool:
    """Tells whether an image's answer depends on its batch: what was seen in another batch is then measured again."""
    return isinstance(subject.network, QuantizedStudent) and subject.network.range_scope == "batch"


def _space(subject: Subject, ladder: Ladder) -> Space:
    return Space(num_sites=subject.network.num_sites, bit_widths=ladder.bit_widths, budget=ladder.budget)


def _random(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    each = [_measure(subject, draw(subject, ladder, seed, number)) for number in range(ladder.draws)]
    return Measured(
        predictions_DB=torch.cat([one.predictions_DB for one in each]),
        leads_DB=torch.cat([one.leads_DB for one in each]),
    )


def _worst_random_per_image(subject: Subject, ladder: Ladder, seed: int, earlier: Earlier) -> Measured:
    """Takes for every image the draw with the smallest lead; the draws were run already, so this costs nothing."""
    drawn = earlier["random"]
    worst_B = drawn.leads_DB.argmin(dim=0)
    images_B = torch.arange(len(worst_B))
    bits_BL = torch.empty(len(worst_B), subject.network.num_sites, dtype=torch.int64)
    for number in worst_B.unique().tolist():
        chosen_B = worst_B == number
        bits_BL[chosen_B] = draw(subject, ladder, seed, number)[chosen_B]
    if _shares_ranges(subject):
        return _measure(subject, bits_BL, passes_per_image=float(ladder.draws))
    return Measured(
        predictions_DB=drawn.predictions_DB[worst_B, images_B][None],
        leads_DB=drawn.leads_DB[worst_B, images_B][None],
        bit_width_BL=bits_BL,
        passes_per_image=float(ladder.draws),
    )


def _measure(subject: Subject, bit_width_BL: Tensor | None, *, passes_per_image: float = 0.0) -> Measured:
    logits_BK = logits(subject.network, subject.test, bit_width_BL)
    return Measured(
        predictions_DB=logits_BK.argmax(dim=-1)[None],
        leads_DB=leads_of(logits_BK, subject.test.labels_B)[None],
        bit_width_BL=bit_width_BL,
        passes_per_image=passes_per_image,
    )


_RUNGS: dict[str, Callable[[Subject, Ladder, int, Earlier], Measured]] = {
    "uniform": _uniform,
    "random": _random,
    "best_static": _best_static,
    "worst_static": _worst_static,
    "worst_random_per_image": _worst_random_per_image,
    "worst_per_image": _worst_per_image,
}
