"""What shares a range: all values of an example, or each channel of it (a repair of outlier channels)."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

# B = examples, C = channels, R = B * C rows.

RangeScope = Literal["example", "channel"]


def per_channel(quantize: Callable[[Tensor, Tensor], Tensor], x: Tensor, setting_B: Tensor, *, axis: int) -> Tensor:
    """Quantizes every channel of every example with a range of its own.

    An activation without positions, such as a pooled vector, keeps one range per example: a range for each single value
    would quantize nothing.

    Args:
        quantize: Quantizes rows along dimension 0, given the setting of each.
        x: Activation, examples along dimension 0.
        setting_B: What each example is quantized at: bit-widths [B] or one-hot selections [B, O].
        axis: Axis of the channels, from the end.
    """
    if x.dim() == 2:
        return quantize(x, setting_B)
    channels = x.movedim(axis, 1)
    setting_R = setting_B.repeat_interleave(channels.shape[1], dim=0)
    return quantize(channels.flatten(0, 1), setting_R).unflatten(0, channels.shape[:2]).movedim(1, axis)
