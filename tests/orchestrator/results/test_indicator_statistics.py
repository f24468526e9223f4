"""Rank correlations against SciPy's, and what has none."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics import NUM_RESAMPLES, correlations

LEVELS = st.integers(min_value=0, max_value=4)

COLUMNS = ("signal", "spearman", "low", "high", "num_trials", "reason")


def correlate(signal: list[float], drops: list[float], **options: int) -> pd.Series:
    table = correlations(pd.DataFrame({"signal": signal}), pd.Series(drops), **options)
    assert tuple(table.columns) == COLUMNS
    return table.iloc[0]


@given(points=st.lists(st.tuples(LEVELS, LEVELS), min_size=4, max_size=12))
def test_correlation_equals_scipys_with_ties(points: list[tuple[int, int]]) -> None:
    signal, drops = (list(map(float, values)) for values in zip(*points, strict=True))
    row = correlate(signal, drops)
    assert row["num_trials"] == len(points)
    if min(len(set(signal)), len(set(drops))) == 1:
        assert math.isnan(row["spearman"])
        assert "constant" in row["reason"]
        return
    assert row["reason"] == ""
    assert row["spearman"] == pytest.approx(stats.spearmanr(signal, drops).statistic, abs=1e-12)
    assert -1 - 1e-12 <= row["low"] <= row["high"] <= 1 + 1e-12


def test_interval_is_the_percentile_bootstrap_over_trials() -> None:
    generator = np.random.default_rng(5)
    signal = generator.normal(size=15)
    drops = signal + generator.normal(size=15)
    row = correlate(signal.tolist(), drops.tolist(), seed=3)
    chosen = np.random.default_rng(3).integers(15, size=(15, NUM_RESAMPLES)).T
    resampled = [stats.spearmanr(signal[each], drops[each]).statistic for each in chosen]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    again, other = (correlate(signal.tolist(), drops.tolist(), seed=seed) for seed in (3, 4))
    assert (again["low"], again["high"]) == (row["low"], row["high"])
    assert (other["low"], other["high"]) != (row["low"], row["high"])


def test_a_monotone_signal_correlates_perfectly_in_every_resample() -> None:
    row = correlate([1, 2, 4, 8, 16], [5, 4, 3, 2, 1])
    assert (row["spearman"], row["low"], row["high"]) == pytest.approx((-1, -1, -1))


def test_trials_are_matched_by_their_index_and_left_out_where_a_number_is_missing() -> None:
    signals = pd.DataFrame({"one": [1.0, 2, 3, 4, 5], "two": [1.0, math.nan, 3, 2, 5]}, index=list("abcde"))
    drops = pd.Series([50.0, 40, 30, 20, 10], index=list("edcba"))
    table = correlations(signals, drops).set_index("signal")
    assert table["spearman"].tolist() == pytest.approx([1.0, 0.8])
    assert table["num_trials"].tolist() == [5, 4]


def test_too_few_trials_and_constant_numbers_have_a_reason_instead_of_a_correlation() -> None:
    few = correlate([1, 2, 3], [1, 2, 3])
    assert few["reason"] == "3 trials, at least 4 are needed"
    assert few["num_trials"] == 3
    constant = correlate([1, 1, 1, 1], [1, 2, 3, 4])
    assert constant["reason"] == "the signal is constant"
    assert correlate([1, 2, 3, 4], [0, 0, 0, 0])["reason"] == "the drop is constant"
    assert correlate([1, 1, 1, 1], [0, 0, 0, 0])["reason"] == "the signal and the drop are constant"
    for row in (few, constant):
        assert all(math.isnan(row[name]) for name in ("spearman", "low", "high"))


def test_a_sweep_without_signals_has_an_empty_table() -> None:
    table = correlations(pd.DataFrame(index=["a"]), pd.Series([0.1], index=["a"]))
    assert table.empty
    assert tuple(table.columns) == COLUMNS
