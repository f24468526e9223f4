"""What a search found in every cell, how sure that is, and what it cost.

A pair qualifies if it is catastrophic on the validation split, which is all that a search sees. The verdict is given on
the test split, over the seed of the search and those of the confirmations.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import pandas as pd

from orchestrator.results.cell_verdicts import CellVerdict, verdict_on
from orchestrator.results.claims import Difference
from orchestrator.results.pairs import PairRecord, representative
from orchestrator.results.searches import SearchedCell
from orchestrator.results.statistics import mean_interval
from trainables.assessment.paired import CONFIDENCE, wilson_interval


class SearchVerdict(StrEnum):
    """What a search says of its cell."""

    CATASTROPHIC = "catastrophic"
    """Its pair, on the seed of the search and on all others."""
    WITHIN_NOISE = "within noise"
    """As above, but the images of no seed show it."""
    SOMETIMES = "sometimes"
    """Its pair, on some of the seeds."""
    VALIDATION_ONLY = "validation only"
    """It found a pair on the validation split that is not catastrophic on test, whatever the seed."""
    NOT_FOUND = "not found"
    """No trial so far is a hit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number and its interval; None for ends that the data do not tell."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The pair that stands for what a search found, on the test split, with those that repeat it on further seeds.

    Intervals are computed when asked for: showing the verdict alone does not import scipy. Over seeds they are
    conditional on the white box that all seeds share.
    """

    pairs: tuple[PairRecord, ...]
    """That of the search first."""

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
    def num_shown(self) -> int | None:
        """On how many of them the test images show it; None where nothing counted the images of one."""
        return None if any(pair.claim is None for pair in self.pairs) else sum(pair.is_shown for pair in self.pairs)

    @property
    def share(self) -> Interval:
        """Of the seeds on which it is; Wilson's."""
        low, high = wilson_interval(self.num_catastrophic, self.num_seeds)
        return Interval(value=self.num_catastrophic / self.num_seeds, low=low, high=high)

    @property
    def on_seeds(self) -> CellVerdict:
        """What every table says of it."""
        return verdict_on("", self.pairs)

    @property
    def drop(self) -> Interval:
        """Mean over seeds with Student's interval; of a single pair its own, with the bounds that its images show."""
        claim = self.pair.claim if self.num_seeds == 1 else None
        return _of_images(claim.drop) if claim else _over_seeds([-pair.accuracy_delta for pair in self.pairs])

    @property
    def parity_gap(self) -> Interval:
        """As of the drop."""
        claim = self.pair.claim if self.num_seeds == 1 else None
        return _of_images(claim.parity_gap) if claim else _over_seeds([pair.parity_gap for pair in self.pairs])


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
    num_drawn: int | None
    """Trials that the sampler chose and that ran to their end; None where a pair was found, and no chance is asked for.

    The first points of a search are the same in every search, points of other cells are none of its own, and a pruned
    trial might have become a hit: none of them is a draw.
    """
    num_epochs: int
    """Of all that ended."""
    device_seconds: float
    """Of all that ended."""
    trials_to_first: int | None
    """Trials up to and including the first one that qualifies, in the order in which they ended."""
    epochs_to_first: int | None
    device_seconds_to_first: float | None
    first: PairRecord | None
    """The first pair that qualifies, not always the one that stands for the cell."""

    @property
    def chance_high(self) -> float | None:
        """One-sided 95 % bound of the chance that a drawn trial finds a pair, where none did; None without a draw."""
        return chance_bound(self.num_drawn) if self.num_drawn else None


def chance_bound(num_drawn: int) -> float:
    """Returns the chance per draw at which so many independent draws all miss in 5 of 100 searches.

    The one-sided bound of Clopper and Pearson, Biometrika 26:404-413 (1934), for no hit; about 3 / draws (the rule of
    three).

    Examples:
        >>> round(chance_bound(10), 3)
        0.259
    """
    return 1 - (1 - CONFIDENCE) ** (1 / num_drawn)


def outcome_of(searched: SearchedCell) -> Outcome:
    """Says what became of a search."""
    finding = _finding(searched)
    ended = searched.ended
    place = next((place for place, each in enumerate(ended) if each.is_qualifying), None)
    until = [] if place is None else ended[: place + 1]
    return Outcome(
        searched=searched,
        verdict=_verdict(finding),
        finding=finding,
        num_trials=sum(each.trial.state.ended_well for each in searched.trials),
        num_ended=len(ended),
        num_drawn=None if finding else sum(each.is_drawn for each in searched.trials),
        num_epochs=sum(each.num_epochs_run for each in ended),
        device_seconds=sum(each.device_seconds for each in ended),
        trials_to_first=len(until) or None,
        epochs_to_first=sum(each.num_epochs_run for each in until) if until else None,
        device_seconds_to_first=sum(each.device_seconds for each in until) if until else None,
        first=until[-1].record if until else None,
    )


def _verdict(finding: Finding | None) -> SearchVerdict:
    if finding is None:
        return SearchVerdict.NOT_FOUND
    if finding.num_catastrophic < finding.num_seeds:
        return SearchVerdict.SOMETIMES if finding.num_catastrophic else SearchVerdict.VALIDATION_ONLY
    return SearchVerdict.WITHIN_NOISE if finding.num_shown == 0 else SearchVerdict.CATASTROPHIC


def _finding(searched: SearchedCell) -> Finding | None:
    chosen = representative(searched.records)
    if chosen is None or not chosen.is_qualifying:
        return None
    return Finding(pairs=(chosen, *(each.record for each in searched.confirmations if each.record)))


def _over_seeds(values: Sequence[float]) -> Interval:
    mean = mean_interval(values)
    return _difference(mean.mean, mean.low, mean.high) if len(values) > 1 else Interval(value=mean.mean)


def _of_images(difference: Difference) -> Interval:
    return Interval(value=difference.value, low=difference.low, high=difference.high)


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
        "verdict": finding.on_seeds.text if finding else str(outcome.verdict),
        "num_trials": outcome.num_trials,
        "num_trials_ended": outcome.num_ended,
        "num_trials_drawn": outcome.num_drawn,
        "num_trials_to_come": outcome.searched.num_to_come,
        "num_trials_skipped": outcome.searched.num_skipped,
        "epochs": outcome.num_epochs,
        "device_seconds": outcome.device_seconds,
        "trials_to_first": outcome.trials_to_first,
        "epochs_to_first": outcome.epochs_to_first,
        "device_seconds_to_first": outcome.device_seconds_to_first,
        "first_uid": outcome.first.uid if outcome.first else None,
        "first_is_catastrophic_on_test": outcome.first.catastrophic if outcome.first else None,
        "pair_uid": finding.pair.uid if finding else None,
        "pair_trial": finding.pair.trial_number if finding else None,
        "num_seeds": finding.num_seeds if finding else None,
        "num_catastrophic": finding.num_catastrophic if finding else None,
        "num_shown": finding.num_shown if finding else None,
        "evidence": finding.pair.evidence if finding else "",
        **intervals,
        "chance_per_trial_high": outcome.chance_high,
    }


_TYPES = {
    **dict.fromkeys(("cell", "architecture", "option_set", "budget_level", "verdict", "first_uid", "pair_uid"), "str"),
    "evidence": "str",
    **dict.fromkeys(("budget", "seed", "trials_to_first", "epochs_to_first", "pair_trial", "epochs"), "Int64"),
    **dict.fromkeys(("num_seeds", "num_catastrophic", "num_shown", "num_trials", "num_trials_ended"), "Int64"),
    **dict.fromkeys(("num_trials_drawn", "num_trials_to_come", "num_trials_skipped"), "Int64"),
    "first_is_catastrophic_on_test": "boolean",
}


def outcome_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Returns the facts of all searched cells, a row each."""
    table = pd.DataFrame([outcome_facts(outcome) for outcome in outcomes], dtype=object)
    uids = ["first_uid", "pair_uid"]
    table[uids] = table[uids].map(lambda uid: uid or "")
    numbers = [name for name in table.columns if name not in _TYPES]
    return table.astype(_TYPES | dict.fromkeys(numbers, "float64"))
