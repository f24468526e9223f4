"""Intervals of shares and of paired drops, against published examples and a simulation of their coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.assessment.paired import drop_interval, wilson_interval

COUNTS = st.tuples(*[st.integers(0, 400)] * 4).filter(any)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Bentur et al. (2009), airway hyper-responsiveness, in Fagerland, Lydersen and Laake, Statistics in Medicine
        # 33:2850-2875 (2014): "Newcombe square-and-add".
        ((1, 1, 7, 12), -0.507, -0.026),
        # Newcombe, Statistics in Medicine 17:2635-2650 (1998), method 10.
        ((36, 12, 2, 0), 0.0569, 0.3404),
    ],
)
def test_the_interval_of_a_drop_is_that_of_published_examples(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    digits = 3 if abs(low) > 0.1 else 4
    assert [round(end, digits) for end in drop_interval(*counts)] == [low, high]


def test_the_interval_of_a_share_is_wilsons() -> None:
    hits, images, z = 17, 40, 1.959963984540054
    share = hits / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    assert wilson_interval(hits, images) == pytest.approx((centre - half, centre + half))
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.01, 0.04), (0.2, 0.7, 0.0, 0.1), (0.5, 0.2, 0.2, 0.1)])
def test_an_interval_of_95_percent_holds_the_true_drop_in_about_95_percent_of_samples(
    shares: tuple[float, float, float, float],
) -> None:
    samples = np.random.default_rng(0).multinomial(200, shares, size=2000)
    counts, times = np.unique(samples, axis=0, return_counts=True)
    ends = np.array([drop_interval(*map(int, row)) for row in counts])
    is_inside = (ends[:, 0] <= shares[1] - shares[2]) & (shares[1] - shares[2] <= ends[:, 1])
    # Newcombe reports a mean coverage of 0.949 to 0.967 for this method.
    assert 0.935 < (is_inside * times).sum() / times.sum() < 0.985


@given(COUNTS)
def test_the_interval_holds_the_drop_and_turns_with_it(counts: tuple[int, int, int, int]) -> None:
    both, lost, gained, neither = counts
    low, high = drop_interval(both, lost, gained, neither)
    assert -1 <= low <= (lost - gained) / sum(counts) <= high <= 1
    assert drop_interval(both, gained, lost, neither) == pytest.approx((-high, -low))


def test_pairs_that_agree_make_the_interval_narrower() -> None:
    # Both times 80 of 100 before and 75 after.
    agreeing, independent = drop_interval(75, 5, 0, 20), drop_interval(60, 20, 15, 5)
    assert agreeing[1] - agreeing[0] < 0.6 * (independent[1] - independent[0])


def test_without_images_any_drop_is_possible() -> None:
    assert drop_interval(0, 0, 0, 0) == (-1.0, 1.0)
