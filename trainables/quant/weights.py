"""Static weight quantizer: symmetric, per tensor, abs-max (paper section 4, 'Quantization Settings').

For b bits: n = 2^(b-1) - 1, s = max|w| / n, w_hat = clamp(rint(w / s), -n, n) * s, so the grid is symmetric
and holds 0 exactly. The gradient passes straight through, to the scale as well: at the paper's 16 bits a
step is 1/32767 of the largest weight, and the gradient of the scale is below the noise of any training.

All weights of a network go through one autograd function, since a network has dozens of small tensors.
Shape letters: N = values of one weight.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from trainables.quant import affine_numba, affine_torch
from trainables.quant.affine import choose_backend
from trainables.quant.compiler import njit
from trainables.quant.sites import LAYER_KINDS


def fake_quantize_weights(weights: Sequence[Tensor], bit_width: int) -> tuple[Tensor, ...]:
    """Quantizes and dequantizes every weight with its own scale.

    A weight that is all zero comes out unchanged; one that holds a NaN or an infinity comes out NaN.

    Args:
        weights: Floating tensors of any shapes.
        bit_width: Bits of the signed grid, in 2..16. Paper: 16.

    Returns:
        One tensor per weight, same shape, dtype and memory format.

    Examples:
        >>> (quantized,) = fake_quantize_weights([torch.tensor([-3.0, 0.4, 1.6])], 3)
        >>> quantized
        tensor([-3.,  0.,  2.])
    """
    if not weights:
        return ()
    quantized: tuple[Tensor, ...] = _FakeQuantizeWeights.apply(bit_width, *weights)
    return quantized


def find_weight_layers(model: nn.Module, weight_bit_width: int | None) -> list[nn.Module]:
    """Returns the modules whose weights quantized passes replace, the classifier included; none for no bit-width.

    Raises:
        ConfigError: The bit-width is out of range, or a weight is computed from other parameters.
    """
    if weight_bit_width is None:
        return []
    if not 2 <= weight_bit_width <= 16:
        raise ConfigError(
            f"weight_bit_width of {weight_bit_width} has no symmetric grid here: give 2 to 16 bits, or None "
            "to leave the weights at full precision."
        )
    layers: list[nn.Module] = [module for module in model.modules() if isinstance(module, LAYER_KINDS)]
    for layer in layers:
        if "weight" not in layer._parameters:
            raise ConfigError(
                f"model {type(model).__name__} computes the weight of a {type(layer).__name__} from other "
                "parameters, so it cannot be swapped for a quantized one: remove the parametrization, or set "
                "weight_bit_width to None."
            )
    return layers


class _FakeQuantizeWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bit_width: int, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        quant_max = 2.0 ** (bit_width - 1) - 1
        return tuple(_quantize(weight, quant_max) for weight in weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *grads


def _quantize(weight: Tensor, quant_max: float) -> Tensor:
    if weight.is_contiguous() and choose_backend(weight) == "numba":
        quantized = torch.empty_like(weight)
        _quantize_values(weight.view(-1).numpy(), np.float32(quant_max), quantized.view(-1).numpy())
        return quantized
    wide = affine_torch.widen(weight)
    scale = wide.abs().amax() / quant_max
    levels = (wide / scale).round_().clamp_(-quant_max, quant_max)
    return torch.where(scale == 0, wide, levels.mul_(scale)).to(weight.dtype)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantize_values(weight_N, quant_max, out_N):  # type: ignore[no-untyped-def]
    lo, hi = affine_numba.find_range(weight_N)
    scale = np.float32(-lo if -lo > hi or lo != lo else hi) / quant_max
    if scale == np.float32(0):
        out_N[:] = weight_N
    elif not np.isfinite(scale):
        out_N[:] = np.float32(np.nan)
    else:
        for i in range(weight_N.size):
            level = np.rint(weight_N[i] / scale)
            level = -quant_max if level < -quant_max else level
            level = quant_max if level > quant_max else level
            out_N[i] = level * scale
