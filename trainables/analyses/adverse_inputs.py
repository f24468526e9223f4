"""Adverse inputs: which images fail because of quantization, by themselves or when somebody makes them (section 3.2).

The paper asks whether some inputs enable a detrimental policy and leaves it as future work. Two attackers answer here:
one changes the pixels within a bound, the other chooses the bits of every image at the pair's budget.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from torch import Tensor

from search_spaces.analyses import AdverseInputs
from search_spaces.errors import unknown_name
from trainables.analyses.corruptions import classify_corrupted
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts
from trainables.attacks.per_image import worst_per_image
from trainables.attacks.pixels import Logits, Pixels, adverse
from trainables.attacks.space import Space
from trainables.attacks.uniform import uniform
from trainables.data.augment import evaluation_batch
from trainables.data.corruptions import STRENGTHS, Corruption, corrupt, shift_normalization
from trainables.data.images import TEST
from trainables.evaluation import Classified
from trainables.quant.knapsack import straight_through
from trainables.quant.student import QuantizedStudent

STUDENT, WHITE_BOX = "student", "white_box"
CLEAN, ADVERSE = "clean", "adverse"
QUANTIZED, FULL_PRECISION, ALLOCATION = "quantized", "full_precision", "allocation"
"""Aims: a picture that fails only quantized, one that fails anyway, and the bits that fail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    """A network of the pair, and how it is quantized."""

    name: str
    network: QuantizedStudent
    quantized: Logits


def adverse_inputs(settings: AdverseInputs, subject: Subject) -> list[Unit]:
    """Measures a pair and its white box on test images that are changed, or allocated, to fail.

    The student is quantized as its policy chooses, which sees the changed picture; the white box has uniform bits of
    the same budget.

    Args:
        settings: Bounds, steps, kinds of corrupted images.
        subject: The pair.

    Returns:
        A unit of one row per network, images and aim: network (`student` or `white_box`), images (`clean`, `adverse` or
        a kind of corruption), aim (`quantized`: wrong quantized and right at full precision; `full_precision`: wrong at
        full precision, for comparison; `allocation`: wrong under some allocation of the budget), radius (most levels
        that a pixel changes; of the aim `allocation` 0), accuracy_fp, accuracy_q, and from `paired_counts`, of
        full precision to quantized: num_lost images are right at full precision and wrong quantized.

    Raises:
        UnknownNameError: There is no such corruption.
    """
    for kind in settings.corruptions:
        if kind not in STRENGTHS:
            raise unknown_name("corruption", kind, STRENGTHS)
    subject = subject.with_at_most(settings.max_images, [TEST])
    clean = cache(lambda: evaluation_batch(subject.split(TEST).images_BCHW, subject.data.view))
    num_images = subject.num_images(TEST)
    units = []
    for each in _networks(subject):
        for radius in (0, *settings.radii):
            for aim in (QUANTIZED, FULL_PRECISION) if radius else (QUANTIZED,):
                units.append(
                    Unit(
                        key=f"{each.name}/{aim}/{radius}",
                        # A gradient costs two passes, of both precisions.
                        num_images=num_images * (4 * settings.num_steps if radius else 4),
                        rows=partial(_changed, subject, each, clean, aim, radius, settings.num_steps),
                    )
                )
        for kind in (CLEAN, *settings.corruptions):
            units.append(
                Unit(
                    key=f"{each.name}/{ALLOCATION}/{kind}",
                    num_images=num_images * (settings.max_passes + 1),
                    rows=partial(_allocated, subject, each, clean, kind, settings),
                )
            )
    return units


def _networks(subject: Subject) -> list[_Network]:
    """Returns the student under its policy, and the white box with uniform bits."""
    recipe, pair = subject.recipe, subject.pair
    # However the pair was trained, the attacker takes the whole gradient.
    student = copy.copy(subject.student)
    student.range_gradient = True
    white_box = copy.copy(subject.white_box)
    white_box.range_gradient = True
    (even_L,) = uniform(1, _space(subject))

    def as_chosen(images: Tensor) -> Tensor:
        option_index_BL, profits_BLO = pair.choose(images)
        return student.forward_options(images, straight_through(option_index_BL, profits_BLO), recipe.bit_widths)

    return [
        _Network(name=STUDENT, network=student, quantized=as_chosen),
        _Network(
            name=WHITE_BOX,
            network=white_box,
            quantized=lambda images: white_box(images, even_L.to(images.device).expand(len(images), -1)),
        ),
    ]


def _space(subject: Subject) -> Space:
    recipe = subject.recipe
    return Space(num_sites=subject.student.num_sites, bit_widths=tuple(recipe.bit_widths), budget=recipe.budget)


def _changed(
    subject: Subject, each: _Network, clean: Callable[[], Tensor], aim: str, radius: int, num_steps: int
) -> list[Row]:
    split = subject.split(TEST)
    found = adverse(
        each.network,
        each.quantized,
        clean(),
        split.labels_B,
        Pixels.of_view(subject.data.view).on(split.images_BCHW.device),
        radius=radius,
        steps=num_steps,
        keeps_full_precision=aim == QUANTIZED,
    )
    images = ADVERSE if radius else CLEAN
    return [_row(subject, each, images, aim, radius, found.full_BK, found.quantized_BK)]


def _allocated(
    subject: Subject, each: _Network, clean: Callable[[], Tensor], kind: str, settings: AdverseInputs
) -> list[Row]:
    split, view = subject.split(TEST), subject.data.view
    if kind == CLEAN:
        images, full = clean(), subject.full_precision(TEST, each.network)
    else:
        corruption = Corruption(kind=kind, degree=settings.corruption_degree)
        changed = corrupt(split.images_BCHW, split.image_ids_B, corruption)
        images = shift_normalization(evaluation_batch(changed, view), split.image_ids_B, corruption)
        (full,) = classify_corrupted([each.network], split, view, corruption)
    worst = worst_per_image(each.network, images, split.labels_B, _space(subject), max_passes=settings.max_passes)
    return [_row(subject, each, kind, ALLOCATION, 0, full.logits_BK, worst.logits_BK)]


def _row(
    subject: Subject, each: _Network, images: str, aim: str, radius: int, full_BK: Tensor, quantized_BK: Tensor
) -> Row:
    split = subject.split(TEST)
    full, quantized = (
        Classified(labels_B=split.labels_B.cpu(), image_ids_B=split.image_ids_B, logits_BK=logits_BK)
        for logits_BK in (full_BK, quantized_BK)
    )
    return {
        "network": each.name,
        "images": images,
        "aim": aim,
        "radius": radius,
        "accuracy_fp": full.accuracy,
        "accuracy_q": quantized.accuracy,
        **paired_counts(full, quantized),
    }
