"""Which pair stands for its cell: one rule for the table, for confirmations and for what neighbours borrow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from search_spaces.objective import accuracies_of, detrimental_objective, parity_violation

NORMAL_95 = 1.96
"""Standard errors to each side of a 95 % interval of a normal distribution."""


class Comparable(Protocol):
    """What the rule looks at; all of it on the validation split."""

    @property
    def objective(self) -> float | None:
        """As in `search_spaces.objective`; None for a robust pair."""

    @property
    def validation_parity_gap(self) -> float:
        """Fraction of accuracy lost at full precision."""

    @property
    def validation_drop_standard_error(self) -> float:
        """Of the drop, a fraction."""

    @property
    def hit_is_shown(self) -> bool:
        """Whether its search goes on until a hit is shown, and its hit is."""

    @property
    def trial_number(self) -> int:
        """In the cell."""


CandidateT = TypeVar("CandidateT", bound=Comparable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished trial, as the rule sees it."""

    uid: str
    trial_number: int
    objective: float
    validation_parity_gap: float
    validation_drop_standard_error: float
    hit_is_shown: bool = False


def candidate(uid: str, trial_number: int, metrics: Mapping[str, float], *, hit_is_shown: bool = False) -> Candidate:
    """Reads a candidate from the metrics of a trial's result."""
    return Candidate(
        uid,
        trial_number,
        detrimental_objective(**accuracies_of(metrics, "validation")),
        metrics["validation/parity_gap"],
        metrics["validation/drop_standard_error"],
        hit_is_shown,
    )


def choose(candidates: Sequence[CandidateT]) -> CandidateT | None:
    """Picks the pair that stands for a cell, without a look at the test split.

    Where a search goes on until a hit is shown, those whose hit is come before all others. Of the trials that keep
    parity on the validation split (of all, if none does) those count whose objective is not
    significantly below the best, within 1.96 standard errors of the difference: a validation split is small, and the
    best of several drops is partly luck. Among them the smallest parity gap decides, since their drops cannot be told
    apart; then the earliest trial.
    """
    if not candidates:
        return None
    candidates = [one for one in candidates if one.hit_is_shown] or candidates
    keep_parity = [one for one in candidates if parity_violation(one.validation_parity_gap) <= 0] or list(candidates)
    best = max(keep_parity, key=lambda one: one.objective or 0.0)
    tied = [one for one in keep_parity if not _is_significantly_below(one, best)]
    return min(tied, key=lambda one: (one.validation_parity_gap, one.trial_number))


def _is_significantly_below(one: Comparable, best: Comparable) -> bool:
    if one.objective is None or best.objective is None:
        return False
    noise = math.hypot(one.validation_drop_standard_error, best.validation_drop_standard_error)
    return best.objective - one.objective > NORMAL_95 * noise
