"""What a policy gets of its options' gradient: all of it, what differs between them, or the bit-width's as a number.

The quantizer hands back <g, Q_o(x)> = <g, x> + D_o for every option o of a site (`affine`). Section 3.4 of the paper
says that gradients pass through the binary matrix Gamma, and not what the matrix selects:

    plain       quantized activations: <g, Q_o(x)>, as it is
    centred     the same without its mean over the options of a site. Exactly one option is chosen, so what all have in
                common changes no selection. A softmax cancels it. In logits it stays, thousands of times larger than
                what differs, and fills whatever limits the gradient's norm
    bit_width   a number of bits, gamma = sum_o w_o Gamma_o, by which the quantizer has a derivative: w_o dL/dgamma,
                centred. Rounding and clamping are straight-through, so with s = (hi - lo) / (2^gamma - 1) it is
                dL/dgamma = -ln 2 * 2^gamma / (2^gamma - 1) * D_selected

Shape letters: B = examples, L = sites, O = bit-width options.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.names import OptionGradient

FULL_PRECISION = 0
"""Bit-width of the option in front, which `bit_width` needs: its gradient is <g, x>."""


def offered_bit_widths(bit_widths: Sequence[int], rule: OptionGradient) -> tuple[int, ...]:
    """Returns the options that the quantized pass has to compute gradients for, in the order of its selection."""
    return (FULL_PRECISION, *bit_widths) if rule == "bit_width" else tuple(bit_widths)


def shape_gradient(selection_BLO: Tensor, bit_widths: Sequence[int], rule: OptionGradient) -> Tensor:
    """Returns a selection among the offered options, whose gradient reaches the one that is given by a rule.

    Args:
        selection_BLO: One-hot, floating, with what its gradient goes on to (`knapsack.straight_through`).
        bit_widths: Bit-width of every option, ascending.
        rule: See above.

    Returns:
        One-hot over `offered_bit_widths`.

    Examples:
        >>> selection = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
        >>> (shape_gradient(selection, (2, 4), "centred") * torch.tensor([6.0, 6.5])).sum().backward()
        >>> selection.grad
        tensor([[[-0.2500,  0.2500]]])
    """
    match rule:
        case "plain":
            return selection_BLO
        case "centred":
            centred: Tensor = _Centred.apply(selection_BLO)
            return centred
        case "bit_width":
            offered: Tensor = _ThroughBitWidth.apply(selection_BLO, tuple(bit_widths))
            return offered


class _Centred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, selection_BLO: Tensor) -> Tensor:
        return selection_BLO.clone()

    @staticmethod
    def backward(ctx: Any, grad_BLO: Tensor) -> Tensor:
        return grad_BLO - grad_BLO.mean(-1, keepdim=True)


class _ThroughBitWidth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, selection_BLO: Tensor, bit_widths: tuple[int, ...]) -> Tensor:
        ctx.bit_widths = bit_widths
        ctx.save_for_backward(selection_BLO)
        return F.pad(selection_BLO, (1, 0))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (selection_BLO,) = ctx.saved_tensors
        width_O = torch.tensor(ctx.bit_widths, dtype=grad.dtype, device=grad.device)
        levels_O = 2.0**width_O
        error_BL = (grad[..., 1:] * selection_BLO).sum(-1) - grad[..., 0]
        slope_BL = -math.log(2) * error_BL * (selection_BLO @ (levels_O / (levels_O - 1)))
        return slope_BL[..., None] * (width_O - width_O.mean()), None
