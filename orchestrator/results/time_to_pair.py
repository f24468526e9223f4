"""What a pair costs to find: the share of cells without one, over the training epochs that their searches took.

Epochs, since the seconds of a shared machine vary with what else it does. A cell whose search ended without a hit would
have found one later, or never; that is unknown, so it is censored: it counts as without a hit for as long as it was
searched, and not at all after that (Kaplan and Meier 1958).
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from orchestrator.results.verdicts import Outcome
from trainables.assessment.paired import CONFIDENCE

CURVE_COLUMNS = ("epochs", "num_at_risk", "num_found", "num_censored", "share", "share_low", "share_high")


def time_to_pair(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Estimates the share of cells without a hit over epochs; see `kaplan_meier`."""
    begun = [outcome for outcome in outcomes if outcome.num_ended]
    found = [outcome.epochs_to_first for outcome in begun]
    times = [outcome.num_epochs if time is None else time for outcome, time in zip(begun, found, strict=True)]
    return kaplan_meier(times, [time is not None for time in found])


def kaplan_meier(epochs: Sequence[float], is_found: Sequence[bool]) -> pd.DataFrame:
    """Estimates the share that is left over time, from times of which some are censored.

    Args:
        epochs: When each cell found its hit, or how long it was searched in vain.
        is_found: Which of the two.

    Returns:
        A row per time at which anything happened, in order: epochs, num_at_risk just before, num_found and
        num_censored there, share without a hit from there on, and its 95 % band, share_low and share_high. The band
        has Greenwood's variance on the scale log(-log share), which keeps it within [0, 1]; there is none (NaN) at
        shares of 1 and 0.
    """
    if not epochs:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    when, has_pair = np.asarray(epochs, dtype=float), np.asarray(is_found, dtype=bool)
    left = scipy.stats.ecdf(_censored(when, has_pair)).sf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = left.confidence_interval(CONFIDENCE, method="log-log")
    happened = when[:, None] == left.quantiles
    columns = (
        left.quantiles,
        (when[:, None] >= left.quantiles).sum(axis=0),
        happened[has_pair].sum(axis=0),
        happened[~has_pair].sum(axis=0),
        *(each.probabilities for each in (left, band.low, band.high)),
    )
    return pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True)))


def logrank_p(
    epochs: Sequence[float], is_found: Sequence[bool], other_epochs: Sequence[float], other_is_found: Sequence[bool]
) -> float:
    """Returns the two-sided p-value of the log-rank test of two groups of cells (Mantel 1966; SciPy's `logrank`).

    Cells count as independent. NaN where neither group found anything, or one is empty.
    """
    if not (any(is_found) or any(other_is_found)) or not (epochs and other_epochs):
        return math.nan
    samples = (
        _censored(np.asarray(times, dtype=float), np.asarray(found, dtype=bool))
        for times, found in ((epochs, is_found), (other_epochs, other_is_found))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(scipy.stats.logrank(*samples).pvalue)


def median_epochs(curve: pd.DataFrame) -> tuple[float, bool]:
    """Returns the epochs after which half of the cells have a hit, and whether that was reached.

    Where it was not, the number is the longest time that a cell was searched: the median lies above it.
    """
    reached = curve[curve["share"] <= 0.5]
    if len(reached):
        return float(reached["epochs"].iloc[0]), True
    return float(curve["epochs"].iloc[-1]), False


def seconds_text(seconds: float) -> str:
    """Writes a time for people.

    Examples:
        >>> seconds_text(42.4), seconds_text(600), seconds_text(86400)
        ('42 s', '10.0 min', '24.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def median_text(curve: pd.DataFrame) -> str:
    """Writes the median, with `> ` where fewer than half of the cells have a hit."""
    epochs, is_reached = median_epochs(curve)
    return f"{'' if is_reached else '> '}{epochs:.0f} epochs"


def _censored(when: np.ndarray, is_found: np.ndarray) -> scipy.stats.CensoredData:
    return scipy.stats.CensoredData(when[is_found], right=when[~is_found])
