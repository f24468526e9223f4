"""What a search maximizes, when a pair counts as catastrophic, and what it takes to call that shown.

Accuracies are fractions. A study maximizes the `drop` or the `lag`, each less a penalty for lost parity. Both read the
validation split; the verdict is only ever given on the test split, which no search sees. Accuracies alone decide what
is a hit, and which pair stands for a cell.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from search_spaces.model import Frozen
from search_spaces.names import Objective

ACCURACIES = ("accuracy_white_box", "accuracy_fp", "accuracy_q")
"""Arguments of objective and verdict, by the names that a pair's metrics have behind the split."""
LAG = "lag_q"
"""How far the white box's class lies behind the best other one in the quantized student, in probability: the mean over
the images, in [-1, 1]. It moves long before the first image changes its class, and so has a slope where the drop is
zero. Of a split, as the next."""
DIVERGENCE = "divergence_fp"
"""Mean KL(white box || student) at full precision, in nats."""
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


def measures(objective: Objective, metrics: Mapping[str, float]) -> bool:
    """Tells whether metrics hold what an objective is made of: results of earlier versions have no lag."""
    return objective == "drop" or {f"validation/{LAG}", f"validation/{DIVERGENCE}"} <= metrics.keys()


def objective_value(objective: Objective, metrics: Mapping[str, float]) -> float:
    """Returns what a study maximizes, of a pair's metrics; their validation split counts.

    A student that is wrong at full precision lags, too, which the penalty keeps from being a success.

    Examples:
        >>> objective_value("lag", {"validation/lag_q": -0.25, "validation/parity_gap": 0.01})
        -0.25
        >>> round(objective_value("lag", {"validation/lag_q": 0.8, "validation/parity_gap": 0.21}), 6)
        -1.2
    """
    if objective == "lag":
        excess = max(0.0, parity_violation(metrics["validation/parity_gap"]))
        return metrics[f"validation/{LAG}"] - PARITY_PENALTY * excess
    return detrimental_objective(**accuracies_of(metrics, "validation"))


def lost(objective: Objective, metrics: Mapping[str, float]) -> float:
    """Returns what a pair lost at full precision, as goes with an objective: the parity gap, or the divergence."""
    if objective == "lag":
        return metrics[f"validation/{DIVERGENCE}"]
    seen = accuracies_of(metrics, "validation")
    return parity_gap(accuracy_white_box=seen["accuracy_white_box"], accuracy_fp=seen["accuracy_fp"])


def violation(objective: Objective, metrics: Mapping[str, float]) -> float:
    """Returns the constraint that goes with an objective: feasible, by the accuracies, where it is at most zero.

    Beside the lag it tells infeasible pairs of one gap apart, of which a small split has many: the divergence is added.

    Examples:
        >>> far = {"validation/parity_gap": 0.02, "validation/divergence_fp": 0.5}
        >>> round(violation("drop", far), 6), round(violation("lag", far), 6)
        (0.01, 0.51)
    """
    excess = parity_violation(metrics["validation/parity_gap"])
    is_continuous = objective == "lag" and excess > 0
    return excess + metrics[f"validation/{DIVERGENCE}"] if is_continuous else excess


def is_catastrophic(*, accuracy_white_box: float, accuracy_fp: float, accuracy_q: float) -> bool:
    """Tells whether a pair is indistinguishable at full precision and falls by ten points or more when quantized.

    Examples:
        >>> is_catastrophic(accuracy_white_box=0.8803, accuracy_fp=0.8809, accuracy_q=0.6370)
        True
    """
    gap = parity_gap(accuracy_white_box=accuracy_white_box, accuracy_fp=accuracy_fp)
    return parity_violation(gap) <= 0 and accuracy_fp - accuracy_q >= CATASTROPHIC_DROP - _ROUNDING
