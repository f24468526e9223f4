"""How sure a number is: paired tests, and intervals of means over draws or seeds.

`scipy.stats` takes a second to import, which happens where it is first used: `status` and `plan` do not wait for it.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import scipy

from trainables.assessment.paired import CONFIDENCE


def mcnemar_p(num_lost: int, num_gained: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test.

    If a change costs and wins images with the same probability, the number of lost ones (right before, wrong after)
    among those that changed is binomial with probability 1/2; where nothing changed, the p-value is 1.

    Examples:
        >>> mcnemar_p(5, 0), mcnemar_p(3, 3), mcnemar_p(0, 0)
        (0.0625, 1.0, 1.0)
    """
    num_changed = num_lost + num_gained
    return float(scipy.stats.binomtest(num_lost, num_changed).pvalue) if num_changed else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over draws or seeds; NaN stands for what too few values do not tell."""

    num_values: int
    mean: float
    standard_deviation: float
    """Of the values, with num_values - 1 in the denominator."""
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Mean:
    """Returns the mean of independent values with Student's interval.

    Student's t and not the normal distribution, since seeds are few: with 3 of them the interval is 4.3 standard errors
    to either side instead of 2. It is exact for normal values. One value has no interval, none no mean: NaN.

    Examples:
        >>> seeds = mean_interval([1.0, 2.0, 3.0])
        >>> seeds.mean, seeds.standard_deviation, round(seeds.high - seeds.mean, 3)
        (2.0, 1.0, 2.484)
    """
    num_values = len(values)
    mean = fmean(values) if values else math.nan
    deviation = half = math.nan
    if num_values > 1:
        deviation = stdev(values)
        half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, num_values - 1)) * deviation / math.sqrt(num_values)
    return Mean(num_values=num_values, mean=mean, standard_deviation=deviation, low=mean - half, high=mean + half)


MIN_TRIALS = 4
"""Fewer points lie on some monotone curve too often to mean anything."""
NUM_RESAMPLES = 2000
COLUMNS = ("signal", "spearman", "low", "high", "num_trials", "reason")


def correlations(signals: pd.DataFrame, drops: pd.Series, *, seed: int = 0) -> pd.DataFrame:
    """Correlates every signal with the drop.

    Spearman's correlation, with average ranks for ties, and a percentile-bootstrap interval over trials: exact in no
    case and too narrow with few trials, so read it as the order of magnitude. Resamples in which the signal or the drop
    is constant are left out.

    Args:
        signals: A row per trial, a column per signal; NaN where a trial has no value.
        drops: The drop of the same trials, by the same index.
        seed: Of the bootstrap.

    Returns:
        A row per signal in the order of the columns: signal, spearman in [-1, 1], low and high of its 95 % interval,
        num_trials that have both numbers, and reason: why there is no correlation (then NaN), otherwise empty.
    """
    rows = [_row(str(name), signals[name], drops, seed) for name in signals.columns]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(name: str, signal: pd.Series, drops: pd.Series, seed: int) -> dict[str, object]:
    both = pd.DataFrame({"signal": signal, "drop": drops}).astype(float).dropna()
    row: dict[str, object] = {"signal": name, "num_trials": len(both), "reason": ""}
    if reason := _why_none(both):
        return row | {"reason": reason}  # the numbers stay missing
    x, y = both["signal"].to_numpy(), both["drop"].to_numpy()
    # The same resamples for every signal of as many trials, so that signals differ by themselves and not by chance.
    chosen = np.random.default_rng(seed).integers(len(both), size=(len(both), NUM_RESAMPLES))
    resampled = _spearman(x[chosen], y[chosen])
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    spearman = _spearman(x[:, None], y[:, None]).item()
    return row | {"spearman": spearman, "low": float(low), "high": float(high)}


def _why_none(both: pd.DataFrame) -> str:
    if len(both) < MIN_TRIALS:
        return f"{len(both)} trials, at least {MIN_TRIALS} are needed"
    constant = [column for column in both.columns if both[column].nunique() == 1]
    return f"the {' and the '.join(constant)} {'is' if len(constant) == 1 else 'are'} constant" if constant else ""


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlates the ranks of the columns pairwise; NaN where one is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)
        ranks = (scipy.stats.rankdata(values, axis=0) for values in (x, y))
        return np.asarray(scipy.stats.pearsonr(*ranks, axis=0).statistic)
