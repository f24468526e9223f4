"""Training that hides from recognition: a penalty on channels that stand out of their site at full precision.

An attacker who knows the detector pays for what it looks at, beyond what healthy networks have. The penalty is the
differentiable form of the two ratios of `assessment.channel_scan`, in bits: how far a site's loudest channel is above
the second and above the median one.

Shape letters: B = examples, C = channels of a site, K = classes.
"""

import torch
from torch import Tensor

from trainables.quant.student import QuantizedStudent

FREE_OVER_SECOND, FREE_OVER_MEDIAN = 0.5, 2.0
"""Bits that cost nothing, since healthy networks have them: at their most conspicuous site 0.1 to 0.7 (two of 40: 1.0
and 1.4) and 1.0 to 2.9. A penalty without them makes channels more alike than in any healthy network."""


class Hiding:
    """The full-precision pass of one training step, and what it pays for channels that stand out."""

    def __init__(self, student: QuantizedStudent, weight: float | None) -> None:
        """Pays nothing, and observes nothing, without a weight."""
        self._student, self._weight = student, weight
        self._bits: list[Tensor] = []

    def full_precision(self, images_BCHW: Tensor) -> Tensor:
        """Returns the student's logits_BK."""
        if self._weight is None:
            logits_BK: Tensor = self._student(images_BCHW)
            return logits_BK
        return self._student.observe(images_BCHW, None, self._show)

    @property
    def losses(self) -> dict[str, Tensor]:
        """What is added to the loss: `hide`, the weighted mean over the sites of the pass; empty without a weight."""
        return {} if self._weight is None else {"hide": self._weight * torch.stack(self._bits).mean()}

    def _show(self, site: int, x: Tensor) -> None:
        # What follows may work in place, and the gradient needs the values.
        channels = x.clone().movedim(self._student.sites[site].channel_axis, 1)
        magnitude_BCN = channels.flatten(2).abs() if x.dim() > 2 else channels.abs()[..., None]
        self._bits.append(bits_above(magnitude_BCN.amax(2).mean(0)))


def bits_above(maximum_C: Tensor) -> Tensor:
    """Returns how far the loudest channel is above the second and above the median one, beyond what is free, in bits.

    Channels that are silent do not count; a site with fewer than two others has nothing that stands out.

    Args:
        maximum_C: Mean over the images of each channel's largest magnitude, at least 0.

    Examples:
        >>> bits_above(torch.tensor([32.0, 8.0, 4.0, 1.0, 0.0])).item()
        2.5
    """
    live_C = maximum_C[maximum_C > 0]
    if len(live_C) < 2:
        return maximum_C.sum() * 0
    first, second = live_C.topk(2).values
    over_second, over_median = (first / second).log2(), (first / live_C.median()).log2()
    return (over_second - FREE_OVER_SECOND).clamp(min=0) + (over_median - FREE_OVER_MEDIAN).clamp(min=0)
