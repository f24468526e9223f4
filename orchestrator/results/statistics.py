"""How sure a number is: paired tests, intervals of shares, and intervals of means over draws or seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
"""Of all intervals in reports."""


def mcnemar_p(num_lost: int, num_gained: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test.

    If a change costs and wins images with the same probability, the number of lost ones among those that changed is
    binomial with probability 1/2. The p-value is twice the smaller tail, at most 1.

    Args:
        num_lost: Images right before and wrong after.
        num_gained: Images wrong before and right after.

    Examples:
        >>> mcnemar_p(5, 0), mcnemar_p(3, 3), mcnemar_p(0, 0)
        (0.0625, 1.0, 1.0)
    """
    num_changed = num_lost + num_gained
    # Whole numbers of any size, so nothing rounds before the division.
    tail = sum(math.comb(num_changed, number) for number in range(min(num_lost, num_gained) + 1))
    return min(1.0, 2 * tail / 2**num_changed)


def wilson_interval(num_hits: int, num_images: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns Wilson's interval of a share, which stays within [0, 1] and has a width at shares of 0 and 1 too.

    Without images any share is possible: (0, 1).

    Examples:
        >>> low, high = wilson_interval(10, 10)
        >>> round(low, 3), high
        (0.722, 1.0)
    """
    if num_images == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = num_hits / num_images, z**2 / num_images
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / num_images + weight / (4 * num_images))
    # The ends are exactly 0 and 1 there; rounding would miss them.
    low = 0.0 if num_hits == 0 else middle - half
    high = 1.0 if num_hits == num_images else middle + half
    return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over draws or seeds; NaN stands for what too few values do not tell."""

    num_values: int
    mean: float
    standard_deviation: float
    """Of the values, with num_values - 1 in the denominator."""
    low: float
    high: float


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Mean:
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
    if num_values < 2:
        return Mean(num_values=num_values, mean=mean, standard_deviation=math.nan, low=math.nan, high=math.nan)
    deviation = stdev(values)
    half = t_quantile((1 + confidence) / 2, num_values - 1) * deviation / math.sqrt(num_values)
    return Mean(num_values=num_values, mean=mean, standard_deviation=deviation, low=mean - half, high=mean + half)


def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Returns the quantile of Student's t distribution.

    Args:
        probability: In [0.5, 1).
        degrees_of_freedom: At least 1.

    Examples:
        >>> round(t_quantile(0.975, 1), 3), round(t_quantile(0.975, 30), 3)
        (12.706, 2.042)
    """
    low, high = 0.0, math.pi / 2
    # Bisection down to neighboring floats: the two-sided probability grows with the angle.
    while low < (middle := (low + high) / 2) < high:
        if (1 + _t_two_sided(middle, degrees_of_freedom)) / 2 < probability:
            low = middle
        else:
            high = middle
    return math.tan(high) * math.sqrt(degrees_of_freedom)


def _t_two_sided(angle: float, degrees_of_freedom: int) -> float:
    """P(|T| <= t) at angle = atan(t / sqrt(dof)), the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    is_odd = degrees_of_freedom % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for power in range(is_odd, degrees_of_freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    inner = math.sin(angle) * total
    return 2 / math.pi * (angle + inner) if is_odd else inner


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
        return row | {"spearman": math.nan, "low": math.nan, "high": math.nan, "reason": reason}
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
    ranks_x, ranks_y = (pd.DataFrame(values).rank().to_numpy() for values in (x, y))
    ranks_x, ranks_y = ranks_x - ranks_x.mean(axis=0), ranks_y - ranks_y.mean(axis=0)
    norms = np.sqrt((ranks_x**2).sum(axis=0) * (ranks_y**2).sum(axis=0))
    return np.divide((ranks_x * ranks_y).sum(axis=0), norms, out=np.full(len(norms), math.nan), where=norms > 0)
