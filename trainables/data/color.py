"""Color operations on batches of uint8 images, every image with its own strength.

Each one is torchvision's operation of the same name (`torchvision.transforms.v2.functional.adjust_...`), which takes
one strength per call; values agree but for single levels where float32 rounds the other way.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from trainables.data.groups import change, grouped

# B = images, C H W = image; 111 = axes of length one. All images are uint8 RGB.

STRENGTH, HUE_STRENGTH = 0.4, 0.1
"""Half widths of color_jitter's uniform draws: factors in [0.6, 1.4], hue turned by up to a tenth of the circle."""


def color_jitter(images_BCHW: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue, each image by its own draws and in its own order.

    The draws are those of torchvision's `ColorJitter(0.4, 0.4, 0.4, 0.1)`.
    """
    num_images, device = len(images_BCHW), images_BCHW.device
    orders_B4 = torch.rand(num_images, 4).argsort(dim=1)
    uniform_4B = torch.rand(4, num_images) * 2 - 1
    strengths_41 = torch.tensor([STRENGTH, STRENGTH, STRENGTH, HUE_STRENGTH])[:, None]
    centers_41 = torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None]
    factors_4B = (centers_41 + strengths_41 * uniform_4B).to(device, non_blocking=True)
    images_BCHW = images_BCHW.clone()
    for kinds_B in orders_B4.unbind(1):
        for kind, positions_G in enumerate(grouped(kinds_B, 4, device)):
            change(images_BCHW, positions_G, JITTERS[kind], factors_4B[kind])
    return images_BCHW


def brightness(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    """Multiplies every image by its factor, at least 0."""
    return _to_levels(images_BCHW * _per_image(factors_B))


def contrast(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    """Moves every image away from its mean gray value: factor 0 is that gray, 1 the image."""
    means_B111 = rgb_to_grayscale(images_BCHW).float().mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images_BCHW, means_B111, factors_B)


def saturation(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    """Moves every pixel away from its gray value: factor 0 is gray, 1 the image."""
    return _blend(images_BCHW, rgb_to_grayscale(images_BCHW), factors_B)


def hue(images_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Turns the hue of every image.

    Args:
        images_BCHW: uint8.
        turns_B: In [-0.5, 0.5] of the color circle.

    Returns:
        uint8 images. In place of torchvision's table of six cases each channel is min + chroma * ramp(hue), the same
        function in a fraction of the time.
    """
    red, green, blue = images_BCHW.float().unbind(1)
    high_BHW = torch.maximum(torch.maximum(red, green), blue)
    low_BHW = torch.minimum(torch.minimum(red, green), blue)
    chroma_BHW = high_BHW - low_BHW
    # The hue in sixths of the circle without a case: red lies at 0, and 1 + (green + blue - red) is the distance from
    # it, where the three are scaled to minimum 0 and maximum 1. Comparing and choosing takes three times as long.
    # Levels are whole numbers, so that a chroma is 0 or at least 1, and any hue is right for gray.
    sector_BHW = (red - green).sub_(blue).add_(low_BHW).div_(chroma_BHW.clamp(min=1)).add_(2)
    sector_BHW = sector_BHW.copysign_(blue - green).add_(3 + turns_B[:, None, None] * 6)
    # Into [0, 6] by hand: remainder takes ten times as long.
    sector_BHW.sub_((sector_BHW / 6).floor_(), alpha=6)
    ramps = (
        (sector_BHW - 3).abs_().sub_(1),
        (sector_BHW - 2).abs_().neg_().add_(2),
        (sector_BHW - 4).abs_().neg_().add_(2),
    )
    # torchvision maps [0, 1] to levels by 255.999. Nothing exceeds that: a ramp is at most 1.
    levels = [torch.addcmul(low_BHW, chroma_BHW, ramp.clamp_(0, 1)).mul_(255.999 / 255) for ramp in ramps]
    return torch.stack([level.to(torch.uint8) for level in levels], dim=1)


def sharpness(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    """Moves every pixel but the border away from its smoothed value: factor 0 is smooth, 1 the image."""
    if min(images_BCHW.shape[-2:]) <= 2:
        return images_BCHW
    sharp_BCHW = images_BCHW.float()
    inner_BCHW = sharp_BCHW[..., 1:-1, 1:-1]
    rows_BCHW = sharp_BCHW[..., :-2, :] + sharp_BCHW[..., 1:-1, :] + sharp_BCHW[..., 2:, :]
    # The kernel has 5 in the middle, 1 around it and sum 13; no thirteenth lies halfway, so rounding is exact.
    smooth_BCHW = rows_BCHW[..., :-2] + rows_BCHW[..., 1:-1] + rows_BCHW[..., 2:]
    smooth_BCHW.add_(inner_BCHW, alpha=4).div_(13).round_()
    inner_BCHW.add_(smooth_BCHW.sub_(inner_BCHW).mul_(1 - _per_image(factors_B)))
    return _to_levels(sharp_BCHW)


JITTERS = (brightness, contrast, saturation, hue)
"""The operations of color_jitter, in the order of its draws."""


def _blend(images_BCHW: Tensor, others_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    factors_B111 = _per_image(factors_B)
    return _to_levels((images_BCHW * factors_B111).add_(others_BCHW * (1 - factors_B111)))


def _per_image(factors_B: Tensor) -> Tensor:
    return factors_B[:, None, None, None]


def _to_levels(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.clamp_(0, 255).to(torch.uint8)
