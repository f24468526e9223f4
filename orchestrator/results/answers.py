"""What a pair answers once it is quantized, and with which bits, from the predictions that every pair keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.results.trials import Trial, read_predictions

LOW_MARGIN_SHARE = 0.1
"""Share of the images, those of which the full-precision network is least sure, that are called low-margin."""
_COLUMNS = ("label", "prediction_fp", "prediction_q", "margin_fp", "bit_width")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Of one pair on the test split; shares are fractions of the images."""

    num_images: int
    shares: tuple[float, ...]
    """By class, of the images that are answered so when quantized."""
    num_allocations: int
    """Distinct ones over the images."""
    share_first: float
    """Of images that get the most common allocation."""
    flipped: float
    """Of images whose answer quantization changes."""
    flipped_low_margin: float
    """As above, of the low-margin images."""
    worst_class: int
    """Class that loses most accuracy."""
    worst_class_drop: float
    """What it loses, a fraction of its images."""

    @property
    def share_two(self) -> float:
        """Of images that get one of the two most common answers."""
        return sum(sorted(self.shares, reverse=True)[:2])


def answers_of(trial: Trial) -> Answers | None:
    """Reads what a pair that is done answers; None where its predictions do not say it."""
    table = read_predictions(trial, _COLUMNS)
    if table is None or not len(table):
        return None
    label_B, fp_B, q_B, margin_B = (table[name].to_numpy() for name in _COLUMNS[:4])
    num_classes = int(max(label_B.max(), fp_B.max(), q_B.max())) + 1
    counts = np.unique(np.array(table["bit_width"].to_pylist()), axis=0, return_counts=True)[1]
    is_flipped_B = fp_B != q_B
    # The margin of the label is negative where the answer is wrong: near 0 on either side the network is unsure.
    least_sure = np.argsort(np.abs(margin_B), kind="stable")[: max(1, round(LOW_MARGIN_SHARE * len(table)))]
    drops = _drops_by_class(label_B, fp_B, q_B, num_classes)
    worst = int(np.nanargmax(drops))
    return Answers(
        num_images=len(table),
        shares=tuple((np.bincount(q_B, minlength=num_classes) / len(table)).tolist()),
        num_allocations=len(counts),
        share_first=float(counts.max() / len(table)),
        flipped=float(is_flipped_B.mean()),
        flipped_low_margin=float(is_flipped_B[least_sure].mean()),
        worst_class=worst,
        worst_class_drop=float(drops[worst]),
    )


def strip_of(shares: Sequence[float]) -> str:
    r"""Draws the shares of the classes as a strip of bars, the largest one full; a dot is a class that nothing gets.

    Examples:
        >>> ascii(strip_of([0.5, 0.0, 0.25]))
        "'\\u2588\\xb7\\u2584'"
    """
    top = max(shares)
    return "".join(_BARS[max(1, round(8 * share / top))] if share else "\N{MIDDLE DOT}" for share in shares)


_BARS = " " + "".join(map(chr, range(0x2581, 0x2589)))
"""From nothing to a full block, by eighths."""


def _drops_by_class(label_B: np.ndarray, fp_B: np.ndarray, q_B: np.ndarray, num_classes: int) -> np.ndarray:
    """Accuracy that every class loses; NaN for a class without images."""
    num_images = np.bincount(label_B, minlength=num_classes)
    right = [np.bincount(label_B[answer == label_B], minlength=num_classes) for answer in (fp_B, q_B)]
    with np.errstate(invalid="ignore"):
        return np.asarray((right[0] - right[1]) / num_images)
