"""Tests, intervals and quantiles against SciPy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics import mcnemar_p, mean_interval, t_quantile, wilson_interval

COUNTS = st.integers(min_value=0, max_value=400)


@given(num_lost=COUNTS, num_gained=COUNTS)
def test_mcnemar_equals_the_exact_binomial_test_and_does_not_care_for_the_direction(
    num_lost: int, num_gained: int
) -> None:
    p_value = mcnemar_p(num_lost, num_gained)
    assert p_value == mcnemar_p(num_gained, num_lost)
    if num_lost + num_gained:
        assert p_value == pytest.approx(stats.binomtest(num_lost, num_lost + num_gained).pvalue, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    # 1 of 6: (1 + 6) / 64 in each tail.
    assert mcnemar_p(5, 1) == 14 / 64
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(3600, 0) == 0 or mcnemar_p(3600, 0) < 1e-300


@given(num_images=st.integers(min_value=1, max_value=5000), share=st.floats(min_value=0, max_value=1))
def test_wilson_equals_scipys_interval(num_images: int, share: float) -> None:
    num_hits = round(share * num_images)
    expected = stats.binomtest(num_hits, num_images).proportion_ci(method="wilson")
    low, high = wilson_interval(num_hits, num_images)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= num_hits / num_images <= high <= 1


def test_without_images_every_share_is_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 4, 7, 19, 30, 101, 1000])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9995])
def test_t_quantile_equals_scipys(probability: float, degrees_of_freedom: int) -> None:
    expected = stats.t.ppf(probability, degrees_of_freedom)
    assert t_quantile(probability, degrees_of_freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(values=st.lists(st.floats(min_value=-1, max_value=1, width=32), min_size=2, max_size=20))
def test_mean_interval_is_students(values: list[float]) -> None:
    seen = mean_interval(values)
    assert seen.num_values == len(values)
    assert seen.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert seen.standard_deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    assert (seen.low, seen.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-9)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    one = mean_interval([0.25])
    assert (one.num_values, one.mean) == (1, 0.25)
    assert all(map(math.isnan, (one.standard_deviation, one.low, one.high)))
    assert math.isnan(mean_interval([]).mean)
