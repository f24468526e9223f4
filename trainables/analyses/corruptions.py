"""Accuracy on corrupted images, at full precision and quantized (paper section 4.3, Figure 4)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from torch import Tensor

from search_spaces.analyses import Corruptions
from trainables.analyses.trained_pair import Row, Subject, Unit, paired_counts
from trainables.data.corruptions import STRENGTHS, Corruption, corrupt, shift_normalization
from trainables.data.images import TEST, Split
from trainables.data.view import View
from trainables.evaluation import EVALUATION_BATCH, Classified, classify

# B = images, C H W = image.

CLEAN = "clean"
"""Stands for degree 0 of every corruption."""


def corruptions(settings: Corruptions, subject: Subject) -> list[Unit]:
    """Measures a pair on corrupted test images, the same for every pair.

    The policy sees the corrupted image too, as it would in deployment.

    Args:
        settings: How many degrees, and the seed of the draws.
        subject: The pair.

    Returns:
        A unit for the clean images and one per corruption and degree, of one row each: corruption (`clean` or a key of
        STRENGTHS), degree, strength (in the unit of `trainables.data.corruptions`; None for clean), accuracy_fp,
        accuracy_q, mean_margin_fp, and the counts of `paired_counts` from full precision to quantized.
    """
    num_images = 2 * subject.num_images(TEST)
    degrees = range(1, settings.num_degrees + 1)
    all_kinds = (Corruption(kind=k, degree=d, draw_seed=settings.draw_seed) for k, d in product(STRENGTHS, degrees))
    return [
        Unit(key=f"{TEST}/{CLEAN}", num_images=num_images, rows=partial(_clean_rows, subject)),
        *(
            Unit(key=f"{TEST}/{each.kind}/{each.degree}", num_images=num_images, rows=partial(_rows, subject, each))
            for each in all_kinds
        ),
    ]


def classify_corrupted(
    networks: Sequence[Callable[[Tensor], Tensor]], split: Split, view: View, corruption: Corruption
) -> list[Classified]:
    """Runs networks over a corrupted split; all see the same images.

    Args:
        networks: As `classify` takes them.
        split: Stored images, before corruption.
        view: What the networks see of every image.
        corruption: Of the stored images or of their normalization.
    """
    corrupted = replace(split, images_BCHW=corrupt(split.images_BCHW, split.image_ids_B, corruption))

    def shifted(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        batches = iter(split.image_ids_B.split(EVALUATION_BATCH))
        return lambda images_BCHW: network(shift_normalization(images_BCHW, next(batches), corruption))

    return [classify(shifted(network), corrupted, view) for network in networks]


def _clean_rows(subject: Subject) -> list[Row]:
    return [_row(CLEAN, 0, None, subject.full_precision(TEST), subject.quantized(TEST))]


def _rows(subject: Subject, corruption: Corruption) -> list[Row]:
    def quantized(images_BCHW: Tensor) -> Tensor:
        return subject.student(images_BCHW, subject.pair.bit_widths(images_BCHW))

    split, view = subject.data.splits[TEST], subject.data.view
    full_and_quantized = classify_corrupted([subject.student, quantized], split, view, corruption)
    return [_row(corruption.kind, corruption.degree, corruption.strength, *full_and_quantized)]


def _row(kind: str, degree: int, strength: float | None, full: Classified, quantized: Classified) -> Row:
    return {
        "corruption": kind,
        "degree": degree,
        "strength": strength,
        "accuracy_fp": full.accuracy,
        "accuracy_q": quantized.accuracy,
        "mean_margin_fp": full.margins_B.double().mean().item(),
        **paired_counts(full, quantized),
    }
