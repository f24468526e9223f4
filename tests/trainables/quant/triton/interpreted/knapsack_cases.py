"""The Triton knapsack against the numba one; `test_knapsack` runs this file in Triton's interpreter."""

import pytest
import torch

from search_spaces.errors import ConfigError, InfeasibleBudgetError
from trainables.quant.knapsack import select
from trainables.quant.triton.support import IS_INTERPRETED

OPTION_SET_I = tuple(range(3, 11))


def select_with(backend, profits, bit_widths, budget):
    assert IS_INTERPRETED
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPTQ_KNAPSACK", backend)
        return select(profits, bit_widths, budget)


@pytest.mark.parametrize(
    ("num_sites", "bit_widths", "budget"),
    [
        (12, OPTION_SET_I, 66),
        (12, OPTION_SET_I, 37),
        (12, OPTION_SET_I, 36),
        (12, OPTION_SET_I, 120),
        (1, OPTION_SET_I, 7),
        (6, (4, 8), 36),
        (6, (5,), 30),
        (5, (1, 2, 7, 11, 16), 40),
    ],
)
@pytest.mark.parametrize("kind", ["random", "tied", "equal"])
def test_selections_equal_those_of_numba_to_the_last_tie(num_sites, bit_widths, budget, kind):
    shape = (2, num_sites, len(bit_widths))
    profits = {"random": torch.randn(shape), "tied": torch.randint(-1, 2, shape) / 4, "equal": torch.zeros(shape)}[kind]
    ours = select_with("triton", profits, bit_widths, budget)
    assert ours.dtype == torch.int64
    assert ours.equal(select_with("numba", profits, bit_widths, budget))


def test_selections_equal_those_of_numba_at_the_largest_size_of_the_paper():
    profits = torch.randn(1, 77, 8).softmax(-1)
    assert select_with("triton", profits, OPTION_SET_I, 540).equal(select_with("numba", profits, OPTION_SET_I, 540))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_dtype_and_layout_selects_as_numba(dtype):
    profits = torch.randn(8, 12, 2).to(dtype).permute(2, 1, 0)
    assert select_with("triton", profits, OPTION_SET_I, 80).equal(select_with("numba", profits, OPTION_SET_I, 80))


def test_halves_of_the_smallest_difference_are_rounded_as_by_numba():
    profits = torch.randint(-5, 6, (2, 10, 8)).double() * 2.0**-25
    assert select_with("triton", profits, OPTION_SET_I, 55).equal(select_with("numba", profits, OPTION_SET_I, 55))


@pytest.mark.parametrize("scale", [1e4, 2e9])
def test_large_profits_stay_exact(scale):
    profits = (torch.rand(4, 1, 2, dtype=torch.float64) * 2 - 1) * scale
    assert select_with("triton", profits, (1, 2), 2).equal(select_with("numba", profits, (1, 2), 2))
    profits = (torch.rand(4, 4, 3, dtype=torch.float64) * 2 - 1) * scale / 1e3
    assert select_with("triton", profits, (3, 5, 6), 20).equal(select_with("numba", profits, (3, 5, 6), 20))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e9])
def test_profits_that_cannot_be_compared_exactly_are_refused(bad):
    profits = torch.zeros(2, 10, 8)
    profits[1, 9, 7] = bad
    with pytest.raises(ConfigError, match="must be finite and below"):
        select_with("triton", profits, OPTION_SET_I, 55)


def test_the_limit_is_that_of_numba_to_the_last_bit():
    # Three sites of 1 or 2 bits: 4 bits of evenness.
    limit = 2.0**32 / 3
    below = torch.tensor(limit, dtype=torch.float64).nextafter(torch.tensor(0.0, dtype=torch.float64))
    for value, is_refused in ((below.item(), False), (limit, True)):
        profits = torch.full((1, 3, 2), value, dtype=torch.float64)
        for backend in ("triton", "numba"):
            if is_refused:
                with pytest.raises(ConfigError, match="must be finite and below"):
                    select_with(backend, profits, (1, 2), 4)
            else:
                assert select_with(backend, profits, (1, 2), 4).tolist() == [[0, 0, 1]]


def test_a_budget_that_cannot_be_met_is_refused():
    with pytest.raises(InfeasibleBudgetError, match="nearest feasible budget"):
        select_with("triton", torch.zeros(1, 6, 2), (4, 8), 25)


def test_an_empty_batch_selects_nothing():
    assert select_with("triton", torch.zeros(0, 6, 2), (4, 8), 36).shape == (0, 6)
