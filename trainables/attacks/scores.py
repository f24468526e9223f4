"""Scores: what each option at each site would do to the loss of an image, estimated at one allocation.

`GradientScores` takes one forward and one backward pass for all options, whose products with the gradient the
quantizer returns anyway; `MeasuredScores` runs every single-site change and needs no gradient.

Shape letters: B = images, L = sites, O = bit-width options, K = classes, C H W = image.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.losses import leads
from trainables.quant.quantizable import Differentiable, Quantizable

Loss = Literal["cross_entropy", "lead"]
"""`cross_entropy` of the label, or `lead`: the best other logit minus that of the label."""


class Scorer(Protocol):
    """Estimates the change of every image's loss by single-site changes of its allocation."""

    @property
    def num_passes(self) -> int:
        """Passes per image that a call takes, a forward and a backward being one each."""

    def __call__(self, images: Tensor, labels_B: Tensor, bit_width_BL: Tensor) -> Tensor:
        """Returns the estimated loss of each option minus that of the present one.

        Args:
            images: Normalized images, [B, C, H, W].
            labels_B: Their classes.
            bit_width_BL: The present allocation, of the scorer's options.

        Returns:
            score_BLO, float32 on the CPU; 0 at the present options.
        """


@dataclass(frozen=True, slots=True)
class GradientScores:
    """First order: the gradient at each site times the change of its quantized activation.

    HAWQ (Dong et al. 2019) and NVIDIA ModelOpt's `auto_quantize` score layers so, for all images together.
    """

    network: Differentiable
    bit_widths: tuple[int, ...]
    loss: Loss = "cross_entropy"

    @property
    def num_passes(self) -> int:
        """One forward and one backward pass."""
        return 2

    def __call__(self, images: Tensor, labels_B: Tensor, bit_width_BL: Tensor) -> Tensor:
        """See `Scorer`."""
        option_BL = _options_of(bit_width_BL, self.bit_widths)
        one_hot_BLO = F.one_hot(option_BL, len(self.bit_widths)).to(images.device, torch.float32).requires_grad_()
        with torch.enable_grad():
            logits_BK = self.network.forward_options(images, one_hot_BLO, self.bit_widths)
            loss = losses(logits_BK, labels_B.to(logits_BK.device), self.loss).sum()
            (gradient_BLO,) = torch.autograd.grad(loss, one_hot_BLO)
        gradient_BLO = gradient_BLO.cpu()
        return gradient_BLO - gradient_BLO.gather(2, option_BL[:, :, None])


@dataclass(frozen=True, slots=True)
class MeasuredScores:
    """The actual change by every single-site change, from forward passes only."""

    network: Quantizable
    bit_widths: tuple[int, ...]
    loss: Loss = "cross_entropy"

    @property
    def num_passes(self) -> int:
        """The present allocation, and every other option at every site."""
        return 1 + self.network.num_sites * (len(self.bit_widths) - 1)

    @torch.no_grad()
    def __call__(self, images: Tensor, labels_B: Tensor, bit_width_BL: Tensor) -> Tensor:
        """See `Scorer`."""

        def losses_at(changed_BL: Tensor) -> Tensor:
            logits_BK = self.network(images, changed_BL)
            return losses(logits_BK.float(), labels_B.to(logits_BK.device), self.loss).cpu()

        now_B = losses_at(bit_width_BL)
        score_BLO = torch.zeros(*bit_width_BL.shape, len(self.bit_widths))
        for site in range(bit_width_BL.shape[1]):
            # Counted from each image's own option, so that no pass is spent on the present one.
            for shift in range(1, len(self.bit_widths)):
                changed_BL, option_B = _with_shifted_option(bit_width_BL, site, shift, self.bit_widths)
                score_BLO[:, site].scatter_(1, option_B[:, None], (losses_at(changed_BL) - now_B)[:, None])
        return score_BLO


def losses(logits_BK: Tensor, labels_B: Tensor, loss: Loss) -> Tensor:
    """Returns the loss of every image, larger where the label is answered less."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits_BK, labels_B, reduction="none")
    return -leads(logits_BK, labels_B)


def _options_of(bit_width_BL: Tensor, bit_widths: tuple[int, ...]) -> Tensor:
    return torch.searchsorted(torch.tensor(bit_widths), bit_width_BL.cpu().contiguous())


def _with_shifted_option(
    bit_width_BL: Tensor, site: int, shift: int, bit_widths: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Returns the allocations with another option at one site, and that option: `shift` on, in a circle."""
    option_B = (_options_of(bit_width_BL[:, site], bit_widths) + shift) % len(bit_widths)
    changed_BL = bit_width_BL.clone()
    changed_BL[:, site] = torch.tensor(bit_widths)[option_B].to(bit_width_BL.device)
    return changed_BL, option_B
