"""Crops, flips and affine maps of batches of uint8 images, every image with its own draw."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.data.groups import change

# B = images, C H W = image, S = length of an axis to return, N = attempts; 4 = top, left, height and width of a crop.

CROP_AREAS, CROP_RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
"""Limits of a crop's share of the image's area, and of its width over its height; torchvision's."""
NUM_ATTEMPTS = 10
"""Number of crops to draw before the middle is taken, if none lies within the image; torchvision's."""


def random_resized_crop(images_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts a crop of random area, shape and place out of every image and resizes it to a height and width."""
    crops_B4 = draw_crops(len(images_BCHW), *images_BCHW.shape[-2:], wanted_ratio=size[1] / size[0])
    return resized_crop(images_BCHW, crops_B4, size)


def draw_crops(num_images: int, height: int, width: int, *, wanted_ratio: float = 1.0) -> Tensor:
    """Draws like torchvision's `RandomResizedCrop`.

    Args:
        num_images: How many crops.
        height: Of the images.
        width: Of the images.
        wanted_ratio: Width over height of what the crops are resized to, by which CROP_RATIOS are multiplied: resizing
            stretches by no more than for squares.

    Returns:
        int64 tensor of shape (B, 4) on the CPU: top, left, height and width within the image.
    """
    low, high = CROP_AREAS
    lowest, highest = (ratio * wanted_ratio for ratio in CROP_RATIOS)
    areas_NB = height * width * (low + (high - low) * torch.rand(NUM_ATTEMPTS, num_images, dtype=torch.float64))
    log_low, log_high = (math.log(ratio) for ratio in (lowest, highest))
    ratios_NB = (log_low + (log_high - log_low) * torch.rand(NUM_ATTEMPTS, num_images, dtype=torch.float64)).exp()
    sizes_NB2 = torch.stack([(areas_NB / ratios_NB).sqrt(), (areas_NB * ratios_NB).sqrt()], dim=-1).round().long()
    limits_2 = torch.tensor([height, width])
    fits_NB = ((sizes_NB2 > 0) & (sizes_NB2 <= limits_2)).all(dim=-1)
    # The last resort, the largest crop of a permitted shape, stands behind all attempts; argmax finds the first that
    # fits.
    middle_2 = torch.tensor([min(height, round(width / lowest)), min(width, round(height * highest))])
    sizes_NB2 = torch.cat([sizes_NB2, middle_2.expand(1, num_images, 2)])
    fits_NB = torch.cat([fits_NB, torch.ones(1, num_images, dtype=torch.bool)])
    chosen_B = fits_NB.int().argmax(dim=0)
    sizes_B2 = sizes_NB2[chosen_B, torch.arange(num_images)]
    free_B2 = limits_2 - sizes_B2
    corners_B2 = (torch.rand(num_images, 2, dtype=torch.float64) * (free_B2 + 1)).long()
    is_middle_B1 = (chosen_B == NUM_ATTEMPTS)[:, None]
    return torch.cat([torch.where(is_middle_B1, free_B2 // 2, corners_B2), sizes_B2], dim=1)


def resized_crop(images_BCHW: Tensor, crops_B4: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts one crop out of every image and resizes it, bilinear and antialiased.

    Antialiased, although 256 stored pixels shrink to 224 by no more than an eighth: it costs nothing here.

    Args:
        images_BCHW: uint8.
        crops_B4: int64 on the CPU.
        size: Height and width to return.

    Returns:
        uint8 images. On a CPU from torch's own uint8 kernel, one image at a time (5,700 img/s at 224 px against 460
        with matrix products and 1,700 with grid_sample), elsewhere from `filtered_crop`; both agree to one level.
    """
    if images_BCHW.device.type != "cpu":
        return filtered_crop(images_BCHW, crops_B4, size)
    resized = [
        F.interpolate(
            image_CHW[None, :, top : top + height, left : left + width],
            size=size,
            mode="bilinear",
            antialias=True,
        )
        for image_CHW, (top, left, height, width) in zip(images_BCHW, crops_B4.tolist(), strict=True)
    ]
    return torch.cat(resized)


def filtered_crop(images_BCHW: Tensor, crops_B4: Tensor, size: tuple[int, int]) -> Tensor:
    """Does the same as `resized_crop` with two matrix products for the whole batch."""
    crops_B4 = crops_B4.to(images_BCHW.device, non_blocking=True)
    rows_BSH = _triangle_filter(crops_B4[:, 0], crops_B4[:, 2], size[0], length=images_BCHW.shape[-2])
    columns_BSW = _triangle_filter(crops_B4[:, 1], crops_B4[:, 3], size[1], length=images_BCHW.shape[-1])
    resized_BCHW = rows_BSH[:, None] @ images_BCHW.float() @ columns_BSW[:, None].mT
    return resized_BCHW.round_().clamp_(0, 255).to(torch.uint8)


def horizontal_flip(images_BCHW: Tensor) -> Tensor:
    """Mirrors every image with probability 1/2."""
    (positions_G,) = (torch.rand(len(images_BCHW)) < 0.5).nonzero(as_tuple=True)
    images_BCHW = images_BCHW.clone()
    change(images_BCHW, positions_G.to(images_BCHW.device, non_blocking=True), lambda images: images.flip(-1))
    return images_BCHW


def affine(images_BCHW: Tensor, matrices_B23: Tensor) -> Tensor:
    """Maps every image by its own matrix: nearest neighbor, black outside, as RandAugment has it.

    Args:
        images_BCHW: uint8.
        matrices_B23: float32; from a pixel of the result to one of the image, both counted from the middle.
    """
    num_images, _, height, width = images_BCHW.shape
    device = images_BCHW.device
    x_W = torch.arange(width, device=device) - (width - 1) / 2
    y_H1 = (torch.arange(height, device=device) - (height - 1) / 2)[:, None]
    columns, rows = matrices_B23[..., None, None].unbind(1)
    grid_BHW2 = torch.stack(
        [
            (columns[:, 0] * x_W + columns[:, 1] * y_H1 + columns[:, 2]) / (width / 2),
            (rows[:, 0] * x_W + rows[:, 1] * y_H1 + rows[:, 2]) / (height / 2),
        ],
        dim=-1,
    ).view(num_images, height, width, 2)
    return F.grid_sample(images_BCHW.float(), grid_BHW2, mode="nearest", align_corners=False).to(torch.uint8)


def _triangle_filter(starts_B: Tensor, lengths_B: Tensor, size: int, *, length: int) -> Tensor:
    """Weights of shape (B, S, length) that resize a part of an axis to S, zero outside the part, rows sum to 1."""
    scales_B11 = (lengths_B / size)[:, None, None]
    centers_S1 = (torch.arange(size, device=starts_B.device) + 0.5)[:, None]
    pixels_B1L = torch.arange(length, device=starts_B.device) - starts_B[:, None, None]
    weights_BSL = (1 - (pixels_B1L + 0.5 - centers_S1 * scales_B11).abs() / scales_B11.clamp(min=1)).clamp_(min=0)
    weights_BSL *= (pixels_B1L >= 0) & (pixels_B1L < lengths_B[:, None, None])
    return weights_BSL / weights_BSL.sum(dim=-1, keepdim=True)
