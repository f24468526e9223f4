"""Budgets are feasible exactly when some allocation sums to them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.budgets import budget_from_average, check_bit_widths, check_budget, count_allocations
from search_spaces.errors import ConfigError, InfeasibleBudgetError

option_sets = st.sets(st.integers(1, 16), min_size=1, max_size=4).map(lambda widths: tuple(sorted(widths)))


@given(num_sites=st.integers(1, 5), bit_widths=option_sets)
def test_counts_equal_enumeration(num_sites: int, bit_widths: tuple[int, ...]) -> None:
    sums = [sum(widths) for widths in itertools.product(bit_widths, repeat=num_sites)]
    assert count_allocations(num_sites, bit_widths) == {total: sums.count(total) for total in sorted(set(sums))}


@given(num_sites=st.integers(1, 5), bit_widths=option_sets, budget=st.integers(1, 90))
def test_budget_is_refused_exactly_when_no_allocation_meets_it(
    num_sites: int, bit_widths: tuple[int, ...], budget: int
) -> None:
    feasible = {sum(widths) for widths in itertools.product(bit_widths, repeat=num_sites)}
    if budget in feasible:
        check_budget(budget, num_sites, bit_widths)
    else:
        with pytest.raises(InfeasibleBudgetError, match=rf"{min(feasible)}\.\.{max(feasible)}"):
            check_budget(budget, num_sites, bit_widths)


def test_refusal_names_the_nearest_feasible_budget_within_gaps() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"3 of the totals in between.*nearest feasible budget is 12"):
        check_budget(11, 2, (4, 8))


def test_single_allocation_of_resnet18_iii_a_is_feasible() -> None:
    check_budget(100, 20, (5, 6, 7, 8, 9, 10))
    assert count_allocations(20, (5, 6, 7, 8, 9, 10))[100] == 1


@pytest.mark.parametrize("bit_widths", [(), (3, 3), (4, 3), (0, 1), (3, 17)])
def test_impossible_option_sets_are_refused(bit_widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot be an option set"):
        check_bit_widths(bit_widths)


def test_averages_become_the_quick_grids_totals() -> None:
    assert [budget_from_average(average, 15) for average in (4.0, 5.5, 7.0)] == [60, 82, 105]
