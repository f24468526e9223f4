"""Per-example affine quantizer as Triton kernels: float32 and float16 on CUDA devices (paper section 3.4).

Every example is cut into tiles and every tile is a program, so that one large example fills the device:

    forward:  1. smallest and largest value of every tile    2. reduce these to the range and quantize
    backward: 3. per tile <g, Q_o(x) - x> of every option, <g, x> and the number of ties at both extremes,
                 all from one reading of x and g             4. add the range gradient in tiles with an extreme

There are no atomics, so the same input gives the same bits in every run. float16 is computed in float32, as
in `affine_torch`, whose forward values these are bit for bit; sums differ in their order only. bfloat16 and
float64 are left to `affine_torch`: bfloat16 cannot hold the levels of more than 8 bits.

The kernels are checked through Triton's interpreter, and on an H200 against torch; they compile for sm_75, sm_80 and
sm_90. BLOCK and MAX_TILES are reasoned, not tuned.

Shape letters: B = examples, N = values of one example, O = bit-width options, S = B or 1 (a table of options
that all examples share has one row), T = tiles, P = what a tile sums up: O errors, <g, x>, two counts.
"""

import torch
from torch import Tensor

from trainables.quant.triton.support import find_obstacle, jit, next_power_of_2, on_device_of, tl

DTYPES = (torch.float32, torch.float16)
BLOCK = 2048
"""Values that a program holds at a time: 16 per thread, for x and for g, fit in registers."""
MAX_TILES = 1024
"""Programs per example; larger examples are strided over, so that program 2 reduces at most this many."""


def why_unserved(x: Tensor) -> str | None:
    """Says why the kernels cannot serve a tensor and what would help; None where they can.

    Examples:
        >>> why_unserved(torch.zeros(1, dtype=torch.bfloat16))
        "Triton's kernels serve float32 and float16"
    """
    if x.dtype not in DTYPES:
        return "Triton's kernels serve float32 and float16"
    return find_obstacle(x.device)


def quantize(x: Tensor, bit_width_SO: Tensor, selected_B: Tensor) -> tuple[Tensor, Tensor]:
    """Does what `affine_torch.quantize` does, for dense tensors of `DTYPES` on CUDA, contiguous or channels-last.

    Returns:
        The quantized tensor, strides as `x`, and the range `lo, hi` of every example, float32 [B, 2].
    """
    num_values, num_tiles = _tiling(x)
    num_examples = x.shape[0]
    x_hat = torch.empty_like(x)
    range_B2 = torch.empty((num_examples, 2), dtype=torch.float32, device=x.device)
    partial_BT2 = torch.empty((num_examples, num_tiles, 2), dtype=torch.float32, device=x.device)
    grid = (num_examples, num_tiles)
    tensors = (x, partial_BT2, bit_width_SO.contiguous(), selected_B.contiguous(), x_hat, range_B2)
    row_stride = _row_stride(bit_width_SO)
    # No fusion, whose default depends on the version of Triton: the values are those of separate roundings.
    sizes = {"PARTIALS": next_power_of_2(num_tiles), "BLOCK": BLOCK, "enable_fp_fusion": False}
    with on_device_of(x):
        _find_tile_ranges[grid](x, partial_BT2, num_values, BLOCK=BLOCK, enable_fp_fusion=False)
        _quantize_tiles[grid](*tensors, num_values, row_stride, **sizes)
    return x_hat, range_B2


def gradients(
    x: Tensor, grad: Tensor, range_B2: Tensor, bit_width_SO: Tensor, selected_B: Tensor, *, range_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Does what `affine_torch.gradients` does, in one pass over `x` and `grad`.

    Returns:
        The gradient of `x`, and `<grad, Q_o(x)>` for every example and option, float64 [B, O].
    """
    if grad.stride() != x.stride():
        grad = torch.empty_like(x).copy_(grad)
    grad_x = torch.empty_like(x) if range_gradient else grad
    num_values, num_tiles = _tiling(x)
    num_examples, num_options = x.shape[0], bit_width_SO.shape[1]
    partial_BTP = torch.empty((num_examples, num_tiles, num_options + 3), dtype=torch.float32, device=x.device)
    grid = (num_examples, num_tiles)
    tensors = (x, grad, range_B2, bit_width_SO.contiguous(), grad_x, partial_BTP)
    sizes = {"NUM_OPTIONS": num_options, "OPTIONS": next_power_of_2(num_options), "BLOCK": BLOCK}
    row_stride = _row_stride(bit_width_SO)
    with on_device_of(x):
        # Not fused: x / scale that ends on a half is rounded before it is rounded, as elsewhere. Of float16 values many
        # do, and on an H200 the gradients of options were 4 % off with it.
        _sum_tiles[grid](*tensors, num_values, row_stride, COPIES_GRAD=range_gradient, **sizes, enable_fp_fusion=False)
        total_BP = partial_BTP.sum(1, dtype=torch.float64)
        if range_gradient:
            ends = (range_B2, selected_B.contiguous(), partial_BTP, total_BP)
            _add_at_extremes[grid](x, *ends, grad_x, num_values, num_options, BLOCK=BLOCK, enable_fp_fusion=False)
    # Summed apart from <grad, x>, which is about 2^b times larger and would swallow the errors.
    return grad_x, total_BP[:, num_options, None] + total_BP[:, :num_options]


def _tiling(x: Tensor) -> tuple[int, int]:
    num_values = x.numel() // x.shape[0]
    return num_values, min(-(-num_values // BLOCK), MAX_TILES)


def _row_stride(bit_width_SO: Tensor) -> int:
    return 0 if bit_width_SO.shape[0] == 1 else bit_width_SO.shape[1]


@jit
def _round_half_to_even(value):  # type: ignore[no-untyped-def]
    # 1.5 * 2^23: the sum has no room for a fraction. Exact below 2^22; a level is below 2^17. Triton's own
    # rint lives in a device library that the interpreter lacks.
    return (value + 12582912.0) - 12582912.0


@jit
def _affine_terms(lo, hi, bit_width):  # type: ignore[no-untyped-def]
    """Returns scale, zero point and largest level; a scale of 0 means that the example stays as it is."""
    quant_max = ((1 << bit_width) - 1).to(tl.float32)
    # div_rn, because Triton's `/` is approximate for float32.
    scale = tl.where(bit_width == 0, 0.0, tl.div_rn(hi - lo, quant_max))
    zero_point = tl.minimum(_round_half_to_even(tl.div_rn(-lo, scale)), quant_max)
    return scale, zero_point, quant_max


@jit
def _find_tile_ranges(x_ptr, partial_ptr, num_values, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Stores min(0, min x) and max(0, max x) of a tile, both NaN where the tile holds a NaN."""
    # 64 bits: a batch, and the last stride over a large example, may pass 2^31 values.
    example, tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    lo, hi = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    nans = tl.zeros([BLOCK], tl.int32)
    for start in range(tile * BLOCK, num_values, tl.num_programs(1) * BLOCK):
        offset = start + lanes
        # 0 is within every range, so it can fill the last tile.
        x = tl.load(x_ptr + example * num_values + offset, mask=offset < num_values, other=0.0).to(tl.float32)
        lo, hi = tl.minimum(lo, x), tl.maximum(hi, x)
        # Counted apart, since a minimum may lose a NaN on the device.
        nans = nans | (x != x).to(tl.int32)
    has_nan = tl.max(nans, axis=0) > 0
    partial_ptr += (example * tl.num_programs(1) + tile) * 2
    tl.store(partial_ptr, tl.where(has_nan, float("nan"), tl.min(lo, axis=0)))
    tl.store(partial_ptr + 1, tl.where(has_nan, float("nan"), tl.max(hi, axis=0)))


@jit
def _reduce_ranges(partial_ptr, num_tiles, PARTIALS: tl.constexpr):  # type: ignore[no-untyped-def]
    tiles = tl.arange(0, PARTIALS)
    lo_T = tl.load(partial_ptr + tiles * 2, mask=tiles < num_tiles, other=0.0)
    hi_T = tl.load(partial_ptr + tiles * 2 + 1, mask=tiles < num_tiles, other=0.0)
    has_nan = tl.max((lo_T != lo_T).to(tl.int32), axis=0) > 0
    lo = tl.where(has_nan, float("nan"), tl.min(lo_T, axis=0))
    hi = tl.where(has_nan, float("nan"), tl.max(hi_T, axis=0))
    return lo, hi


@jit
def _quantize_tiles(  # type: ignore[no-untyped-def]
    x_ptr,
    partial_ptr,
    bit_width_ptr,
    selected_ptr,
    out_ptr,
    range_ptr,
    num_values,
    row_stride,
    PARTIALS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    example, tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    num_tiles = tl.num_programs(1)
    lo, hi = _reduce_ranges(partial_ptr + example * num_tiles * 2, num_tiles, PARTIALS)
    if tile == 0:
        tl.store(range_ptr + example * 2, lo)
        tl.store(range_ptr + example * 2 + 1, hi)
    bit_width = tl.load(bit_width_ptr + example * row_stride + tl.load(selected_ptr + example))
    scale, zero_point, quant_max = _affine_terms(lo, hi, bit_width)
    lanes = tl.arange(0, BLOCK)
    for start in range(tile * BLOCK, num_values, num_tiles * BLOCK):
        offset = start + lanes
        mask = offset < num_values
        x = tl.load(x_ptr + example * num_values + offset, mask=mask, other=0.0).to(tl.float32)
        level = _round_half_to_even(tl.div_rn(x, scale)) + zero_point
        level = tl.minimum(tl.maximum(level, 0.0), quant_max)
        x_hat = tl.where(scale == 0, x, (level - zero_point) * scale)
        # A NaN or an infinity in the example, or a range beyond float32: all of it becomes NaN.
        x_hat = tl.where(scale - scale == 0, x_hat, float("nan"))
        tl.store(out_ptr + example * num_values + offset, x_hat.to(out_ptr.dtype.element_ty), mask=mask)


@jit
def _option_error(x, grad, lo, hi, bit_width):  # type: ignore[no-untyped-def]
    """Returns <grad, Q_o(x) - x> over a block, 0 where the option leaves the example as it is."""
    scale, zero_point, quant_max = _affine_terms(lo, hi, bit_width)
    # 1/scale is exact enough for a sum (see affine_numba); the zero point cancels. Finite, so that 0 stays 0 in
    # ranges of a few denormals.
    level = _round_half_to_even(x * tl.minimum(tl.div_rn(1.0, scale), 3.4e38))
    level = tl.minimum(tl.maximum(level, -zero_point), quant_max - zero_point)
    total = tl.sum(grad * (level * scale - x), axis=0)
    # A clamp may turn a NaN into a bound on the device, so it is put back.
    total = tl.where(scale - scale == 0, total, float("nan"))
    return tl.where(scale == 0, 0.0, total)


@jit
def _find_extremes(lo, hi):  # type: ignore[no-untyped-def]
    # A bound of 0 moves nothing: no value equals a NaN.
    return tl.where(lo < 0, lo, float("nan")), tl.where(hi > 0, hi, float("nan"))


@jit
def _sum_tiles(  # type: ignore[no-untyped-def]
    x_ptr,
    grad_ptr,
    range_ptr,
    bit_width_ptr,
    grad_x_ptr,
    partial_ptr,
    num_values,
    row_stride,
    COPIES_GRAD: tl.constexpr,
    NUM_OPTIONS: tl.constexpr,
    OPTIONS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums up what the gradients of a tile need, and passes its gradient straight through."""
    example, tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    lo, hi = tl.load(range_ptr + example * 2), tl.load(range_ptr + example * 2 + 1)
    lo_extreme, hi_extreme = _find_extremes(lo, hi)
    lanes, options = tl.arange(0, BLOCK), tl.arange(0, OPTIONS)
    error_O, product_N = tl.zeros([OPTIONS], tl.float32), tl.zeros([BLOCK], tl.float32)
    lo_N, hi_N = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(tile * BLOCK, num_values, tl.num_programs(1) * BLOCK):
        offset = start + lanes
        mask = offset < num_values
        grad = tl.load(grad_ptr + example * num_values + offset, mask=mask, other=0.0)
        if COPIES_GRAD:
            tl.store(grad_x_ptr + example * num_values + offset, grad, mask=mask)
        x = tl.load(x_ptr + example * num_values + offset, mask=mask, other=0.0).to(tl.float32)
        grad = grad.to(tl.float32)
        product_N += grad * x
        lo_N += (x == lo_extreme).to(tl.float32)
        hi_N += (x == hi_extreme).to(tl.float32)
        for option in tl.static_range(NUM_OPTIONS):
            bit_width = tl.load(bit_width_ptr + example * row_stride + option)
            error_O += tl.where(options == option, _option_error(x, grad, lo, hi, bit_width), 0.0)
    partial_ptr += (example * tl.num_programs(1) + tile) * (NUM_OPTIONS + 3)
    tl.store(partial_ptr + options, error_O, mask=options < NUM_OPTIONS)
    tl.store(partial_ptr + NUM_OPTIONS, tl.sum(product_N, axis=0))
    tl.store(partial_ptr + NUM_OPTIONS + 1, tl.sum(lo_N, axis=0))
    tl.store(partial_ptr + NUM_OPTIONS + 2, tl.sum(hi_N, axis=0))


@jit
def _add_at_extremes(  # type: ignore[no-untyped-def]
    x_ptr, range_ptr, selected_ptr, partial_ptr, total_ptr, grad_x_ptr, num_values, num_options, BLOCK: tl.constexpr
):
    """Adds +slope at the maximum and -slope at the minimum, shared by ties; reads only tiles with one."""
    example, tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    count_ptr = partial_ptr + (example * tl.num_programs(1) + tile) * (num_options + 3) + num_options + 1
    if tl.load(count_ptr) + tl.load(count_ptr + 1) > 0:
        lo, hi = tl.load(range_ptr + example * 2), tl.load(range_ptr + example * 2 + 1)
        total_ptr += example * (num_options + 3)
        width = hi.to(tl.float64) - lo.to(tl.float64)
        slope = tl.load(total_ptr + tl.load(selected_ptr + example)) / width
        # The share of an extreme that is 0 is a division by 0, and is not used.
        lo_share = (slope / tl.load(total_ptr + num_options + 1)).to(tl.float32)
        hi_share = (slope / tl.load(total_ptr + num_options + 2)).to(tl.float32)
        lo_extreme, hi_extreme = _find_extremes(lo, hi)
        lanes = tl.arange(0, BLOCK)
        for start in range(tile * BLOCK, num_values, tl.num_programs(1) * BLOCK):
            offset = start + lanes
            mask = offset < num_values
            x = tl.load(x_ptr + example * num_values + offset, mask=mask, other=0.0).to(tl.float32)
            grad = tl.load(grad_x_ptr + example * num_values + offset, mask=mask, other=0.0).to(tl.float32)
            is_lo, is_hi = x == lo_extreme, x == hi_extreme
            grad += tl.where(is_hi, hi_share, tl.where(is_lo, -lo_share, 0.0))
            moved = grad.to(grad_x_ptr.dtype.element_ty)
            tl.store(grad_x_ptr + example * num_values + offset, moved, mask=mask & (is_lo | is_hi))
