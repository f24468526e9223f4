"""A detector: a weighted sum of standardized signals, fitted on some white boxes and judged on others.

It is logistic regression, stored as JSON of numbers. Its alarm begins above every negative row that it was fitted on: a
new one that could be exchanged with n of them is the highest in one of n + 1 cases (conformal prediction, Vovk et al.
2005; that the fit has seen these rows costs little). What shares a white box is one cluster: a network is never judged
by a detector that has seen its white box, its pair or its rescaled copies.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression

from search_spaces.errors import ConfigError
from search_spaces.model import Frozen
from trainables.assessment.paired import CONFIDENCE

_CLOSE = 1e-9


class Detector(Frozen):
    """Weights of signals; a positive score says that a network was made to fail, or that an answer has changed."""

    signals: tuple[str, ...]
    """Names of the signals, in the order of the numbers."""
    means: tuple[float, ...]
    """Of the signals where it was fitted."""
    deviations: tuple[float, ...]
    """Standard deviations there; 1 for a signal that did not vary."""
    weights: tuple[float, ...]
    """Log odds per standard deviation."""
    bias: float
    """Score at the means, such that the highest negative row that it was fitted on has 0."""

    def scores(self, table: pd.DataFrame) -> np.ndarray:
        """Returns the score of every row: log odds above those at which the alarm begins.

        Raises:
            ConfigError: A signal is missing, or is not finite.
        """
        return self.bias + _standardized(table, self.signals, self.means, self.deviations) @ np.array(self.weights)


def fit(table: pd.DataFrame, is_positive: Sequence[bool] | np.ndarray, signals: Sequence[str]) -> Detector:
    """Fits a detector; both outcomes weigh the same, however frequent they are.

    Args:
        table: A row per network or image.
        is_positive: Its outcome.
        signals: Columns to look at.

    Raises:
        ConfigError: There is only one outcome, or a signal is missing or not finite.
    """
    outcome = np.asarray(is_positive, dtype=bool)
    if outcome.all() or not outcome.any():
        raise ConfigError(f"{len(outcome)} rows of one outcome fit no detector: give some of both.")
    raw = _standardized(table, signals, np.zeros(len(signals)), np.ones(len(signals)))
    means, deviations = raw.mean(0), raw.std(0)
    deviations = np.where(deviations > 0, deviations, 1.0)
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    standardized = (raw - means) / deviations
    model.fit(standardized, outcome)
    return Detector(
        signals=tuple(signals),
        means=tuple(means.tolist()),
        deviations=tuple(deviations.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        bias=-float((standardized @ model.coef_[0])[~outcome].max()),
    )


def held_out_scores(
    table: pd.DataFrame,
    is_positive: Sequence[bool] | np.ndarray,
    clusters: Sequence[int] | np.ndarray,
    signals: Sequence[str],
    *,
    is_fitted: Sequence[bool] | np.ndarray | None = None,
) -> np.ndarray:
    """Scores every row by a detector that was fitted without its cluster.

    Args:
        table: A row per network or image.
        is_positive: Its outcome.
        clusters: What shares a white box has the same number.
        signals: Columns to look at.
        is_fitted: Rows that detectors may be fitted on, such as those of attackers that are known; None for all.
    """
    outcome, cluster = np.asarray(is_positive, dtype=bool), np.asarray(clusters)
    may_fit = np.ones(len(table), dtype=bool) if is_fitted is None else np.asarray(is_fitted, dtype=bool)
    scores = np.empty(len(table))
    for one in np.unique(cluster):
        is_out = cluster == one
        is_in = may_fit & ~is_out
        scores[is_out] = fit(table[is_in], outcome[is_in], signals).scores(table[is_out])
    return scores


def auroc(scores: Sequence[float] | np.ndarray, is_positive: Sequence[bool] | np.ndarray) -> float:
    """Returns the chance that a positive row has the higher score, ties counting half.

    Raises:
        ConfigError: There is only one outcome.

    Examples:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
        0.75
    """
    outcome = np.asarray(is_positive, dtype=bool)
    num_positive, num_negative = int(outcome.sum()), int((~outcome).sum())
    if not num_positive or not num_negative:
        raise ConfigError(f"{len(outcome)} rows of one outcome have no AUROC: give some of both.")
    above = rankdata(np.asarray(scores))[outcome].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def auroc_interval(
    value: float, num_positive: int, num_negative: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Returns the interval of an AUROC of independent rows, which has a width at 1, too.

    Newcombe, Statistics in Medicine 25:559-573 (2006), method 5: all values that a score test with Hanley and McNeil's
    variance does not reject. DeLong's interval and the bootstrap have no width where the groups are apart.

    Args:
        value: The AUROC.
        num_positive: Positive rows.
        num_negative: Negative rows.
        confidence: Of the interval.

    Examples:
        >>> [round(end, 2) for end in auroc_interval(1.0, 10, 40)]
        [0.88, 1.0]
    """
    z = norm.ppf((1 + confidence) / 2)
    extra = (num_positive + num_negative) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + extra * (1 - true) / (2 - true) + extra * true / (1 + true)
        return (value - true) ** 2 - z**2 * true * (1 - true) * spread / (num_positive * num_negative)

    # At 0 and 1 the variance is 0, so these are left out where the value itself is there.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, 1 - _CLOSE))
    high = 1.0 if value == 1 else brentq(excess, max(value, _CLOSE), 1)
    return float(low), float(high)


def alarm_rate_bound(num_healthy: int, confidence: float = CONFIDENCE) -> float:
    """Returns the one-sided bound of the rate of false alarms of a detector, which is not known from counting them.

    Its alarm begins above the highest of n healthy networks. When these are judged one by one by what is fitted on the
    others, one alarm is what the rule makes, whatever the rate: only the highest of all can be above the rest. The rate
    itself has the Beta(1, n) distribution (Wilks, Annals of Mathematical Statistics 12:91, 1941), so it is above r with
    the chance (1 - r)^n. That the fit has seen these networks, too, is left out.

    Args:
        num_healthy: Healthy networks that the detector was fitted on, at least 1.
        confidence: Of the bound.

    Examples:
        >>> round(alarm_rate_bound(39), 3), round(alarm_rate_bound(59), 3)
        (0.074, 0.05)
    """
    return float(1 - (1 - confidence) ** (1 / num_healthy))


def cluster_interval(values: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over clusters, by the percentiles of a bootstrap of whole clusters."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values, dtype=float), size=(draws, len(values)))
    low, high = np.quantile(drawn.mean(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _standardized(table: pd.DataFrame, signals: Sequence[str], means: object, deviations: object) -> np.ndarray:
    missing = [name for name in signals if name not in table]
    if missing:
        raise ConfigError(f"the signals {missing} are missing: there are {list(table.columns)}.")
    raw = table[list(signals)].to_numpy(dtype=float)
    if not np.isfinite(raw).all():
        raise ConfigError(f"a signal among {list(signals)} is not finite: leave its row out.")
    return (raw - np.asarray(means)) / np.asarray(deviations)
