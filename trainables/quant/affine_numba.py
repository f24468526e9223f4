"""Per-example affine quantizer as numba kernels: float32 on the CPU, one thread (paper section 3.4).

The kernels walk one example at a time in storage order, so that an example of up to about a megabyte
stays in the cache between finding its range and rounding it. Measured on 32 x 64 x 56 x 56 float32, one
thread of an AMD EPYC (AVX-512): forward plus backward with eight options takes about 7 times as long as
copying the tensor; the same through plain autograd takes several hundred times as long.

There is no `prange`: trials are pinned to one thread each, and a pool that spins would take the
neighbour's core. Compiled code is cached on disk next to this file, so only the first process of an
installation waits for the compiler (6 s; later ones load it in 0.5 s). numba writes the cache atomically,
so processes that start together are safe.

Shape letters as in `affine`, and N = values of one example.
"""

import numpy as np
import torch
from torch import Tensor

from trainables.quant.compiler import njit

LANES = 64
"""Number of independent minima and maxima of the range search; a multiple of every vector width."""
TILE = 512
"""Values per tile: two tiles (x and its gradient) stay in the first-level cache over all options."""


def quantize(x: Tensor, bit_width_SO: Tensor, selected_B: Tensor) -> tuple[Tensor, Tensor]:
    """Does what `affine_torch.quantize` does, for dense float32 tensors on the CPU, contiguous or channels-last.

    Returns:
        The quantized tensor, strides as `x`, and the range `lo, hi` of every example, [B, 2].
    """
    x_hat = torch.empty_like(x)
    range_B2 = torch.empty((x.shape[0], 2), dtype=torch.float32)
    _quantize_batch(
        _storage_order(x), _table(bit_width_SO), selected_B.numpy(), _storage_order(x_hat), range_B2.numpy()
    )
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
    product_BO = np.empty((x.shape[0], bit_width_SO.shape[1]), dtype=np.float64)
    _gradients_batch(
        _storage_order(x),
        _storage_order(grad),
        range_B2.numpy(),
        _table(bit_width_SO),
        selected_B.numpy(),
        range_gradient,
        _storage_order(grad_x),
        product_BO,
    )
    return grad_x, torch.from_numpy(product_BO)


def is_dense(x: Tensor) -> bool:
    """Tells whether every example of `x` is one gapless block of memory, in order.

    Examples:
        >>> is_dense(torch.zeros(2, 3, 4)), is_dense(torch.zeros(2, 4, 3).transpose(1, 2))
        (True, False)
    """
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _storage_order(x: Tensor) -> np.ndarray:
    """Views a dense tensor as a matrix of examples, each in the order in which memory holds it."""
    num_examples = x.shape[0]
    num_values = x.numel() // num_examples
    return x.detach().as_strided((num_examples, num_values), (num_values, 1)).numpy()


def _table(bit_width_SO: Tensor) -> np.ndarray:
    # Of one layout, because numba compiles a function again for every layout of an argument.
    return bit_width_SO.contiguous().numpy()


@njit(cache=True, nogil=True, error_model="numpy")
def find_range(x_N):  # type: ignore[no-untyped-def]
    """Returns min(0, min x) and max(0, max x); a NaN anywhere makes the minimum NaN.

    A plain running minimum is not vectorized unless NaN is declared impossible, and then it is lost.
    Independent lanes need no such promise: 5 times faster than the scalar loop.
    """
    lo_lanes, hi_lanes = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    num_whole = x_N.size - x_N.size % LANES
    for start in range(0, num_whole, LANES):
        block = x_N[start : start + LANES]
        for lane in range(LANES):
            value = block[lane]
            # `value != value` holds for NaN only; a NaN stays, since nothing compares less than it.
            lo_lanes[lane] = value if (value < lo_lanes[lane] or value != value) else lo_lanes[lane]
            hi_lanes[lane] = value if value > hi_lanes[lane] else hi_lanes[lane]
    lo, hi = np.float32(0), np.float32(0)
    for tail in (lo_lanes, hi_lanes, x_N[num_whole:]):
        for value in tail:
            lo = value if (value < lo or value != value) else lo
            hi = value if value > hi else hi
    return lo, hi


@njit(cache=True, nogil=True, error_model="numpy")
def _affine_terms(lo, hi, bit_width):  # type: ignore[no-untyped-def]
    """Returns scale, zero point and largest level in float32, as ONNX DynamicQuantizeLinear does."""
    quant_max = np.float32((1 << bit_width) - 1)
    if bit_width == 0:
        return np.float32(0), np.float32(0), quant_max
    scale = np.float32(hi - lo) / quant_max
    # Only a range of a few denormals can leave 0..quant_max; NaN passes through both comparisons.
    zero_point = np.float32(np.rint(-lo / scale))
    zero_point = quant_max if zero_point > quant_max else zero_point
    return scale, zero_point, quant_max


@njit(cache=True, nogil=True, error_model="numpy")
def _quantize_batch(x_BN, bit_width_SO, selected_B, out_BN, range_B2):  # type: ignore[no-untyped-def]
    """Fills `out_BN` and `range_B2`; no fast-math here, since the values are bit-for-bit those of ONNX."""
    zero = np.float32(0)
    for b in range(x_BN.shape[0]):
        x_N, out_N = x_BN[b], out_BN[b]
        lo, hi = find_range(x_N)
        range_B2[b, 0], range_B2[b, 1] = lo, hi
        bit_width = bit_width_SO[b % bit_width_SO.shape[0], selected_B[b]]
        scale, zero_point, quant_max = _affine_terms(lo, hi, bit_width)
        if scale == zero:
            out_N[:] = x_N
        elif not np.isfinite(scale):
            # A NaN or an infinity in the example, or a range beyond float32: all of it becomes NaN.
            out_N[:] = np.float32(np.nan)
        else:
            for i in range(x_N.size):
                level = np.rint(x_N[i] / scale) + zero_point
                level = zero if level < zero else level
                level = quant_max if level > quant_max else level
                out_N[i] = (level - zero_point) * scale


@njit(cache=True, nogil=True, error_model="numpy")
def _gradients_batch(  # type: ignore[no-untyped-def]
    x_BN, grad_BN, range_B2, bit_width_SO, selected_B, range_gradient, grad_x_BN, product_BO
):
    num_values, num_options = x_BN.shape[1], bit_width_SO.shape[1]
    terms_O4 = np.empty((num_options, 4), np.float32)
    error_O = np.empty(num_options, np.float64)
    hits_T = np.empty((num_values + TILE - 1) // TILE, np.bool_)
    for b in range(x_BN.shape[0]):
        x_N, grad_N, grad_x_N = x_BN[b], grad_BN[b], grad_x_BN[b]
        lo, hi = range_B2[b, 0], range_B2[b, 1]
        for o in range(num_options):
            scale, zero_point, quant_max = _affine_terms(lo, hi, bit_width_SO[b % bit_width_SO.shape[0], o])
            # A zero scale means that this option leaves the example as it is: its error is not summed.
            terms_O4[o, 0], terms_O4[o, 1] = scale, np.float32(1) / scale
            terms_O4[o, 2], terms_O4[o, 3] = -zero_point, quant_max - zero_point
        product = _option_errors(x_N, grad_N, terms_O4, error_O)
        for o in range(num_options):
            product_BO[b, o] = product + error_O[o]
        if range_gradient:
            grad_x_N[:] = grad_N
            if terms_O4[selected_B[b], 0] != np.float32(0):
                slope = error_O[selected_B[b]] / (np.float64(hi) - np.float64(lo))
                _add_at_extremes(x_N, lo, hi, slope, grad_x_N, hits_T)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _option_errors(x_N, grad_N, terms_O4, error_O):  # type: ignore[no-untyped-def]
    """Fills `error_O` with `<grad, Q_o(x) - x>` and returns `<grad, x>`.

    The errors are summed apart from `<grad, x>`, which is about 2^b times larger and would swallow them.
    Multiplying by 1/scale moves about one value in four million to the neighbouring level, which a sum does
    not notice, and takes two thirds of the time of the division that the forward values need. Sums run in
    float32 within a tile, so that 16 of them share a register, and in float64 across tiles.
    """
    error_O[:] = 0.0
    product = 0.0
    for start in range(0, x_N.size, TILE):
        x_tile, grad_tile = x_N[start : start + TILE], grad_N[start : start + TILE]
        total = np.float32(0)
        for i in range(x_tile.size):
            total += grad_tile[i] * x_tile[i]
        product += np.float64(total)
        for o in range(error_O.size):
            scale, inverse = terms_O4[o, 0], terms_O4[o, 1]
            level_lo, level_hi = terms_O4[o, 2], terms_O4[o, 3]
            if scale == np.float32(0):
                continue
            total = np.float32(0)
            for i in range(x_tile.size):
                level = np.rint(x_tile[i] * inverse)
                level = level_lo if level < level_lo else level
                level = level_hi if level > level_hi else level
                total += grad_tile[i] * (level * scale - x_tile[i])
            error_O[o] += total
    return product


@njit(cache=True, nogil=True, error_model="numpy")
def _add_at_extremes(x_N, lo, hi, slope, grad_x_N, hits_T):  # type: ignore[no-untyped-def]
    """Adds +slope at the maximum and -slope at the minimum, shared by ties; a bound of 0 moves nothing."""
    zero = np.float32(0)
    num_lo, num_hi = 0, 0
    # Counting is branch-free and fast; only the few tiles that hold an extreme are then walked by value.
    for t in range(hits_T.size):
        tile = x_N[t * TILE : (t + 1) * TILE]
        lo_here, hi_here = 0, 0
        for i in range(tile.size):
            lo_here += int(tile[i] == lo)
            hi_here += int(tile[i] == hi)
        lo_here = lo_here if lo < zero else 0
        hi_here = hi_here if hi > zero else 0
        hits_T[t] = lo_here + hi_here > 0
        num_lo, num_hi = num_lo + lo_here, num_hi + hi_here
    for t in range(hits_T.size):
        if hits_T[t]:
            for i in range(t * TILE, min((t + 1) * TILE, x_N.size)):
                if x_N[i] == hi and hi > zero:
                    grad_x_N[i] += np.float32(slope / num_hi)
                elif x_N[i] == lo and lo < zero:
                    grad_x_N[i] -= np.float32(slope / num_lo)
