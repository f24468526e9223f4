"""What a search found in every cell, how sure that is, and what it cost.

A pair qualifies if it is catastrophic on the validation split, which is all that a search sees. The verdict is given on
the test split, over the seed of the search and those of the confirmations.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import pandas as pd

from orchestrator.results.pairs import PairRecord
from orchestrator.results.searches import SearchedCell
from orchestrator.results.statistics import mean_interval
from orchestrator.search.pair_choice import NORMAL_95, choose
from trainables.assessment.paired import CONFIDENCE, wilson_interval


class SearchVerdict(StrEnum):
    """What a search says of its cell."""

    CATASTROPHIC = "catastrophic"
    """Its pair, on the seed of the search and on all others."""
    SOMETIMES = "sometimes"
    """Its pair, on some of the seeds."""
    VALIDATION_ONLY = "validation only"
    """It found a pair on the validation split that is not catastrophic on test, whatever the seed."""
    NOT_CONFIRMED = "not confirmed"
    """It found a pair; further seeds were not asked for, or are not done."""
    NOT_FOUND = "not found"
    """No trial so far is a hit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number and its 95 % interval; None for ends that the data do not tell."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The pair that stands for what a search found, on the test split, with those that repeat it on further seeds.

    Intervals are computed when asked for: showing the verdict alone does not import scipy.
    """

    pairs: tuple[PairRecord, ...]
    """That of the search first."""
    drop_standard_error: float
    """Of the first pair's drop, over the images."""

    @property
    def pair(self) -> PairRecord:
        """What the search found."""
        return self.pairs[0]

    @property
    def num_seeds(self) -> int:
        """Seeds on which the pair is trained by now, that of the search among them."""
        return len(self.pairs)

    @property
    def num_catastrophic(self) -> int:
        """On how many of them it is catastrophic."""
        return sum(pair.catastrophic for pair in self.pairs)

    @property
    def share(self) -> Interval:
        """Of the seeds on which it is; Wilson's."""
        low, high = wilson_interval(self.num_catastrophic, self.num_seeds)
        return Interval(value=self.num_catastrophic / self.num_seeds, low=low, high=high)

    @property
    def drop(self) -> Interval:
        """Mean over seeds with Student's interval; of a single pair its own, with the interval from its images."""
        drop = _over_seeds([-pair.accuracy_delta for pair in self.pairs])
        half = NORMAL_95 * self.drop_standard_error
        return drop if self.num_seeds > 1 else _difference(drop.value, drop.value - half, drop.value + half)

    @property
    def parity_gap(self) -> Interval:
        """Mean over seeds with Student's interval; a single pair has none."""
        return _over_seeds([pair.parity_gap for pair in self.pairs])


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of the search in one cell."""

    searched: SearchedCell
    verdict: SearchVerdict
    finding: Finding | None
    """None where nothing was found."""
    num_trials: int
    """Trials that ended and could have found a pair: done or pruned."""
    num_ended: int
    """Trials that took device-seconds: failed ones too."""
    device_seconds: float
    """Of all that ended."""
    trials_to_first: int | None
    """Trials up to and including the first one that qualifies, in the order in which they ended."""
    device_seconds_to_first: float | None
    first: PairRecord | None
    """The first pair that qualifies, not always the one that stands for the cell."""

    @property
    def chance_high(self) -> float | None:
        """Upper end of the 95 % interval of the chance that a trial finds a pair, where none did."""
        return None if self.finding or not self.num_trials else chance_bound(self.num_trials)


def chance_bound(num_trials: int) -> float:
    """Returns the chance per trial at which so many independent trials all miss in 5 of 100 searches.

    Examples:
        >>> round(chance_bound(10), 3)
        0.259
    """
    return 1 - (1 - CONFIDENCE) ** (1 / num_trials)


def outcome_of(searched: SearchedCell) -> Outcome:
    """Says what became of a search."""
    finding = _finding(searched)
    ended = searched.ended
    place = next((place for place, each in enumerate(ended) if each.is_qualifying), None)
    until = [] if place is None else ended[: place + 1]
    return Outcome(
        searched=searched,
        verdict=_verdict(searched, finding),
        finding=finding,
        num_trials=sum(each.trial.state.ended_well for each in searched.trials),
        num_ended=len(ended),
        device_seconds=sum(each.device_seconds for each in ended),
        trials_to_first=len(until) or None,
        device_seconds_to_first=sum(each.device_seconds for each in until) if until else None,
        first=until[-1].record if until else None,
    )


def _verdict(searched: SearchedCell, finding: Finding | None) -> SearchVerdict:
    if finding is None:
        return SearchVerdict.NOT_FOUND
    if finding.num_seeds == 1:
        return SearchVerdict.NOT_CONFIRMED
    if finding.num_catastrophic < finding.num_seeds:
        return SearchVerdict.SOMETIMES if finding.num_catastrophic else SearchVerdict.VALIDATION_ONLY
    # A confirmation that failed or is still to come may yet tell otherwise.
    is_complete = finding.num_seeds == 1 + len(searched.confirmations)
    return SearchVerdict.CATASTROPHIC if is_complete else SearchVerdict.NOT_CONFIRMED


def _finding(searched: SearchedCell) -> Finding | None:
    # The rule by which confirmations choose what they repeat, too.
    chosen = choose([each.record for each in searched.trials if each.record and each.is_qualifying])
    if chosen is None:
        return None
    winner = next(each.trial for each in searched.trials if each.record is chosen)
    return Finding(
        pairs=(chosen, *(each.record for each in searched.confirmations if each.record)),
        drop_standard_error=winner.metrics["test/drop_standard_error"],
    )


def _over_seeds(values: Sequence[float]) -> Interval:
    mean = mean_interval(values)
    return _difference(mean.mean, mean.low, mean.high) if len(values) > 1 else Interval(value=mean.mean)


def _difference(value: float, low: float, high: float) -> Interval:
    """Ends the interval of a difference of accuracies at -1 and 1, beyond which two seeds would take it."""
    return Interval(value=value, low=max(low, -1.0), high=min(high, 1.0))


def outcome_facts(outcome: Outcome) -> dict[str, str | int | float | bool | None]:
    """Returns what became of a search as plain values, by the names that files and `--json` use.

    Accuracies are fractions. What begins with `drop`, `parity_gap` and `share_catastrophic` is on the test split.
    """
    cell, finding = outcome.searched.cell, outcome.finding
    intervals: dict[str, float | None] = {}
    for name in ("drop", "parity_gap", "share"):
        interval = asdict(getattr(finding, name)) if finding else {"value": None, "low": None, "high": None}
        key = "share_catastrophic" if name == "share" else name
        intervals |= {key: interval["value"], f"{key}_low": interval["low"], f"{key}_high": interval["high"]}
    return {
        "cell": cell.cell_id,
        **{name: getattr(cell, name) for name in ("architecture", "option_set", "budget_level")},
        "budget": cell.recipe.budget,
        "seed": cell.seed,
        "verdict": str(outcome.verdict),
        "num_trials": outcome.num_trials,
        "num_trials_ended": outcome.num_ended,
        "num_trials_to_come": outcome.searched.num_to_come,
        "num_trials_skipped": outcome.searched.num_skipped,
        "device_seconds": outcome.device_seconds,
        "trials_to_first": outcome.trials_to_first,
        "device_seconds_to_first": outcome.device_seconds_to_first,
        "first_uid": outcome.first.uid if outcome.first else None,
        "first_is_catastrophic_on_test": outcome.first.catastrophic if outcome.first else None,
        "pair_uid": finding.pair.uid if finding else None,
        "pair_trial": finding.pair.trial_number if finding else None,
        "num_seeds": finding.num_seeds if finding else None,
        "num_catastrophic": finding.num_catastrophic if finding else None,
        **intervals,
        "chance_per_trial_high": outcome.chance_high,
    }


_TYPES = {
    **dict.fromkeys(("cell", "architecture", "option_set", "budget_level", "verdict", "first_uid", "pair_uid"), "str"),
    **dict.fromkeys(("budget", "seed", "trials_to_first", "pair_trial", "num_seeds", "num_catastrophic"), "Int64"),
    **dict.fromkeys(("num_trials", "num_trials_ended", "num_trials_to_come", "num_trials_skipped"), "Int64"),
    "first_is_catastrophic_on_test": "boolean",
}


def outcome_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Returns the facts of all searched cells, a row each."""
    table = pd.DataFrame([outcome_facts(outcome) for outcome in outcomes], dtype=object)
    uids = ["first_uid", "pair_uid"]
    table[uids] = table[uids].map(lambda uid: uid or "")
    numbers = [name for name in table.columns if name not in _TYPES]
    return table.astype(_TYPES | dict.fromkeys(numbers, "float64"))
