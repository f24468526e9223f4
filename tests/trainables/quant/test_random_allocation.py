"""Random allocations against enumeration and exact fractions.

Shape letters: B = images, L = sites, O = options, R = remaining bits.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from search_spaces.budgets import OPTION_SETS, count_allocations
from search_spaces.errors import ConfigError, InfeasibleBudgetError
from trainables.quant.random_allocation import DRAW_BITS, _thresholds, random_allocations


@given(data=st.data())
def test_every_row_sums_to_the_budget_and_uses_permitted_bit_widths(data: st.DataObject) -> None:
    bit_widths = tuple(sorted(data.draw(st.sets(st.integers(1, 16), min_size=1, max_size=8))))
    num_sites = data.draw(st.integers(1, 12))
    budget = data.draw(st.sampled_from(list(count_allocations(num_sites, bit_widths))))
    bit_width_BL = random_allocations(9, num_sites, bit_widths, budget, seed=data.draw(st.integers(0, 2**40)))
    assert bit_width_BL.shape == (9, num_sites)
    assert bit_width_BL.sum(1).tolist() == [budget] * 9
    assert set(bit_width_BL.unique().tolist()) <= set(bit_widths)


@pytest.mark.parametrize(
    ("num_sites", "bit_widths", "budget", "seed"),
    [(3, (3, 4, 5, 6, 7, 8, 9, 10), 20, 0), (4, (3, 4, 5, 6), 17, 1), (5, (2, 3, 8), 23, 2), (2, (4, 8), 12, 3)],
)
def test_all_allocations_that_meet_the_budget_are_equally_likely(
    num_sites: int, bit_widths: tuple[int, ...], budget: int, seed: int
) -> None:
    feasible = [each for each in itertools.product(bit_widths, repeat=num_sites) if sum(each) == budget]
    drawn = random_allocations(400 * len(feasible), num_sites, bit_widths, budget, seed)
    seen = [tuple(row) for row in drawn.tolist()]
    counts = [seen.count(each) for each in feasible]
    assert sum(counts) == len(drawn)
    assert chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(("num_sites", "option_set", "budget"), [(77, "I", 420), (59, "III", 400), (20, "II", 130)])
def test_thresholds_are_the_exact_shares_rounded_down(num_sites: int, option_set: str, budget: int) -> None:
    bit_widths = OPTION_SETS[option_set]
    threshold_LRO = _thresholds(num_sites, bit_widths, budget)
    rng = np.random.default_rng(0)
    for site in (0, 1, num_sites // 2, num_sites - 2, num_sites - 1):
        ways = count_allocations(num_sites - site, bit_widths)
        later = count_allocations(num_sites - site - 1, bit_widths)
        for rest in rng.choice([total for total in ways if total <= budget], 5):
            cumulative = itertools.accumulate(later.get(int(rest) - width, 0) for width in bit_widths)
            exact = [Fraction(count, ways[int(rest)]) * 2**DRAW_BITS for count in cumulative]
            assert threshold_LRO[site, rest].tolist() == [share.__floor__() for share in exact[:-1]]


def test_one_feasible_allocation_is_always_drawn() -> None:
    assert (random_allocations(50, 20, OPTION_SETS["III"], 100, seed=7) == 5).all()
    assert (random_allocations(50, 77, OPTION_SETS["III"], 770, seed=7) == 10).all()


def test_sites_of_a_large_network_are_alike() -> None:
    bit_width_BL = random_allocations(4000, 77, OPTION_SETS["I"], 420, seed=0).double()
    assert (bit_width_BL.sum(1) == 420).all()
    # By symmetry every site has the mean 420 / 77; a site's mean strays by its standard error.
    error_L = (bit_width_BL.mean(0) - 420 / 77) / (bit_width_BL.std(0) / 4000**0.5)
    assert error_L.abs().max() < 4
    assert 0.8 < error_L.std() < 1.2


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"340 bits.*77 sites.*nearest feasible budget is 385"):
        random_allocations(2, 77, OPTION_SETS["III"], 340, seed=0)
    with pytest.raises(ConfigError, match="ascending"):
        random_allocations(2, 3, (4, 3), 10, seed=0)


def test_a_seed_gives_these_bits_on_every_machine() -> None:
    expected = [[6, 4, 3, 9], [8, 7, 4, 3], [5, 9, 5, 3]]
    assert random_allocations(3, 4, OPTION_SETS["I"], 22, seed=0).tolist() == expected
    assert random_allocations(1, 4, OPTION_SETS["I"], 22, seed=0).tolist() == expected[:1]
    assert random_allocations(3, 4, OPTION_SETS["I"], 22, seed=(0, 1)).tolist() != expected
