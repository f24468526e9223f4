"""Tests and intervals against their formulas."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics import mcnemar_p, mean_interval
from trainables.assessment.paired import wilson_interval

COUNTS = st.integers(min_value=0, max_value=400)


@given(num_lost=COUNTS, num_gained=COUNTS)
def test_mcnemar_equals_the_exact_binomial_test_and_does_not_care_for_the_direction(
    num_lost: int, num_gained: int
) -> None:
    p_value = mcnemar_p(num_lost, num_gained)
    assert p_value == mcnemar_p(num_gained, num_lost)
    num_changed = num_lost + num_gained
    tail = sum(math.comb(num_changed, number) for number in range(min(num_lost, num_gained) + 1))
    assert p_value == pytest.approx(min(1.0, 2 * tail / 2**num_changed), rel=1e-9)


def test_mcnemar_by_hand() -> None:
    # 1 of 6: (1 + 6) / 64 in each tail.
    assert mcnemar_p(5, 1) == 14 / 64
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(3600, 0) == 0 or mcnemar_p(3600, 0) < 1e-300


@given(num_images=st.integers(min_value=1, max_value=5000), share=st.floats(min_value=0, max_value=1))
def test_wilson_equals_its_formula_and_ends_at_0_and_1(num_images: int, share: float) -> None:
    num_hits = round(share * num_images)
    low, high = wilson_interval(num_hits, num_images)
    z = NormalDist().inv_cdf(0.975)
    middle = (num_hits + z**2 / 2) / (num_images + z**2)
    half = z / (num_images + z**2) * math.sqrt(num_hits * (1 - num_hits / num_images) + z**2 / 4)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-12)
    assert low == 0 or num_hits > 0
    assert high == 1 or num_hits < num_images
    assert 0 <= low <= num_hits / num_images <= high <= 1


def test_without_images_every_share_is_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(values=st.lists(st.floats(min_value=-1, max_value=1, width=32), min_size=2, max_size=20))
def test_mean_interval_is_students(values: list[float]) -> None:
    seen = mean_interval(values)
    assert seen.num_values == len(values)
    assert seen.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert seen.standard_deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    assert (seen.low, seen.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-9)


@pytest.mark.parametrize(("num_values", "quantile"), [(2, 12.706), (3, 4.303), (31, 2.042), (102, 1.984)])
def test_interval_is_as_wide_as_students_printed_quantile(num_values: int, quantile: float) -> None:
    seen = mean_interval([float(value) for value in range(num_values)])
    half = quantile * seen.standard_deviation / math.sqrt(num_values)
    assert seen.high - seen.mean == pytest.approx(half, rel=1e-3)
    assert seen.mean - seen.low == pytest.approx(half, rel=1e-3)


def test_equal_values_have_an_interval_of_no_width() -> None:
    seen = mean_interval([0.5, 0.5, 0.5])
    assert (seen.low, seen.high) == (0.5, 0.5)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    one = mean_interval([0.25])
    assert (one.num_values, one.mean) == (1, 0.25)
    assert all(map(math.isnan, (one.standard_deviation, one.low, one.high)))
    assert math.isnan(mean_interval([]).mean)
