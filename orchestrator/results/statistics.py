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


SIGNAL_COLUMNS = ("signal", "spearman", "low", "high", "num_trials", "num_white_boxes", "p_value", "q_value", "reason")


def correlations_over(
    signals: pd.DataFrame, drops: pd.Series, white_boxes: pd.Series, *, seed: int = 0
) -> pd.DataFrame:
    """Correlates every signal with the drop within white boxes, and tells chance from more, over all signals.

    Trials of one white box are one cluster. Each cluster has a Spearman correlation; its mean over white boxes has
    Student's interval. A single white box has the bootstrap interval of `correlations`, which holds for that one only.
    The p-value is the larger of two: drops permuted within white boxes, and with several of them Student's test of
    their correlations against 0. The q-value corrects it for the number of signals: those below 0.05 hold at most 5 %
    of false discoveries on average (Benjamini and Hochberg 1995; SciPy's `false_discovery_control`).

    Args:
        signals: A row per trial, a column per signal; NaN where a trial has no value.
        drops: The drop of the same trials, by the same index.
        white_boxes: Name of the white box of the same trials.
        seed: Of bootstrap and permutations.

    Returns:
        A row per signal in the order of the columns, with `SIGNAL_COLUMNS`; `reason` says why numbers are missing.
    """
    rows = [_row_over(str(name), signals[name], drops, white_boxes, seed) for name in signals.columns]
    table = pd.DataFrame(rows, columns=list(SIGNAL_COLUMNS))
    known = table["p_value"].notna()
    if known.any():
        table.loc[known, "q_value"] = scipy.stats.false_discovery_control(table.loc[known, "p_value"].astype(float))
    return table


def _row_over(name: str, signal: pd.Series, drops: pd.Series, white_boxes: pd.Series, seed: int) -> dict[str, object]:
    trials = pd.DataFrame({"signal": signal, "drop": drops}).astype(float).dropna()
    clusters = [of_one for _, of_one in trials.groupby(white_boxes.reindex(trials.index), sort=False)]
    usable = [of_one for of_one in clusters if not _why_none(of_one)]
    if not usable:
        largest = max(clusters, key=len, default=trials)
        return {"signal": name, "num_trials": len(trials), "num_white_boxes": 0, "reason": _why_none(largest)}
    row = _row(name, usable[0]["signal"], usable[0]["drop"], seed)
    p_value = _permutation_p(usable, seed)
    if len(usable) > 1:
        each = [_spearman(*of_one.to_numpy()[:, :, None].swapaxes(0, 1)).item() for of_one in usable]
        mean = mean_interval(each)
        row |= {"spearman": mean.mean, "low": max(-1.0, mean.low), "high": min(1.0, mean.high)}
        if mean.standard_deviation:
            p_value = max(p_value, float(scipy.stats.ttest_1samp(each, 0.0).pvalue))
    return row | {"num_trials": sum(map(len, usable)), "num_white_boxes": len(usable), "p_value": p_value}


def _permutation_p(clusters: Sequence[pd.DataFrame], seed: int) -> float:
    """Returns the two-sided p-value of the mean correlation, under permutations of the drops within clusters."""
    generator = np.random.default_rng(seed)
    measured, permuted = 0.0, np.zeros(NUM_RESAMPLES)
    for trials in clusters:
        x, y = (trials[name].to_numpy()[:, None] for name in ("signal", "drop"))
        order = generator.random((len(trials), NUM_RESAMPLES)).argsort(axis=0)
        measured += _spearman(x, y).item()
        permuted += _spearman(np.broadcast_to(x, order.shape), y[order, 0])
    # The measured order is one of those that are possible, and rounding decides nothing.
    return float((1 + (np.abs(permuted) >= abs(measured) - 1e-9).sum()) / (1 + NUM_RESAMPLES))


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
