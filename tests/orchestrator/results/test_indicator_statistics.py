"""Rank correlations against SciPy's, and what has none."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics import (
    NUM_RESAMPLES,
    SIGNAL_COLUMNS,
    correlations,
    correlations_over,
    mean_interval,
)

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


def over(signals: pd.DataFrame, drops: np.ndarray, white_boxes: list[str]) -> pd.DataFrame:
    table = correlations_over(signals, pd.Series(drops), pd.Series(white_boxes))
    assert tuple(table.columns) == SIGNAL_COLUMNS
    return table.set_index("signal")


def test_over_white_boxes_the_correlation_is_the_mean_of_theirs_with_students_interval() -> None:
    generator = np.random.default_rng(2)
    # White boxes differ in level, which is no correlation within any.
    levels = np.repeat([0.0, 10.0, 20.0, 30.0], 8)
    drops = generator.normal(size=32) + levels
    signals = pd.DataFrame({"noise": generator.normal(size=32) + levels, "real": drops + generator.normal(size=32)})
    table = over(signals, drops, [f"w{number // 8}" for number in range(32)])
    for name, row in table.iterrows():
        parts = [slice(8 * place, 8 * place + 8) for place in range(4)]
        each = [stats.spearmanr(signals[name][part], drops[part]).statistic for part in parts]
        expected = mean_interval(each)
        assert row["spearman"] == pytest.approx(expected.mean)
        assert (row["low"], row["high"]) == pytest.approx((max(-1, expected.low), min(1, expected.high)))
        assert row["p_value"] >= stats.ttest_1samp(each, 0).pvalue - 1e-12
        assert (row["num_trials"], row["num_white_boxes"]) == (32, 4)
    assert correlate(signals["noise"].tolist(), drops.tolist())["spearman"] > 0.8, "over all trials it passes for real"
    assert abs(table.loc["noise", "spearman"]) < 0.35
    assert table.loc["noise", "p_value"] > 0.05 > table.loc["real", "p_value"]


def test_of_a_single_white_box_the_p_value_is_that_of_permutations() -> None:
    generator = np.random.default_rng(4)
    drops = generator.normal(size=12)
    signals = pd.DataFrame({"a": drops + generator.normal(size=12), "b": generator.normal(size=12)})
    table = over(signals, drops, ["w"] * 12)
    for name in signals:

        def statistic(x: np.ndarray, name: str = str(name)) -> float:
            return float(stats.spearmanr(x, signals[name]).statistic)

        oracle = stats.permutation_test((drops,), statistic, permutation_type="pairings", n_resamples=2000, rng=0)
        assert table.loc[name, "p_value"] == pytest.approx(oracle.pvalue, abs=0.03)
        plain = correlate(signals[name].tolist(), drops.tolist())
        assert tuple(table.loc[name, ["spearman", "low", "high"]]) == tuple(plain[["spearman", "low", "high"]])


def test_of_many_signals_that_are_noise_few_sweeps_call_any_a_finding() -> None:
    generator = np.random.default_rng(6)
    corrected, uncorrected = 0, 0
    for _ in range(40):
        signals = pd.DataFrame(generator.normal(size=(12, 18)), columns=[f"s{number}" for number in range(18)])
        table = over(signals, generator.normal(size=12), ["w"] * 12)
        assert table["q_value"].tolist() == pytest.approx(stats.false_discovery_control(table["p_value"]).tolist())
        corrected += (table["q_value"] < 0.05).any()
        uncorrected += (table["p_value"] < 0.05).any()
    assert corrected <= 5 < 15 < uncorrected


def test_white_boxes_with_too_few_trials_are_left_out_and_a_signal_without_any_says_why() -> None:
    signals = pd.DataFrame({"a": [1.0, 2, 3, 4, 9, 8], "constant": [1.0] * 6})
    table = over(signals, np.array([1.0, 2, 4, 3, 5, 6]), ["w", "w", "w", "w", "v", "v"])
    assert (table.loc["a", "num_trials"], table.loc["a", "num_white_boxes"]) == (4, 1)
    assert table.loc["a", "spearman"] == pytest.approx(0.8)
    assert table.loc["constant", "reason"] == "the signal is constant"
    assert math.isnan(table.loc["constant", "q_value"])
    assert table.loc["a", "q_value"] == table.loc["a", "p_value"], "what has no correlation counts for none"
