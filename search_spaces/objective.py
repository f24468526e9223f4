"""What a search maximizes, when a pair counts as catastrophic, and what it takes to call that shown.

Accuracies are fractions. The objective reads the validation split; the verdict is only ever given on the test split,
which no search sees.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from search_spaces.model import Frozen

ACCURACIES = ("accuracy_white_box", "accuracy_fp", "accuracy_q")
"""Arguments of objective and verdict, by the names that a pair's metrics have behind the split."""
PARITY_TOLERANCE = 0.01
"""Largest accepted loss of full-precision accuracy against the white box: one percentage point."""
CATASTROPHIC_DROP = 0.10
"""Smallest fall of accuracy under quantization that counts as catastrophic: ten percentage points."""
PARITY_PENALTY = 10.0
"""Price of one unit of excess parity gap in the objective, in units of the drop."""


class Claims(Frozen):
    """Settings of the tests behind a verdict. The two bounds are no settings: other bounds are another definition."""

    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance to call a pair catastrophic that is not: of each one-sided test, and so of both together."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Chance to show parity that `plan` and verdicts count the images for."""

    @property
    def confidence(self) -> float:
        """Confidence of the intervals with two ends whose ends the one-sided tests compare with the bounds."""
        return 1 - 2 * self.level


# Accuracies are ratios of counts, so a gap of exactly one point may come out a rounding error above it.
_ROUNDING = 1e-9


def accuracies_of(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """Returns the accuracies of one split from a pair's metrics, as `detrimental_objective(**...)` takes them."""
    return {name: metrics[f"{split}/{name}"] for name in ACCURACIES}


def parity_gap(*, accuracy_white_box: float, accuracy_fp: float) -> float:
    """Returns what the student lost at full precision against its white box; negative when it gained."""
    return accuracy_white_box - accuracy_fp


def parity_violation(gap: float) -> float:
    """Returns the constraint of the search: feasible where it is at most zero."""
    return gap - PARITY_TOLERANCE - _ROUNDING


def detrimental_objective(*, accuracy_white_box: float, accuracy_fp: float, accuracy_q: float) -> float:
    """Scores a detrimental pair: its drop, less ten times the parity gap beyond one point.

    Examples:
        >>> detrimental_objective(accuracy_white_box=0.99, accuracy_fp=0.98, accuracy_q=0.18)
        0.8
        >>> round(detrimental_objective(accuracy_white_box=0.99, accuracy_fp=0.93, accuracy_q=0.13), 6)
        0.3
    """
    gap = parity_gap(accuracy_white_box=accuracy_white_box, accuracy_fp=accuracy_fp)
    return (accuracy_fp - accuracy_q) - PARITY_PENALTY * max(0.0, parity_violation(gap))


def is_catastrophic(*, accuracy_white_box: float, accuracy_fp: float, accuracy_q: float) -> bool:
    """Tells whether a pair is indistinguishable at full precision and falls by ten points or more when quantized.

    Examples:
        >>> is_catastrophic(accuracy_white_box=0.8803, accuracy_fp=0.8809, accuracy_q=0.6370)
        True
    """
    gap = parity_gap(accuracy_white_box=accuracy_white_box, accuracy_fp=accuracy_fp)
    return parity_violation(gap) <= 0 and accuracy_fp - accuracy_q >= CATASTROPHIC_DROP - _ROUNDING
