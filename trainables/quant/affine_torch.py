"""Per-example affine quantizer in plain torch: any device and floating dtype (paper section 3.4).

The same arithmetic as `affine_numba`, and the one that defines it. float16 and bfloat16 are computed in
float32: 16-bit levels do not fit in either. Only one option at a time is materialized.

Shape letters as in `affine`. Names that end in `_B1` have shape [B, 1, ..., 1], as many dimensions as the
quantized tensor.
"""

import torch
from torch import Tensor


def quantize(
    x: Tensor, bit_width_SO: Tensor, selected_B: Tensor, *, scale_quantile: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Quantizes every example at its selected bit-width; leaves one without a bit-width or a range as it is.

    Args:
        x: Floating tensor, examples along dimension 0.
        bit_width_SO: Bit-widths on offer, int64 in 0..16, on the device of `x`.
        selected_B: Column of `bit_width_SO` for every example, int64.
        scale_quantile: Below 1, the range of an example ends at these quantiles of its values.

    Returns:
        The quantized tensor and the range `lo, hi` of every example, [B, 2].
    """
    values = widen(x)
    range_B2 = _find_range(values, scale_quantile)
    bit_width_B = _selected(bit_width_SO.expand(x.shape[0], -1), selected_B)
    terms_B = _affine_terms(range_B2, bit_width_B)
    scale, zero_point, quant_max = (_like(term_B, values) for term_B in terms_B)
    # Divided, not multiplied by 1/s: that would move about one value in four million by a level.
    levels = (values / scale).round_().add_(zero_point).clamp_(torch.zeros_like(quant_max), quant_max)
    return torch.where(scale == 0, values, levels.sub_(zero_point).mul_(scale)).to(x.dtype), range_B2


def gradients(
    x: Tensor,
    grad: Tensor,
    range_B2: Tensor,
    bit_width_SO: Tensor,
    selected_B: Tensor,
    *,
    range_gradient: bool,
    is_clipped: bool = False,
) -> tuple[Tensor, Tensor]:
    """Computes the gradient of the input and of every option, one option at a time.

    Args:
        x: What `quantize` was given.
        grad: Gradient of the quantized tensor.
        range_B2: What `quantize` returned.
        bit_width_SO: As in `quantize`; every option gets a gradient.
        selected_B: As in `quantize`.
        range_gradient: Whether the extremes of an example move its scale.
        is_clipped: Whether values may lie outside the range; those get no gradient.

    Returns:
        The gradient of `x`, and `<grad, Q_o(x)>` for every example and option, [B, O].
    """
    values, wide_grad = widen(x), widen(grad)
    dims = tuple(range(1, x.dim()))
    # Summed apart from <grad, x>, which is about 2^b times larger and would swallow the errors.
    error_BO = _option_errors(values, wide_grad, range_B2, bit_width_SO)
    product_BO = (wide_grad * values).sum(dims)[:, None] + error_BO
    bit_width_B = _selected(bit_width_SO.expand(x.shape[0], -1), selected_B)
    is_active_B = (bit_width_B > 0) & (range_B2[:, 1] != range_B2[:, 0])
    if is_clipped:
        lo_B1, hi_B1 = (_like(end_B, x) for end_B in range_B2.unbind(1))
        is_kept = (values >= lo_B1) & (values <= hi_B1) | ~_like(is_active_B, x)
        return torch.where(is_kept, grad, 0.0), product_BO
    if not range_gradient:
        return grad, product_BO
    slope_B = torch.where(is_active_B, _selected(error_BO, selected_B) / (range_B2[:, 1] - range_B2[:, 0]), 0.0)
    return _add_at_extremes(values, wide_grad, range_B2, slope_B).to(grad.dtype), product_BO


def _option_errors(values: Tensor, grad: Tensor, range_B2: Tensor, bit_width_SO: Tensor) -> Tensor:
    """Returns `<grad, Q_o(x) - x>` for every example and option, in one buffer the size of `values`."""
    dims = tuple(range(1, values.dim()))
    buffer = torch.empty_like(values)
    errors = []
    for bit_width_S in bit_width_SO.unbind(1):
        terms_B = _affine_terms(range_B2, bit_width_S.expand(values.shape[0]))
        scale, zero_point, quant_max = (_like(term_B, values) for term_B in terms_B)
        # 1/s is exact enough for a sum (see affine_numba) and saves a pass; the zero point cancels.
        torch.mul(values, 1 / scale, out=buffer)
        buffer.round_().clamp_(-zero_point, quant_max - zero_point).mul_(scale).sub_(values)
        errors.append(torch.where(terms_B[0] == 0, 0.0, buffer.mul_(grad).sum(dims)))
    return torch.stack(errors, dim=1)


def _affine_terms(range_B2: Tensor, bit_width_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns scale, zero point and largest level; a scale of 0 means that the example stays as it is."""
    lo_B, hi_B = range_B2.unbind(1)
    quant_max_B = ((torch.ones_like(bit_width_B) << bit_width_B) - 1).to(range_B2.dtype)
    scale_B = torch.where(bit_width_B == 0, 0.0, (hi_B - lo_B) / quant_max_B)
    zero_point_B = torch.minimum((-lo_B / scale_B).round(), quant_max_B)
    return scale_B, zero_point_B, quant_max_B


def _add_at_extremes(values: Tensor, grad: Tensor, range_B2: Tensor, slope_B: Tensor) -> Tensor:
    """Adds +slope at the maximum and -slope at the minimum, shared by ties; a bound of 0 moves nothing."""
    dims = tuple(range(1, values.dim()))
    lo, hi, slope = (_like(term_B, values) for term_B in (*range_B2.unbind(1), slope_B))
    for is_extreme, signed_slope in (((values == hi) & (hi > 0), slope), ((values == lo) & (lo < 0), -slope)):
        count = is_extreme.sum(dims, keepdim=True).clamp_(min=1)
        grad = torch.where(is_extreme, grad + signed_slope / count, grad)
    return grad


def _find_range(values: Tensor, scale_quantile: float) -> Tensor:
    if scale_quantile == 1.0:
        dims = tuple(range(1, values.dim()))
        lo_B, hi_B = values.amin(dims), values.amax(dims)
    else:
        # One example at a time: torch.quantile refuses inputs of more than 2^24 values.
        ends = torch.tensor([1 - scale_quantile, scale_quantile], dtype=values.dtype, device=values.device)
        lo_B, hi_B = torch.stack([torch.quantile(example.flatten(), ends) for example in values]).unbind(1)
    return torch.stack([lo_B.clamp(max=0), hi_B.clamp(min=0)], dim=1)


def widen(x: Tensor) -> Tensor:
    """Returns a tensor of at least 32 bits per value."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _selected(values_BO: Tensor, selected_B: Tensor) -> Tensor:
    return values_BO.gather(1, selected_B[:, None]).squeeze(1)


def _like(term_B: Tensor, values: Tensor) -> Tensor:
    return term_B.reshape(-1, *[1] * (values.dim() - 1))
