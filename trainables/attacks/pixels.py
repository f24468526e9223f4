"""Adverse inputs: pictures within a bound that a network answers rightly at full precision and wrongly quantized.

Projected gradient descent (Madry et al. 2018) in the maximum norm. Bounds are whole levels of 8-bit pixels, and every
step looks at a picture of whole levels, so what is found can be stored and shown. The gradient reaches the picture
through the straight-through rounding, the ranges, and of a pair through its policy, which sees the same picture.

Shape letters: B = images, K = classes, C H W = image.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.view import View
from trainables.losses import leads

BATCH = 64
"""Images that are changed together."""
FIRST_STEP, LAST_STEP = 0.5, 0.05
"""Of the descent, as shares of the bound."""
LEAD = 0.1
"""Lead that the descent asks for beyond a tie, as a share of the median lead at full precision."""

Logits = Callable[[Tensor], Tensor]
"""Function from normalized images, [B, C, H, W], to logits_BK, with a gradient."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The values that pixels of a normalized image can have, per channel, [C, 1, 1]."""

    lowest: Tensor
    highest: Tensor

    @property
    def level(self) -> Tensor:
        """The step from one of 256 levels to the next, [C, 1, 1]."""
        return (self.highest - self.lowest) / 255

    def clip(self, images: Tensor) -> Tensor:
        """Returns the nearest image that a camera could have taken."""
        return images.clamp(self.lowest, self.highest)

    def on(self, device: torch.device) -> "Pixels":
        """Returns the same values on a device."""
        return Pixels(self.lowest.to(device), self.highest.to(device))

    def plain_colors(self, shape: torch.Size) -> Tensor:
        """Returns an image of every color whose channels are at an end: black, white, red and so on, [N, C, H, W]."""
        ends = [(low, high) for low, high in zip(self.lowest, self.highest, strict=True)]
        return torch.stack([torch.stack(color).expand(shape) for color in itertools.product(*ends)])

    @staticmethod
    def of_view(view: View) -> "Pixels":
        """Returns what black and white are to a network."""
        mean, std = (torch.tensor(each)[:, None, None] for each in (view.mean, view.std))
        return Pixels(lowest=-mean / std, highest=(1 - mean) / std)

    @staticmethod
    def seen_in(images: Tensor) -> "Pixels":
        """Returns the range of some images, where their normalization is not known."""
        return Pixels(images.amin((0, 2, 3))[:, None, None], images.amax((0, 2, 3))[:, None, None])


@dataclass(frozen=True, kw_only=True, slots=True)
class Adverse:
    """Changed images, normalized, and what a network answers there; logits on the CPU."""

    images: Tensor
    full_BK: Tensor
    quantized_BK: Tensor


def adverse(
    full: Logits,
    quantized: Logits,
    images: Tensor,
    labels_B: Tensor,
    pixels: Pixels,
    *,
    radius: int,
    steps: int,
    keeps_full_precision: bool = True,
) -> Adverse:
    """Changes images within a bound so that an answer becomes wrong.

    Descends on the sum of two hinges: the lead of the label, quantized, is to fall below 0, and at full precision to
    stay above. Of every image the first picture is kept that does both, else the one of the least loss.

    Args:
        full: The network at full precision, in evaluation mode, frozen.
        quantized: The same network as it is quantized.
        images: Normalized, [B, C, H, W], on the device of the network.
        labels_B: Their classes.
        pixels: Valid values, on the same device.
        radius: Most levels, of 255, by which a pixel may change; 0 leaves the images as they are.
        steps: Gradients that are taken.
        keeps_full_precision: Otherwise only the lead at full precision is to fall: the usual adversarial example, which
            needs no quantization.
    """
    parts = [
        _descend(full, quantized, images_BCHW, part_B, pixels, radius, steps, keeps_full_precision)
        for images_BCHW, part_B in zip(images.split(BATCH), labels_B.to(images.device).split(BATCH), strict=True)
    ]
    return Adverse(
        images=torch.cat([part.images for part in parts]),
        full_BK=torch.cat([part.full_BK for part in parts]),
        quantized_BK=torch.cat([part.quantized_BK for part in parts]),
    )


def _descend(
    full: Logits,
    quantized: Logits,
    images: Tensor,
    labels_B: Tensor,
    pixels: Pixels,
    radius: int,
    steps: int,
    keeps_full_precision: bool,
) -> Adverse:
    with torch.inference_mode():
        wanted = LEAD * leads(full(images), labels_B).median().clamp(min=torch.finfo(torch.float32).tiny)
    change, best = torch.zeros_like(images), images
    least_B = torch.full((len(images),), torch.inf, device=images.device)
    num_steps = steps if radius else 0
    for step in range(num_steps + 1):
        candidate = pixels.clip(images + pixels.level * change.round()).requires_grad_()
        with torch.enable_grad():
            full_B = leads(full(candidate), labels_B)
            falls_B = leads(quantized(candidate), labels_B) if keeps_full_precision else full_B
            loss_B, is_found_B = (falls_B + wanted).clamp(min=0), falls_B < 0
            if keeps_full_precision:
                loss_B, is_found_B = loss_B + (wanted - full_B).clamp(min=0), is_found_B & (full_B > 0)
            (gradient,) = torch.autograd.grad(loss_B.sum(), candidate)
        value_B = loss_B.detach().masked_fill(is_found_B, -1.0)
        is_better_B = value_B < least_B
        best = torch.where(is_better_B[:, None, None, None], candidate.detach(), best)
        least_B = torch.minimum(value_B, least_B)
        size = radius * FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (step / max(1, num_steps - 1))
        change = (change - size * gradient.sign()).clamp(-radius, radius)
    with torch.inference_mode():
        return Adverse(images=best, full_BK=full(best).float().cpu(), quantized_BK=quantized(best).float().cpu())
