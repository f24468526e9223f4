"""The exact knapsack against brute force, a MILP solver and its written tie-break.

Shape letters: B = examples, L = sites, O = options.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from search_spaces.budgets import count_allocations
from search_spaces.errors import ConfigError, InfeasibleBudgetError
from trainables.quant.knapsack import bit_widths_of, select, straight_through

PAPER_SIZES = [(20, 110), (77, 540), (59, 410)]
OPTION_SET_I = tuple(range(3, 11))


def brute_force(profits_LO: np.ndarray, bit_widths: tuple[int, ...], budget: int) -> tuple[int, ...]:
    """Largest profit in units of 2^-24, then most even, then lowest option at the earliest site."""
    fixed = np.rint(profits_LO.astype(np.float64) * 2**24).astype(np.int64)
    num_sites = len(fixed)
    best = None
    for options in itertools.product(range(len(bit_widths)), repeat=num_sites):
        widths = [bit_widths[o] for o in options]
        if sum(widths) == budget:
            profit = sum(int(fixed[site, o]) for site, o in enumerate(options))
            unevenness = sum((num_sites * width - budget) ** 2 for width in widths)
            best = min(best or (-profit, unevenness, options), (-profit, unevenness, options))
    return best[2]


@st.composite
def problems(draw):
    bit_widths = tuple(sorted(draw(st.sets(st.integers(1, 16), min_size=1, max_size=4))))
    num_sites = draw(st.integers(1, 5))
    budget = draw(st.sampled_from(sorted(count_allocations(num_sites, bit_widths))))
    # Few distinct profits make ties common, which is where the contract is needed.
    values = st.sampled_from([0.0, 0.25, 0.5, -1.0]) | st.floats(-4, 4, width=32)
    size = num_sites * len(bit_widths)
    rows = [draw(st.lists(values, min_size=size, max_size=size)) for _ in range(draw(st.integers(1, 3)))]
    profits = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), num_sites, len(bit_widths))
    return profits, bit_widths, budget


@settings(max_examples=80)
@given(problem=problems())
def test_selection_equals_brute_force_with_the_tie_break(problem):
    profits, bit_widths, budget = problem
    actual = select(profits, bit_widths, budget)
    expected = [brute_force(example.numpy(), bit_widths, budget) for example in profits]
    assert actual.tolist() == [list(options) for options in expected]


@pytest.mark.parametrize(("num_sites", "budget"), PAPER_SIZES)
def test_profit_equals_that_of_a_milp_solver_at_the_sizes_of_the_paper(num_sites, budget):
    generator = torch.Generator().manual_seed(num_sites)
    profits = torch.randn(1, num_sites, 8, generator=generator).softmax(-1).double()
    size = num_sites * 8
    site_of = np.repeat(np.eye(num_sites), 8, axis=1)
    widths = np.tile(OPTION_SET_I, num_sites)[None]
    constraints = [LinearConstraint(site_of, 1, 1), LinearConstraint(widths, budget, budget)]
    solution = milp(
        -profits.flatten().numpy(),
        constraints=constraints,
        integrality=np.ones(size),
        bounds=(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    ours = profits.gather(2, select(profits, OPTION_SET_I, budget)[:, :, None]).sum()
    assert ours.item() == pytest.approx(-solution.fun, abs=num_sites * 2**-24)


@pytest.mark.parametrize(("num_sites", "budget"), [*PAPER_SIZES, (20, 60), (20, 200), (1, 7)])
@pytest.mark.parametrize("num_examples", [1, 2, 64, 67])
def test_selection_sums_to_budget_for_every_example(num_sites, budget, num_examples):
    profits = torch.randn(num_examples, num_sites, 8, generator=torch.Generator().manual_seed(0)) * 3
    bit_width_BL = bit_widths_of(select(profits, OPTION_SET_I, budget), OPTION_SET_I)
    assert bit_width_BL.shape == (num_examples, num_sites)
    assert bit_width_BL.dtype == torch.int64
    assert (bit_width_BL.sum(1) == budget).all()


def test_an_example_gets_the_same_selection_in_any_batch():
    profits = torch.randn(130, 20, 8, generator=torch.Generator().manual_seed(3)).softmax(-1)
    together = select(profits, OPTION_SET_I, 110)
    alone = torch.cat([select(profits[b : b + 1], OPTION_SET_I, 110) for b in range(130)])
    assert torch.equal(together, alone)


def test_equal_logits_give_the_most_even_allocation_with_the_narrow_sites_first():
    widths = bit_widths_of(select(torch.zeros(2, 20, 8), OPTION_SET_I, 110), OPTION_SET_I)
    assert widths.tolist() == [[5] * 10 + [6] * 10] * 2


def test_option_sets_with_gaps_and_with_one_option_work():
    profits = torch.randn(9, 6, 2, generator=torch.Generator().manual_seed(1))
    assert (bit_widths_of(select(profits, (4, 8), 36), (4, 8)).sum(1) == 36).all()
    assert select(torch.randn(2, 6, 1), (5,), 30).tolist() == [[0] * 6] * 2


@pytest.mark.parametrize(("bit_widths", "budget"), [((4, 8), 25), ((3, 4), 17), ((3, 4), 25), ((5,), 29)])
def test_a_budget_that_cannot_be_met_is_refused_with_the_nearest_one(bit_widths, budget):
    with pytest.raises(InfeasibleBudgetError, match="nearest feasible budget"):
        select(torch.zeros(1, 6, len(bit_widths)), bit_widths, budget)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e9])
def test_profits_that_cannot_be_compared_exactly_are_refused(bad):
    profits = torch.zeros(70, 20, 8)
    profits[69, 19, 7] = bad
    with pytest.raises(ConfigError, match="must be finite and below"):
        select(profits, OPTION_SET_I, 110)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 0, 2)])
def test_profits_of_another_shape_are_refused(shape):
    with pytest.raises(ConfigError, match=r"\[examples, sites, options\]"):
        select(torch.zeros(shape), (3, 4), 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_dtype_selects_what_its_values_select_in_float32(dtype):
    profits = torch.randn(4, 20, 8, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    expected = select(profits.float(), OPTION_SET_I, 110)
    assert torch.equal(select(profits.float().to(dtype), OPTION_SET_I, 110), expected)


def test_large_and_negative_profits_stay_exact():
    profits = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(4)) * 1e4
    expected = [list(brute_force(example.numpy(), (3, 5, 6), 20)) for example in profits]
    assert select(profits, (3, 5, 6), 20).tolist() == expected


@pytest.mark.parametrize("halves", [range(-5, 6), range(-1, 2)], ids=["many", "few"])
def test_profits_count_to_the_24th_binary_digit_and_halves_are_rounded_to_even(halves):
    values = np.random.default_rng(len(halves)).choice(halves, (40, 4, 3)) * 2.0**-25
    selected = select(torch.from_numpy(values), (3, 5, 6), 19)
    assert selected.tolist() == [list(brute_force(example, (3, 5, 6), 19)) for example in values]


@pytest.mark.parametrize(
    ("num_sites", "bit_widths", "budget"), [(2, (1, 2, 3), 4), (3, (1, 8, 16), 25), (4, (1, 16), 34)]
)
def test_the_smallest_difference_in_profit_outweighs_the_largest_in_evenness(num_sites, bit_widths, budget):
    # One site is worth a unit at its widest, which the most even allocation would not give it.
    for site in range(num_sites):
        for option in range(len(bit_widths)):
            profits = torch.zeros(1, num_sites, len(bit_widths))
            profits[0, site, option] = 2.0**-24
            assert select(profits, bit_widths, budget).tolist() == [
                list(brute_force(profits[0].numpy(), bit_widths, budget))
            ]
            # Half a unit is none: 0.5 is rounded to 0.
            assert select(profits / 2, bit_widths, budget).equal(select(profits * 0, bit_widths, budget))


@pytest.mark.parametrize(("num_sites", "bit_widths", "evenness_bits"), [(3, (1, 2), 4), (20, OPTION_SET_I, 11)])
def test_profits_are_exact_up_to_the_limit_and_refused_from_it_to_the_last_bit(num_sites, bit_widths, evenness_bits):
    # 60 bits hold profit, evenness and the sum over the sites.
    limit = 2.0 ** (60 - 24 - evenness_bits) / num_sites
    budget = num_sites * bit_widths[0] + 1
    profits = torch.full((1, num_sites, len(bit_widths)), np.nextafter(limit, 0), dtype=torch.float64)
    # Of equals the lowest options at the earliest sites.
    assert select(profits, bit_widths, budget).tolist() == [[0] * (num_sites - 1) + [1]]
    assert select(-profits, bit_widths, budget).tolist() == [[0] * (num_sites - 1) + [1]]
    profits[0, 0, 1] -= 1
    profits[0, 2, 0] -= 2.0**-22
    assert select(profits, bit_widths, budget).tolist() == [[0, 0, 1] + [0] * (num_sites - 3)]
    for sign in (1, -1):
        with pytest.raises(ConfigError, match="must be finite and below"):
            select(torch.full_like(profits, sign * limit), bit_widths, budget)


@pytest.mark.parametrize("num_examples", [64, 65, 128, 130])
def test_every_example_of_a_large_batch_is_solved_by_itself(num_examples):
    profits = torch.randn(num_examples, 4, 3, generator=torch.Generator().manual_seed(num_examples))
    expected = [list(brute_force(example.numpy(), (3, 5, 6), 19)) for example in profits]
    assert select(profits, (3, 5, 6), 19).tolist() == expected


def test_straight_through_is_exactly_one_hot_and_passes_the_gradient_unchanged():
    logits = torch.randn(5, 20, 8, generator=torch.Generator().manual_seed(5), requires_grad=True)
    profits = logits.softmax(-1)
    profits.retain_grad()
    option_index_BL = select(profits, OPTION_SET_I, 110)
    selection = straight_through(option_index_BL, profits)
    assert torch.equal(selection, torch.nn.functional.one_hot(option_index_BL, 8).float())
    grad = torch.randn(5, 20, 8, generator=torch.Generator().manual_seed(6))
    selection.backward(grad)
    assert torch.equal(profits.grad, grad)
    assert logits.grad.abs().sum() > 0
