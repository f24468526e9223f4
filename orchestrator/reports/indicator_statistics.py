"""Which full-precision signal goes along with the drop: rank correlations over the trials of a sweep."""

import math

import numpy as np
import pandas as pd

from orchestrator.reports.statistics import CONFIDENCE

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
