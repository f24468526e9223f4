"""Intervals of shares and of paired drops, against published examples, optimizers, and simulations of coverage."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from trainables.assessment.paired import drop_interval, images_needed, wilson_interval

COUNTS = st.tuples(*[st.integers(0, 400)] * 4).filter(any)
Shares = tuple[float, float, float, float]


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Bentur et al. (2009), airway hyper-responsiveness, in Fagerland, Lydersen and Laake, Statistics in Medicine
        # 33:2850-2875 (2014): "Tango asymptotic score".
        ((1, 1, 7, 12), -0.517, -0.026),
        # Cavo et al. (2012), as the R package contingencytables of the same authors prints it.
        ((59, 6, 16, 80), -0.1240, -0.0054),
    ],
)
def test_the_interval_of_a_drop_is_that_of_published_examples(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    digits = 3 if abs(low) > 0.2 else 4
    assert [round(end, digits) for end in drop_interval(*counts)] == [low, high]


@pytest.mark.parametrize("counts", [(300, 40, 15, 4), (350, 6, 3, 0), (2, 340, 1, 16), (30, 5, 5, 5)])
def test_at_its_ends_a_numerical_score_test_of_the_multinomial_just_rejects(counts: tuple[int, int, int, int]) -> None:
    _, lost, gained, _ = counts
    num_images = sum(counts)
    for end in drop_interval(*counts, 0.9):
        # Independent of Tango's algebra: the likeliest shares are found by an optimizer.
        def unlikeliness(share: float, end: float = end) -> float:
            rest = 1 - 2 * share - end
            counted = ((lost, share + end), (gained, share), (num_images - lost - gained, rest))
            return -sum(count * math.log(each) for count, each in counted)

        low, high = max(0.0, -end) + 1e-12, (1 - end) / 2 - 1e-12
        share = optimize.minimize_scalar(unlikeliness, bounds=(low, high), method="bounded", options={"xatol": 1e-14}).x
        variance = num_images * (2 * share + end - end**2)
        score = (lost - gained - num_images * end) / math.sqrt(variance)
        assert abs(score) == pytest.approx(stats.norm.ppf(0.95), abs=1e-4)


@given(COUNTS)
def test_the_interval_holds_0_where_mcnemars_test_does_not_reject(counts: tuple[int, int, int, int]) -> None:
    _, lost, gained, _ = counts
    assume(lost + gained > 0)
    low, high = drop_interval(*counts)
    statistic = (lost - gained) ** 2 / (lost + gained)
    assume(abs(statistic - stats.chi2.ppf(0.95, 1)) > 1e-6)
    assert (low <= 0 <= high) == (stats.chi2.sf(statistic, 1) > 0.05)


def test_the_interval_of_a_share_is_wilsons() -> None:
    for hits, images, confidence in ((17, 40, 0.95), (0, 12, 0.9), (12, 12, 0.99)):
        low, high = stats.binomtest(hits, images).proportion_ci(confidence, method="wilson")
        assert wilson_interval(hits, images, confidence) == pytest.approx((low, high), abs=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


PARITY: list[Shares] = [(0.97, 0.01, 0.005, 0.015), (0.965, 0.015, 0.005, 0.015), (0.94, 0.025, 0.015, 0.02)]
DROPS: list[Shares] = [
    (0.86, 0.11, 0.01, 0.02),
    (0.37, 0.6, 0.005, 0.025),
    (0.005, 0.982, 0.002, 0.011),
    (0.0015, 0.9955, 0.0005, 0.0025),
]


def ends_of(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of samples of counts, each different one computed once; the ends of all samples."""
    different, places = np.unique(samples, axis=0, return_inverse=True)
    ends = np.array([drop_interval(*map(int, row), confidence) for row in different])[places]
    return ends[:, 0], ends[:, 1]


@pytest.mark.parametrize("num_images", [359, 1500])
@pytest.mark.parametrize("shares", PARITY + DROPS)
def test_an_interval_of_95_percent_covers_within_2_points_at_our_sizes(shares: Shares, num_images: int) -> None:
    samples = np.random.default_rng(0).multinomial(num_images, shares, size=10_000)
    low, high = ends_of(samples, 0.95)
    true = shares[1] - shares[2]
    assert 0.93 < ((low <= true) & (true <= high)).mean() < 0.97


@pytest.mark.parametrize("num_images", [359, 1500])
@pytest.mark.parametrize("discordance", [0.01, 0.02, 0.04])
def test_parity_is_shown_at_a_gap_of_the_bound_in_at_most_about_5_percent(discordance: float, num_images: int) -> None:
    lost, gained = (discordance + 0.01) / 2, (discordance - 0.01) / 2
    samples = np.random.default_rng(1).multinomial(num_images, (1 - discordance, lost, gained, 0), size=10_000)
    _, high = ends_of(samples, 0.9)
    assert (high <= 0.01).mean() < 0.07


@pytest.mark.parametrize(("discordance", "gap"), [(0.01, 0.0), (0.02, 0.0), (0.02, 0.004)])
def test_with_the_images_needed_parity_is_shown_with_the_power_asked_for(discordance: float, gap: float) -> None:
    needed = images_needed(discordance=discordance, gap=gap, bound=0.01, level=0.05, power=0.9)
    assert needed is not None
    lost, gained = (discordance + gap) / 2, (discordance - gap) / 2
    for num_images, low, high in ((needed, 0.88, 0.93), (needed // 2, 0.2, 0.75)):
        shares = (1 - discordance, lost, gained, 0)
        samples = np.random.default_rng(2).multinomial(num_images, shares, size=10_000)
        assert low < (ends_of(samples, 0.9)[1] <= 0.01).mean() < high


def test_without_any_difference_as_many_images_are_needed_as_the_score_test_takes() -> None:
    # Nothing of n images changed: (n bound)^2 / (n bound (1 - bound)) is to be z^2.
    needed = images_needed(discordance=0.0, gap=0.0, bound=0.01, level=0.05, power=0.9)
    assert needed == math.ceil(stats.norm.ppf(0.95) ** 2 * 0.99 / 0.01) == 268
    assert drop_interval(needed, 0, 0, 0, 0.9)[1] <= 0.01 < drop_interval(needed - 1, 0, 0, 0, 0.9)[1]
    assert images_needed(discordance=0.03, gap=0.01, bound=0.01, level=0.05, power=0.9) is None


@given(COUNTS)
def test_the_interval_holds_the_drop_and_turns_with_it(counts: tuple[int, int, int, int]) -> None:
    both, lost, gained, neither = counts
    low, high = drop_interval(both, lost, gained, neither)
    assert -1 <= low <= (lost - gained) / sum(counts) <= high <= 1
    assert drop_interval(both, gained, lost, neither) == pytest.approx((-high, -low))


def test_images_that_change_sides_make_the_interval_wider() -> None:
    # Both times 80 of 100 before and 75 after.
    agreeing, independent = drop_interval(75, 5, 0, 20), drop_interval(60, 20, 15, 5)
    assert agreeing[1] - agreeing[0] < 0.6 * (independent[1] - independent[0])


def test_without_images_any_drop_is_possible() -> None:
    assert drop_interval(0, 0, 0, 0) == (-1.0, 1.0)
