"""What others would quantize with: every option materialized under autograd, and torch's own fake quantization.

Shape letters: B = examples, O = options.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Level(torch.autograd.Function):
    """Straight-through rounding and clipping; saves nothing, so it flatters the peer."""

    @staticmethod
    def forward(ctx: Any, x_in_steps: Tensor, zero_point: Tensor, quant_max: int) -> Tensor:
        return (x_in_steps.round() + zero_point).clamp_(0, quant_max) - zero_point

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


def materialize_options(x: Tensor, selection_BO: Tensor, bit_widths: Sequence[int]) -> Tensor:
    """Returns `sum_o selection_o * Q_o(x)` as autograd sees it: what the public implementations do."""
    dims = tuple(range(1, x.dim()))
    lo, hi = x.amin(dims, keepdim=True).clamp(max=0), x.amax(dims, keepdim=True).clamp(min=0)
    mixed = torch.zeros_like(x)
    for option, bit_width in enumerate(bit_widths):
        quant_max = 2**bit_width - 1
        scale = (hi - lo) / quant_max
        level = _Level.apply(x / scale, (-lo / scale).detach().round(), quant_max)
        mixed = mixed + selection_BO[:, option].view(-1, *[1] * len(dims)) * (level * scale)
    return mixed


def quantize_by_groups(x: Tensor, bit_width_B: Tensor) -> Tensor:
    """Quantizes with torch's per-channel kernel, examples as channels, one call per bit-width, since it takes one."""
    lo_B, hi_B = torch.aminmax(x.flatten(1), dim=1)
    lo_B, hi_B = lo_B.clamp(max=0), hi_B.clamp(min=0)
    x_hat = torch.empty_like(x)
    for bit_width in bit_width_B.unique().tolist():
        rows = (bit_width_B == bit_width).nonzero()[:, 0]
        quant_max = 2**bit_width - 1
        scale = (hi_B[rows] - lo_B[rows]) / quant_max
        zero_point = (-lo_B[rows] / scale).round().int()
        x_hat[rows] = torch.fake_quantize_per_channel_affine(x[rows], scale, zero_point, 0, 0, quant_max)
    return x_hat
