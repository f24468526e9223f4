"""Multiple-choice knapsack with an exact budget: one bit-width per site (paper section 3.4, Eq. 11-14).

The paper states the budget as an upper bound and then requires that it be met exactly; here the bit-widths
of every example sum to exactly the budget. Among the selections of the largest profit the most even one
wins (smallest sum of squared bit-widths), and among those the lowest option at the earliest site: with
equal profits an arbitrary rule would return 3 3 3 ... 10 10 10.

Exact because profits become integers, rint(profit * 2^24), and one integer holds both criteria:
`profit * 2^k - bit_width^2`, with 2^k above every possible sum of squares. The dynamic program runs from
the last site back and keeps the best value for every rest of the budget that can still matter; the walk
forward then picks, at each site, the first option that reaches the best value, so no choices are stored.
Examples lie side by side in the innermost dimension, where the compiler vectorizes over them. Measured on
one thread of an AMD EPYC, batch of 64, options 3..10: 0.07 ms for L = 20, C = 110 and 1.0 ms for L = 77,
C = 540 (the best vectorized torch program: 1.4 and 7.5 ms). That is numba, on the CPU.
Profits of a CUDA device stay there, with the same selections: `triton.knapsack`. `DPTQ_KNAPSACK=numba` or `=triton`
forces one of both.

Shape letters: B = examples, L = sites, O = options, P = examples side by side, R = rests of the budget.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.budgets import check_budget
from search_spaces.errors import ConfigError
from trainables.quant.compiler import njit
from trainables.quant.triton import knapsack as knapsack_triton
from trainables.quant.triton.support import find_obstacle

KNAPSACK_VARIABLE = "DPTQ_KNAPSACK"
PACK = 64
"""Number of examples solved side by side; 8 take 3 times as long per batch, since short inner loops vectorize badly."""
FRACTION_BITS = 24
"""Number of binary digits of a profit that count; float32 has as many."""
UNREACHABLE = -(2**62)
"""Value of a rest that the remaining sites cannot sum to; real totals stay above half of it."""


def select(profits_BLO: Tensor, bit_widths: Sequence[int], budget: int) -> Tensor:
    """Selects one option per site so that every example spends exactly the budget at the largest profit.

    Args:
        profits_BLO: Logits or probabilities of a policy, any floating dtype and device, finite.
        bit_widths: Bit-width of every option, ascending, each in 1..16.
        budget: Exact sum of the bit-widths over the L sites of each example.

    Returns:
        `option_index_BL`, int64 in [0, O), on the device of the profits. It carries no gradient: see
        `straight_through`.

    Raises:
        InfeasibleBudgetError: No selection sums to the budget.
        ConfigError: A profit is NaN, infinite or too large for exact arithmetic, or a shape does not fit.

    Examples:
        >>> profits = torch.tensor([[[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]])
        >>> select(profits, (4, 8), 16)
        tensor([[1, 0, 0]])
    """
    widths = tuple(bit_widths)
    _check_shape(profits_BLO, widths)
    num_sites = profits_BLO.shape[1]
    shift_O, rest, evenness_bits = _prepare(num_sites, widths, budget)
    limit = 2.0 ** (60 - FRACTION_BITS - evenness_bits) / num_sites
    dtype = torch.promote_types(profits_BLO.dtype, torch.float32)
    profits = profits_BLO.detach().to(dtype).contiguous()
    if uses_triton(profits):
        unit, tie_unit = 2.0**-FRACTION_BITS, 1 << evenness_bits
        option_index_BL = knapsack_triton.select(
            profits, widths, rest, limit=limit, profit_unit=unit, tie_unit=tie_unit
        )
    else:
        squares_O, index_BL = np.array(widths, np.int64) ** 2, np.empty(profits.shape[:2], np.int64)
        arguments = (profits.cpu().numpy(), shift_O, squares_O, rest, evenness_bits, limit, index_BL)
        option_index_BL = torch.from_numpy(index_BL) if _select_batch(*arguments) else None
    if option_index_BL is None:
        raise ConfigError(
            f"profits of largest magnitude {float(profits.abs().max())} cannot be compared exactly: with "
            f"{num_sites} sites every profit must be finite and below {limit:.6g}. Check the policy for "
            "divergence, or pass probabilities instead of logits."
        )
    return option_index_BL.to(profits_BLO.device)


def uses_triton(profits: Tensor) -> bool:
    """Tells whether the Triton kernel serves these profits, obeying `DPTQ_KNAPSACK`.

    Raises:
        ConfigError: The variable holds another word than numba or triton, or forces triton where it cannot run.

    Examples:
        >>> uses_triton(torch.zeros(1))
        False
    """
    match os.environ.get(KNAPSACK_VARIABLE):
        case None | "":
            # On an H200 a training step took 0.70 to 0.87 of the time: the CPU, which a copy would make wait, goes on.
            return profits.is_cuda and find_obstacle(profits.device) is None
        case "numba":
            return False
        case "triton":
            if obstacle := find_obstacle(profits.device):
                raise ConfigError(
                    f"{KNAPSACK_VARIABLE}=triton cannot serve profits on {profits.device}: {obstacle}. Unset it, or "
                    "set it to numba."
                )
            return True
        case other:
            raise ConfigError(
                f"{KNAPSACK_VARIABLE}={other!r} names no knapsack: set it to numba or triton, or unset it."
            )


def straight_through(option_index_BL: Tensor, profits_BLO: Tensor) -> Tensor:
    """Turns a selection into a one-hot matrix whose gradient flows to the profits unchanged.

    The paper writes `(selection - profits).detach() + profits`. In floating point that is not exactly 0 or
    1, which a bit-exact quantizer would notice, so the value is set and only the gradient is passed on.

    Args:
        option_index_BL: What `select` returned, int64 in [0, O).
        profits_BLO: What `select` was given; receives the gradient of the result.

    Returns:
        `selection_BLO`, exactly 0 or 1, in the dtype and on the device of the profits.

    Examples:
        >>> profits = torch.tensor([[[0.1, 0.9]]], requires_grad=True)
        >>> selection = straight_through(torch.tensor([[0]]), profits)
        >>> selection.tolist()
        [[[1.0, 0.0]]]
        >>> (selection * torch.tensor([2.0, 3.0])).sum().backward()
        >>> profits.grad.tolist()
        [[[2.0, 3.0]]]
    """
    selection: Tensor = _StraightThrough.apply(profits_BLO, option_index_BL)
    return selection


def bit_widths_of(option_index_BL: Tensor, bit_widths: Sequence[int]) -> Tensor:
    """Looks up the bit-width of every selected option.

    Args:
        option_index_BL: What `select` returned, int64 in [0, O).
        bit_widths: Bit-width of every option.

    Returns:
        `bit_width_BL`, int64, on the device of the selection.

    Examples:
        >>> bit_widths_of(torch.tensor([[1, 0, 0]]), (4, 8))
        tensor([[8, 4, 4]])
    """
    return torch.tensor(tuple(bit_widths), dtype=torch.int64, device=option_index_BL.device)[option_index_BL]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, profits_BLO: Tensor, option_index_BL: Tensor) -> Tensor:
        return torch.zeros_like(profits_BLO).scatter_(2, option_index_BL[:, :, None], 1.0)

    @staticmethod
    def backward(ctx: Any, grad_BLO: Tensor) -> tuple[Tensor, None]:
        return grad_BLO, None


def _check_shape(profits_BLO: Tensor, bit_widths: tuple[int, ...]) -> None:
    fits = profits_BLO.dim() == 3 and profits_BLO.shape[2] == len(bit_widths) and profits_BLO.shape[1] > 0
    if not fits or not profits_BLO.is_floating_point():
        raise ConfigError(
            f"profits of shape {list(profits_BLO.shape)} and dtype {profits_BLO.dtype} do not fit: give "
            "floating profits of shape [examples, sites, options] with one option per bit-width, here "
            f"{len(bit_widths)}."
        )


@lru_cache(maxsize=256)
def _prepare(num_sites: int, bit_widths: tuple[int, ...], budget: int) -> tuple[np.ndarray, int, int]:
    """Checks the budget once per combination; returns the options and the budget above the narrowest one."""
    check_budget(budget, num_sites, bit_widths)
    shift_O = np.array(bit_widths, np.int64) - bit_widths[0]
    evenness_bits = (num_sites * bit_widths[-1] ** 2).bit_length()
    return shift_O, budget - num_sites * bit_widths[0], evenness_bits


@njit(cache=True, nogil=True, error_model="numpy")
def _select_batch(  # type: ignore[no-untyped-def]
    profits_BLO, shift_O, squares_O, rest, evenness_bits, limit, option_index_BL
):
    """Solves pack after pack of examples; returns False as soon as a profit is not usable."""
    num_examples, num_sites, num_options = profits_BLO.shape
    span = shift_O[-1]
    # Rows are padded by `span` below, so that no option needs a bounds check.
    pack = min(PACK, num_examples)
    table_LRP = np.empty((num_sites + 1, rest + 1 + span, pack), np.int64)
    profit_LOP = np.zeros((num_sites, num_options, pack), np.int64)
    for first in range(0, num_examples, PACK):
        count = min(PACK, num_examples - first)
        for p in range(count):
            for site in range(num_sites):
                for o in range(num_options):
                    profit = np.float64(profits_BLO[first + p, site, o])
                    # Written so that NaN fails it too.
                    if not abs(profit) < limit:
                        return False
                    fixed = np.int64(np.rint(profit * (1 << FRACTION_BITS)))
                    profit_LOP[site, o, p] = (fixed << evenness_bits) - squares_O[o]
        _fill_table(profit_LOP, shift_O, rest, table_LRP)
        for p in range(count):
            _walk(profit_LOP[:, :, p], table_LRP[:, :, p], shift_O, rest, option_index_BL[first + p])
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_table(profit_LOP, shift_O, rest, table_LRP):  # type: ignore[no-untyped-def]
    """Sets `table_LRP[l, span + r]` to the best total of sites l.. that spend r more than they must."""
    num_sites, num_options = profit_LOP.shape[0], profit_LOP.shape[1]
    span = shift_O[-1]
    table_LRP[num_sites, :, :] = UNREACHABLE
    table_LRP[num_sites, span, :] = 0
    for site in range(num_sites - 1, -1, -1):
        # Earlier sites spend at most site * span, this and later ones at most (num_sites - site) * span.
        lowest = max(0, rest - site * span)
        highest = min(rest, (num_sites - site) * span)
        # The site before reads `span` entries on either side of what is filled here.
        table_LRP[site, lowest : lowest + span, :] = UNREACHABLE
        table_LRP[site, span + highest + 1 : span + min(rest, highest + span) + 1, :] = UNREACHABLE
        for r in range(lowest, highest + 1):
            row = table_LRP[site, span + r]
            row[:] = UNREACHABLE
            for o in range(num_options):
                profit_P = profit_LOP[site, o]
                before_P = table_LRP[site + 1, span + r - shift_O[o]]
                for p in range(row.size):
                    total = before_P[p] + profit_P[p]
                    row[p] = total if total > row[p] else row[p]


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(profit_LO, table_LR, shift_O, rest, option_index_L):  # type: ignore[no-untyped-def]
    """Follows the best totals from the first site, taking the lowest option that attains each."""
    span = shift_O[-1]
    for site in range(profit_LO.shape[0]):
        for o in range(profit_LO.shape[1]):
            total = profit_LO[site, o] + table_LR[site + 1, span + rest - shift_O[o]]
            if total == table_LR[site, span + rest]:
                option_index_L[site] = o
                rest -= shift_O[o]
                break
