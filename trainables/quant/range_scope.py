"""What shares a range at a site: all values of an example, each channel of it, or all examples of a batch.

The quantizer (`affine`) has one range per row. Here an activation becomes rows of another shape, so every scope has its
kernels and its gradients, at bit-widths and at options.

    example    as the paper has it
    channel    a repair of outlier channels
    batch      as ONNX Runtime has it: `DynamicQuantizeLinear` takes the range of the whole tensor that it is given

Shape letters: B = examples, C = channels, R = B * C rows.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from search_spaces.names import RangeScope

Quantizer = Callable[[Tensor, Tensor], Tensor]
"""Quantizes rows along dimension 0, given what each is quantized at: bit-widths [B] or one-hot selections [B, O]."""


def scoped(quantize: Quantizer, scope: RangeScope, *, axis: int, batch_size: int | None = None) -> Quantizer:
    """Returns a quantizer of activations whose ranges have a scope.

    Args:
        quantize: Quantizes rows, each with its own range.
        scope: What shares a range.
        axis: Axis of the channels, from the end.
        batch_size: Of scope `batch`, as in `per_batch`.
    """
    match scope:
        case "example":
            return quantize
        case "channel":
            return partial(per_channel, quantize, axis=axis)
        case "batch":
            return partial(per_batch, quantize, size=batch_size)


def per_channel(quantize: Quantizer, x: Tensor, setting_B: Tensor, *, axis: int) -> Tensor:
    """Quantizes every channel of every example with a range of its own.

    An activation without positions, such as a pooled vector, keeps one range per example: a range for each single value
    would quantize nothing.

    Args:
        quantize: Quantizes rows.
        x: Activation, examples along dimension 0.
        setting_B: What each example is quantized at.
        axis: Axis of the channels, from the end.
    """
    if x.dim() == 2:
        return quantize(x, setting_B)
    channels = x.movedim(axis, 1)
    setting_R = setting_B.repeat_interleave(channels.shape[1], dim=0)
    return quantize(channels.flatten(0, 1), setting_R).unflatten(0, channels.shape[:2]).movedim(1, axis)


def per_batch(quantize: Quantizer, x: Tensor, setting_B: Tensor, *, size: int | None = None) -> Tensor:
    """Quantizes every example with the range of the whole batch.

    Examples at different bit-widths share the range and have their own number of levels; an example at full precision
    is left alone, and its values count for the range of the others. Every row is given the two ends of the batch's
    range as two more values, so its own range is that of the batch. The gradient of the range reaches the example that
    holds an end through them. Values that tie for an end share it: those of the row first, then all of the batch.

    Args:
        quantize: Quantizes rows.
        x: Activation, examples along dimension 0.
        setting_B: What each example is quantized at.
        size: Examples that share a range, side by side, of which there is a multiple: several batches in one pass. None
            is all of them.

    Examples:
        >>> from trainables.quant.affine import fake_quantize
        >>> x = torch.tensor([[0.0, 1.0, 2.2, 3.0], [0.0, 1.0, 2.2, 6.0]])
        >>> per_batch(fake_quantize, x, torch.tensor([2, 0]))
        tensor([[0.0000, 0.0000, 2.0000, 4.0000],
                [0.0000, 1.0000, 2.2000, 6.0000]])
    """
    size = size or len(x)
    batches = x.reshape(len(x) // size, -1)
    ends_B2 = torch.stack([batches.amin(1), batches.amax(1)], dim=1).repeat_interleave(size, dim=0)
    rows = torch.cat([x.flatten(1), ends_B2], dim=1)
    return quantize(rows, setting_B)[:, :-2].reshape(x.shape)
