"""The exact knapsack of `knapsack` as a Triton kernel: one program per example, on the device of the profits.

The same int64 fixed point, the same dynamic program and the same walk as the numba kernels, so the selections
are the same to the last tie; `knapsack` states the contract. The lanes of a program are the rests of the budget.
Rows of the table go through global memory, where they stay in the cache: every lane reads a row at as many
shifts as there are options. It takes one launch and one synchronization, to learn whether all profits were
usable.

The kernel is checked through Triton's interpreter, and on an H200 against numba; it compiles for sm_75, sm_80 and
sm_90.

Shape letters: B = examples, L = sites, O = options, R = rests of the budget.
"""

from functools import lru_cache

import torch
from torch import Tensor

from trainables.quant.triton.support import jit, next_power_of_2, on_device_of, tl

NUM_WARPS = 4
"""Warps per example; the barriers in the kernel order the rows among them."""


def select(
    profits_BLO: Tensor, bit_widths: tuple[int, ...], rest: int, *, limit: float, profit_unit: float, tie_unit: int
) -> Tensor | None:
    """Selects one option per site of every example.

    Args:
        profits_BLO: Contiguous profits, float32 or float64, CUDA.
        bit_widths: Bit-width of every option, ascending.
        rest: Budget above the narrowest selection.
        limit: Profits must stay below it in magnitude.
        profit_unit: Smallest difference of profits that counts, a power of two.
        tie_unit: Above every possible sum of squared bit-widths, a power of two.

    Returns:
        `option_index_BL`, int64 in [0, O), or None where a profit is NaN or not below the limit.
    """
    num_examples, num_sites, num_options = profits_BLO.shape
    device = profits_BLO.device
    shift_O, square_O, scale_2 = _constants(bit_widths, limit, profit_unit, device)
    table_BLR = torch.empty((num_examples, num_sites + 1, rest + 1), dtype=torch.int64, device=device)
    option_index_BL = torch.empty((num_examples, num_sites), dtype=torch.int64, device=device)
    is_usable_B = torch.empty(num_examples, dtype=torch.int32, device=device)
    tensors = (profits_BLO, shift_O, square_O, scale_2, table_BLR, option_index_BL, is_usable_B)
    sizes = {"NUM_OPTIONS": num_options, "OPTIONS": next_power_of_2(num_options), "RESTS": next_power_of_2(rest + 1)}
    with on_device_of(profits_BLO):
        # One stage: a load that is moved ahead of the barrier before it would read a row too early.
        _select_example[(num_examples,)](
            *tensors, num_sites, rest, tie_unit, **sizes, num_warps=NUM_WARPS, num_stages=1, enable_fp_fusion=False
        )
    return option_index_BL if bool(is_usable_B.all()) else None


@lru_cache(maxsize=256)
def _constants(
    bit_widths: tuple[int, ...], limit: float, profit_unit: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Keeps the numbers of a problem on the device; floats as a tensor, since Triton passes them as float32."""
    with torch.inference_mode(False):
        width_O = torch.tensor(bit_widths, dtype=torch.int64, device=device)
        scale_2 = torch.tensor([limit, 1 / profit_unit], dtype=torch.float64, device=device)
        return width_O - bit_widths[0], width_O**2, scale_2


@jit
def _to_fixed_point(profit, square, limit, unit_inverse, tie_unit):  # type: ignore[no-untyped-def]
    """Returns `rint(profit * 2^24) * tie_unit - square`, and whether the profit can be expressed so."""
    profit = profit.to(tl.float64)
    # NaN fails it too. What fails becomes 0, so that the walk still finds an option everywhere.
    is_usable = tl.abs(profit) < limit
    scaled = tl.where(is_usable, profit, 0.0) * unit_inverse
    # 2^52 leaves no room for a fraction; from there on a float64 has none.
    magic = tl.where(scaled < 0, -4503599627370496.0, 4503599627370496.0).to(tl.float64)
    rounded = tl.where(tl.abs(scaled) < 4503599627370496.0, (scaled + magic) - magic, scaled)
    return rounded.to(tl.int64) * tie_unit - square, is_usable


@jit
def _select_example(  # type: ignore[no-untyped-def]
    profit_ptr,
    shift_ptr,
    square_ptr,
    scale_ptr,
    table_ptr,
    index_ptr,
    usable_ptr,
    num_sites,
    rest,
    tie_unit,
    NUM_OPTIONS: tl.constexpr,
    OPTIONS: tl.constexpr,
    RESTS: tl.constexpr,
):
    example = tl.program_id(0).to(tl.int64)
    profit_ptr += example * num_sites * NUM_OPTIONS
    table_ptr += example * (num_sites + 1) * (rest + 1)
    limit, unit_inverse = tl.load(scale_ptr), tl.load(scale_ptr + 1)
    _fill_table(
        profit_ptr, shift_ptr, square_ptr, table_ptr, num_sites, rest, limit, unit_inverse, tie_unit, NUM_OPTIONS, RESTS
    )
    options, bad_O = tl.arange(0, OPTIONS), tl.zeros([OPTIONS], tl.int32)
    is_option = options < NUM_OPTIONS
    shift_O = tl.load(shift_ptr + options, mask=is_option, other=0)
    square_O = tl.load(square_ptr + options, mask=is_option, other=0)
    # Not `rest.to(int64)`: Triton makes a constant without methods of an argument that is 1.
    left = tl.zeros([], tl.int64) + rest
    for site in range(0, num_sites):
        profit_O = tl.load(profit_ptr + site * NUM_OPTIONS + options, mask=is_option, other=0.0)
        fixed_O, is_usable_O = _to_fixed_point(profit_O, square_O, limit, unit_inverse, tie_unit)
        bad_O = bad_O | (1 - is_usable_O.to(tl.int32))
        best_ptr = table_ptr + site * (rest + 1) + left
        can_pay_O = is_option & (shift_O <= left)
        total_O = fixed_O + tl.load(best_ptr + rest + 1 - shift_O, mask=can_pay_O, other=0)
        # The lowest option that attains the best total.
        option = tl.min(tl.where(can_pay_O & (total_O == tl.load(best_ptr)), options, OPTIONS), axis=0)
        tl.store(index_ptr + example * num_sites + site, option.to(tl.int64))
        left -= tl.load(shift_ptr + option)
    tl.store(usable_ptr + example, 1 - tl.max(bad_O, axis=0))


@jit
def _fill_table(  # type: ignore[no-untyped-def]
    profit_ptr,
    shift_ptr,
    square_ptr,
    table_ptr,
    num_sites,
    rest,
    limit,
    unit_inverse,
    tie_unit,
    NUM_OPTIONS: tl.constexpr,
    RESTS: tl.constexpr,
):
    """Sets row l, column r to the best total of sites l.. that spend r more than they must."""
    # As in knapsack: no sum of profits reaches half of it, so an unreachable rest never looks reachable.
    unreachable = tl.full([RESTS], -4611686018427387904, tl.int64)
    rests = tl.arange(0, RESTS)
    is_rest = rests <= rest
    tl.store(table_ptr + num_sites * (rest + 1) + rests, tl.where(rests == 0, 0, unreachable), mask=is_rest)
    for step in range(0, num_sites):
        site = num_sites - 1 - step
        # Lanes read what other lanes have written.
        tl.debug_barrier()
        before_ptr = table_ptr + (site + 1) * (rest + 1) + rests
        best_R = unreachable
        for option in tl.static_range(NUM_OPTIONS):
            shift = tl.load(shift_ptr + option)
            profit = tl.load(profit_ptr + site * NUM_OPTIONS + option)
            fixed, _ = _to_fixed_point(profit, tl.load(square_ptr + option), limit, unit_inverse, tie_unit)
            before_R = tl.load(before_ptr - shift, mask=is_rest & (rests >= shift), other=-4611686018427387904)
            best_R = tl.maximum(best_R, before_R + fixed)
        tl.store(table_ptr + site * (rest + 1) + rests, best_R, mask=is_rest)
    tl.debug_barrier()
