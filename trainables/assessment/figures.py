"""Figures of a rung: what its allocations cost, from the classes that a network answered before and after.

Pure functions of NumPy arrays, so a notebook, a trial and a test count alike. Shares and differences are fractions.

Shape letters: B = images.
"""

from dataclasses import dataclass

import numpy as np

from trainables.assessment.paired import drop_interval, wilson_interval

LOW_MARGIN_SHARE = 0.1
"""Share of the images, those of which the full-precision network is least sure, that count as low in margin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The images as the network sees them at full precision."""

    labels_B: np.ndarray
    """What counts as right."""
    predictions_B: np.ndarray
    margins_B: np.ndarray
    """Probability of the predicted class minus that of the next one."""
    num_classes: int

    @property
    def is_low_margin_B(self) -> np.ndarray:
        """The tenth of the images with the smallest margins, one at least."""
        num_low = max(1, round(LOW_MARGIN_SHARE * len(self.margins_B)))
        is_low_B = np.zeros(len(self.margins_B), dtype=bool)
        is_low_B[np.argsort(self.margins_B, kind="stable")[:num_low]] = True
        return is_low_B


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What became of the images on one rung."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    drop: float
    """Accuracy at full precision minus that of the rung."""
    drop_low: float
    drop_high: float
    flips: float
    """Share of images whose predicted class is another one than at full precision."""
    flips_low: float
    flips_high: float
    flips_low_margin: float
    """The same among the tenth of images with the smallest margins."""
    flips_low_margin_low: float
    flips_low_margin_high: float
    worst_class: int
    """The class that lost most."""
    worst_class_drop: float
    worst_class_drop_low: float
    worst_class_drop_high: float
    largest_class_share: float
    """Share of the images that get the class which is predicted most; 1 where one answer is left."""


def figures_of(reference: Reference, predictions_B: np.ndarray) -> Figures:
    """Counts what a rung changed.

    Args:
        reference: The images at full precision, at least one.
        predictions_B: Classes that the network answers on the rung.
    """
    was_right_B, is_right_B = reference.predictions_B == reference.labels_B, predictions_B == reference.labels_B
    flipped_B, is_low_B = predictions_B != reference.predictions_B, reference.is_low_margin_B
    num_images = len(predictions_B)
    accuracy_low, accuracy_high = wilson_interval(int(is_right_B.sum()), num_images)
    flips_low, flips_high = wilson_interval(int(flipped_B.sum()), num_images)
    margin_low, margin_high = wilson_interval(int((flipped_B & is_low_B).sum()), int(is_low_B.sum()))
    drop, drop_low, drop_high = _drop(was_right_B, is_right_B)
    worst, (class_drop, class_low, class_high) = _worst_class(reference.labels_B, was_right_B, is_right_B)
    return Figures(
        accuracy=float(is_right_B.mean()),
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        drop=drop,
        drop_low=drop_low,
        drop_high=drop_high,
        flips=float(flipped_B.mean()),
        flips_low=flips_low,
        flips_high=flips_high,
        flips_low_margin=float(flipped_B[is_low_B].mean()),
        flips_low_margin_low=margin_low,
        flips_low_margin_high=margin_high,
        worst_class=worst,
        worst_class_drop=class_drop,
        worst_class_drop_low=class_low,
        worst_class_drop_high=class_high,
        largest_class_share=float(np.bincount(predictions_B).max() / num_images),
    )


def class_shares(reference: Reference, predictions_B: np.ndarray) -> np.ndarray:
    """Returns the share of the images that is given each class, float64 of the number of classes."""
    return np.bincount(predictions_B, minlength=reference.num_classes) / len(predictions_B)


def median_draw(accuracies: np.ndarray) -> int:
    """Returns the draw whose accuracy is the median; of an even number of draws the lower of the middle two."""
    return int(np.argsort(accuracies, kind="stable")[(len(accuracies) - 1) // 2])


def _drop(was_right_B: np.ndarray, is_right_B: np.ndarray) -> tuple[float, float, float]:
    lost, gained = int((was_right_B & ~is_right_B).sum()), int((~was_right_B & is_right_B).sum())
    both, neither = int((was_right_B & is_right_B).sum()), int((~was_right_B & ~is_right_B).sum())
    return (lost - gained) / len(was_right_B), *drop_interval(both, lost, gained, neither)


def _worst_class(
    labels_B: np.ndarray, was_right_B: np.ndarray, is_right_B: np.ndarray
) -> tuple[int, tuple[float, float, float]]:
    """Returns the class with the largest drop, the lowest of equals, and its drop with an interval."""
    drops = {
        int(label): _drop(was_right_B[labels_B == label], is_right_B[labels_B == label])
        for label in np.unique(labels_B)
    }
    worst = max(drops, key=lambda label: (drops[label][0], -label))
    return worst, drops[worst]
