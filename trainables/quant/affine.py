"""Per-example dynamic affine quantizer with its gradients (paper section 3.2, 'Quantization Settings').

Every example is quantized over all its values with its own bit-width b, as ONNX DynamicQuantizeLinear
does for b = 8:

    lo = min(0, min x)    hi = max(0, max x)    n = 2^b - 1    s = (hi - lo) / n    z = rint(-lo / s)
    x_hat = (clamp(rint(x / s) + z, 0, n) - z) * s               rint rounds half to even

Gradients, with g = dL/dx_hat and D_o = <g, Q_o(x) - x> over one example:

    dL/dx = g, plus the range gradient: +D_sel / (hi - lo) at the maximum and -D_sel / (hi - lo) at the
            minimum, because the scale depends on them; ties share it, a bound that is 0 has none
    dL/dselection_o = <g, Q_o(x)> = <g, x> + D_o             for every option, not only the selected one

They are those of `sum_o selection_o * Q_o(x)` with straight-through rounding, but only `x` is saved and
no second option is ever materialized. The paper leaves open which gradient the policy gets; this is the
one of its "sparse binary matrix". The paper's Eq. 1-2 add the zero point twice and do not divide the
range by the number of levels; ONNX is followed instead.

Three implementations give the same values: numba kernels for float32 on the CPU, Triton kernels for float32 and
float16 on CUDA devices, and plain torch for the rest. The environment variable `DPTQ_QUANTIZER=torch`, `=numba` or
`=triton` forces one. On an H200 a training step took 0.38 to 0.52 of the time with Triton's kernels in place of torch
(docs/results.md).

Shape letters: B = examples, O = bit-width options, S = B or 1 (one row: options shared by all examples).
"""

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor

from search_spaces.budgets import MAX_BIT_WIDTH, check_bit_widths
from search_spaces.errors import ConfigError
from trainables.quant import affine_numba, affine_torch
from trainables.quant.triton import affine as affine_triton

QUANTIZER_VARIABLE = "DPTQ_QUANTIZER"
BACKENDS: dict[str, Any] = {"torch": affine_torch, "numba": affine_numba, "triton": affine_triton}
"""Modules of one interface. Only torch serves every dtype, and ranges that end at quantiles."""


def fake_quantize(
    x: Tensor, bit_width_B: Tensor, *, scale_quantile: float = 1.0, range_gradient: bool = True
) -> Tensor:
    """Quantizes and dequantizes every example at its own bit-width.

    An example that is all zero, or whose bit-width is 0, comes out unchanged. An example that holds a NaN
    or an infinity, or spans more than the dtype can express, comes out NaN everywhere (unless its
    bit-width is 0), so that the loss shows it. float16 and bfloat16 are computed in float32.

    Args:
        x: Floating tensor with examples along dimension 0 and at least one more dimension.
        bit_width_B: Bits of every example, integer in 0..16; 0 leaves the example at full precision. The
            range is checked on the CPU only: reading it back from an accelerator would stall it.
        scale_quantile: In (0.5, 1]. Below 1 the range ends at the quantiles 1 - q and q of the example
            (paper, end of section 4.2); clipped values then get no gradient and there is no range
            gradient. An analysis option: always computed by torch.
        range_gradient: Whether the extremes of an example receive the gradient of its scale.

    Returns:
        The quantized tensor: shape, dtype and memory format of `x`.

    Raises:
        ConfigError: A shape, dtype or number breaks a rule above.

    Examples:
        >>> x = torch.tensor([[0.0, 1.0, 2.2, 3.0], [0.0, 1.0, 2.2, 3.0]])
        >>> fake_quantize(x, torch.tensor([2, 0]))
        tensor([[0.0000, 1.0000, 2.0000, 3.0000],
                [0.0000, 1.0000, 2.2000, 3.0000]])
    """
    _check_input(x, scale_quantile)
    if bit_width_B.shape != x.shape[:1] or bit_width_B.is_floating_point() or bit_width_B.is_complex():
        raise ConfigError(
            f"bit-widths of shape {list(bit_width_B.shape)} and dtype {bit_width_B.dtype} do not fit an "
            f"input of shape {list(x.shape)}: give one integer per example, shape [{x.shape[0]}]."
        )
    if bit_width_B.device.type == "cpu":
        check_bit_width_range(bit_width_B)
    bit_width_B1 = bit_width_B.to(x.device, torch.int64)[:, None]
    selected_B = torch.zeros_like(bit_width_B1[:, 0])
    return _apply(x, None, bit_width_B1, selected_B, range_gradient, scale_quantile)


def fake_quantize_options(
    x: Tensor,
    selection_BO: Tensor,
    bit_widths: Sequence[int],
    *,
    range_gradient: bool = True,
    scale_quantile: float = 1.0,
) -> Tensor:
    """Quantizes every example at its selected option and gives every option a gradient.

    Args:
        x: Floating tensor with examples along dimension 0 and at least one more dimension.
        selection_BO: One-hot choice per example, floating; the gradient of option o is `<g, Q_o(x)>`. Only
            the position of the one is read.
        bit_widths: Bit-width of every option, ascending, each in 1..16; 0 in front of them is full precision.
        range_gradient: Whether the extremes of an example receive the gradient of its scale.
        scale_quantile: As in `fake_quantize`.

    Returns:
        The quantized tensor: shape, dtype and memory format of `x`.

    Raises:
        ConfigError: A shape, dtype or number breaks a rule above.

    Examples:
        >>> x = torch.tensor([[0.0, 1.0, 2.2, 3.0]])
        >>> selection = torch.tensor([[1.0, 0.0]], requires_grad=True)
        >>> fake_quantize_options(x, selection, (2, 4)).sum().backward()
        >>> selection.grad
        tensor([[6.0000, 6.2000]])
    """
    _check_input(x, scale_quantile)
    bit_width_1O = _option_table(tuple(bit_widths), x.device)
    expected = (x.shape[0], bit_width_1O.shape[1])
    if selection_BO.shape != expected or not selection_BO.is_floating_point():
        raise ConfigError(
            f"selection of shape {list(selection_BO.shape)} and dtype {selection_BO.dtype} does not fit: "
            f"give one floating one-hot row per example and one column per bit-width, shape {list(expected)}."
        )
    selected_B = selection_BO.detach().argmax(1)
    if selection_BO.requires_grad and torch.is_grad_enabled():
        return _apply(x, selection_BO, bit_width_1O, selected_B, range_gradient, scale_quantile)
    # The other options are not needed: the backward pass then needs the error of the selected one only.
    bit_width_B1 = bit_width_1O[0, selected_B, None]
    return _apply(x, None, bit_width_B1, torch.zeros_like(selected_B), range_gradient, scale_quantile)


def check_bit_width_range(bit_width: Tensor) -> None:
    """Raises `ConfigError` unless every bit-width is in 0..16, where 0 means full precision."""
    if bit_width.numel() == 0:
        return
    lowest, highest = (int(end) for end in bit_width.aminmax())
    if lowest < 0 or highest > MAX_BIT_WIDTH:
        raise ConfigError(
            f"bit-widths span {lowest}..{highest}: give integers from 1 to {MAX_BIT_WIDTH}, or 0 for full precision."
        )


def choose_backend(x: Tensor) -> Literal["torch", "numba", "triton"]:
    """Names the implementation that serves this tensor, obeying `DPTQ_QUANTIZER`.

    Raises:
        ConfigError: The variable holds another word than torch, numba or triton, or forces kernels on a
            tensor that they do not serve.

    Examples:
        >>> choose_backend(torch.zeros(1, dtype=torch.float64))
        'torch'
    """
    is_for_numba = x.device.type == "cpu" and x.dtype == torch.float32
    match os.environ.get(QUANTIZER_VARIABLE):
        case None | "":
            if x.is_cuda and affine_triton.why_unserved(x) is None:
                return "triton"
            return "numba" if is_for_numba else "torch"
        case "torch":
            return "torch"
        case "numba":
            if not is_for_numba:
                raise ConfigError(
                    f"{QUANTIZER_VARIABLE}=numba serves float32 tensors on the CPU, not {x.dtype} on {x.device}: "
                    "unset it, or set it to torch."
                )
            return "numba"
        case "triton":
            if reason := affine_triton.why_unserved(x):
                raise ConfigError(
                    f"{QUANTIZER_VARIABLE}=triton cannot serve {x.dtype} on {x.device}: {reason}. Unset it, or set "
                    "it to torch or numba."
                )
            return "triton"
        case other:
            raise ConfigError(
                f"{QUANTIZER_VARIABLE}={other!r} names no quantizer: set it to torch, numba or triton, or unset it."
            )


class _FakeQuantize(torch.autograd.Function):
    """Fused forward and backward; saves the input and a few numbers per example."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        selection_BO: Tensor | None,
        bit_width_SO: Tensor,
        selected_B: Tensor,
        range_gradient: bool,
        scale_quantile: float,
    ) -> Tensor:
        is_clipped = scale_quantile < 1.0
        backend = BACKENDS[choose_backend(x)]
        if is_clipped:
            quantize = partial(affine_torch.quantize, scale_quantile=scale_quantile)
            ctx.gradients = partial(affine_torch.gradients, is_clipped=True)
        else:
            quantize, ctx.gradients = backend.quantize, backend.gradients
        x_hat, range_B2 = quantize(x, bit_width_SO, selected_B)
        ctx.range_gradient = range_gradient
        if selection_BO is not None or range_gradient or is_clipped:
            ctx.save_for_backward(x, range_B2, bit_width_SO, selected_B)
        ctx.selection_dtype = None if selection_BO is None else selection_BO.dtype
        return x_hat

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.saved_tensors:
            return grad, None, None, None, None, None
        x, *others = ctx.saved_tensors
        range_gradient = ctx.range_gradient and ctx.needs_input_grad[0]
        grad_x, product_BO = ctx.gradients(x, grad, *others, range_gradient=range_gradient)
        grad_selection = None if ctx.selection_dtype is None else product_BO.to(ctx.selection_dtype)
        return grad_x, grad_selection, None, None, None, None


def _apply(x: Tensor, *others: Any) -> Tensor:
    if not affine_numba.is_dense(x):
        # Differentiable, so the gradient arrives in the caller's layout.
        x = x.contiguous()
    result: Tensor = _FakeQuantize.apply(x, *others)
    return result


def _check_input(x: Tensor, scale_quantile: float) -> None:
    if x.dim() < 2 or not x.is_floating_point() or 0 in x.shape:
        raise ConfigError(
            f"input of shape {list(x.shape)} and dtype {x.dtype} cannot be quantized per example: give a "
            "floating tensor with examples along the first dimension, values along the others, and no empty "
            "dimension."
        )
    if not 0.5 < scale_quantile <= 1.0:
        raise ConfigError(
            f"scale_quantile of {scale_quantile} leaves no range: choose more than 0.5 and at most 1, "
            "where 1 keeps the whole range of an example."
        )


@lru_cache(maxsize=64)
def _option_table(bit_widths: tuple[int, ...], device: torch.device) -> Tensor:
    """Keeps the options on the device, so that a site does not copy them there in every pass."""
    check_bit_widths(bit_widths[bit_widths[:1] == (0,) :])
    # A tensor made in inference mode could not be saved for the backward pass of a later training step.
    with torch.inference_mode(False):
        return torch.tensor([bit_widths], dtype=torch.int64, device=device)
