"""What a pair costs to find: the share of cells without one, over the device-seconds that their searches took.

A cell whose search ended without a hit would have found one later, or never; that is unknown, so it is censored: it
counts as without a hit for as long as it was searched, and not at all after that (Kaplan and Meier 1958).
"""

import warnings
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
import scipy

from orchestrator.results.verdicts import Outcome
from orchestrator.search.pair_choice import NORMAL_95

_BAND = 2 * NormalDist().cdf(NORMAL_95) - 1
"""Confidence of the band: as many standard errors as everywhere else."""
CURVE_COLUMNS = ("device_seconds", "num_at_risk", "num_found", "num_censored", "share", "share_low", "share_high")


def time_to_pair(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Estimates the share of cells without a hit over device-seconds; see `kaplan_meier`."""
    begun = [outcome for outcome in outcomes if outcome.num_ended]
    found = [outcome.device_seconds_to_first for outcome in begun]
    times = [outcome.device_seconds if time is None else time for outcome, time in zip(begun, found, strict=True)]
    return kaplan_meier(times, [time is not None for time in found])


def kaplan_meier(times: Sequence[float], is_found: Sequence[bool]) -> pd.DataFrame:
    """Estimates the share that is left over time, from times of which some are censored.

    Args:
        times: When each cell found its hit, or how long it was searched in vain.
        is_found: Which of the two.

    Returns:
        A row per time at which anything happened, in order: device_seconds, num_at_risk just before, num_found and
        num_censored there, share without a hit from there on, and its 95 % band, share_low and share_high. The band
        has Greenwood's variance on the scale log(-log share), which keeps it within [0, 1]; there is none (NaN) at
        shares of 1 and 0.
    """
    if not times:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    when, has_pair = np.asarray(times, dtype=float), np.asarray(is_found, dtype=bool)
    left = scipy.stats.ecdf(scipy.stats.CensoredData(when[has_pair], right=when[~has_pair])).sf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = left.confidence_interval(_BAND, method="log-log")
    happened = when[:, None] == left.quantiles
    columns = (
        left.quantiles,
        (when[:, None] >= left.quantiles).sum(axis=0),
        happened[has_pair].sum(axis=0),
        happened[~has_pair].sum(axis=0),
        *(each.probabilities for each in (left, band.low, band.high)),
    )
    return pd.DataFrame(dict(zip(CURVE_COLUMNS, columns, strict=True)))


def median_seconds(curve: pd.DataFrame) -> tuple[float, bool]:
    """Returns the device-seconds after which half of the cells have a hit, and whether that was reached.

    Where it was not, the number is the longest time that a cell was searched: the median lies above it.
    """
    reached = curve[curve["share"] <= 0.5]
    if len(reached):
        return float(reached["device_seconds"].iloc[0]), True
    return float(curve["device_seconds"].iloc[-1]), False


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
    seconds, is_reached = median_seconds(curve)
    return f"{'' if is_reached else '> '}{seconds_text(seconds)}"
