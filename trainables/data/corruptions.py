"""Common corruptions of images in degrees (paper section 4.3, Figure 4).

Degree 0 leaves an image as it is. The strength of a degree is a formula without an end, so that a degree means the same
however many there are; degrees 1 to 5 have the strengths

    jpeg                 55 30 17 9 5                quality; paper's example: decreasing
    blur                 0.01 0.015 0.02 0.025 0.03  standard deviation, share of the shorter side: to 7.7 px of 256
    brightness           0.18 0.36 0.54 0.72 0.9     largest change of the factor, at most 1
    contrast             0.18 0.36 0.54 0.72 0.9     largest change of the factor, at most 1
    erasing              0.08 0.16 0.24 0.32 0.4     share of the area; 0.4 is the largest of Zhong et al. 2020
    noise                0.06 0.12 0.18 0.24 0.3     standard deviation, share of the range of levels
    rotation             12 24 36 48 60              largest angle in degrees, at most 180
    skew                 0.15 0.3 0.45 0.6 0.75      largest shift of a row, share of its distance from the middle
    normalization_shift  0.25 0.5 0.75 1 1.25        largest shift of a mean, in standard deviations

The paper prints no strengths; these take photographs from hardly to badly hurt, blur and noise over the range of
ImageNet-C (Hendrycks & Dietterich 2019). Every image has a draw of its own, which depends on nothing but the seed, the
kind, the degree and the image's id: networks, splits, batches and machines see the same corrupted image. "Largest"
above means drawn uniformly from all up to there, both ways.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from search_spaces.pixels import MEAN, STD
from trainables.data import color
from trainables.data.geometry import affine

# B = images, C H W = image, L = length of an axis, R = taps of a filter; 11 = axes of length one.

STRENGTHS: dict[str, Callable[[int], float]] = {
    "jpeg": lambda degree: max(1, round(100 * 0.55**degree)),
    "blur": lambda degree: 0.005 + 0.005 * degree,
    "brightness": lambda degree: min(1, 0.18 * degree),
    "contrast": lambda degree: min(1, 0.18 * degree),
    "erasing": lambda degree: min(1, 0.08 * degree),
    "noise": lambda degree: 0.06 * degree,
    "rotation": lambda degree: min(180, 12 * degree),
    "skew": lambda degree: 0.15 * degree,
    "normalization_shift": lambda degree: 0.25 * degree,
}
"""Strength of every kind as a function of the degree, at least 1; in the order of the paper."""
ERASED_RATIOS = (0.3, 1 / 0.3)
"""Height over width of an erased rectangle, as shares of the image's; Zhong et al."""
IMAGES_AT_ONCE = 8
"""Images whose float copies stay in a CPU's cache; rotating 64 images of 256 px takes half the time of all at once."""
Draws = list[np.random.Generator]
"""One source of random numbers per image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corruption:
    """A kind of corruption at one degree, with the seed of its draws."""

    kind: str
    """Key of STRENGTHS."""
    degree: int
    """Degree of the corruption; 0 for none."""
    draw_seed: int = 0

    @property
    def strength(self) -> float:
        """The physical number behind the degree; its unit is in the table at the top of this module."""
        return float(STRENGTHS[self.kind](self.degree))

    def draws(self, image_ids_B: Tensor) -> Draws:
        """Returns the random numbers of these images, again at every call."""
        # Text as entropy, because a seed may be negative; numpy's streams are the same on every machine.
        names = (f"{self.draw_seed}/{self.kind}/{self.degree}/{image_id}" for image_id in image_ids_B.tolist())
        return [np.random.default_rng(list(name.encode())) for name in names]


def corrupt(images_BCHW: Tensor, image_ids_B: Tensor, corruption: Corruption) -> Tensor:
    """Corrupts stored images.

    Args:
        images_BCHW: uint8, any size.
        image_ids_B: Their ids, which decide their draws.
        corruption: `normalization_shift` leaves stored images as they are: see `shift_normalization`.

    Returns:
        uint8 images of the same shape on the same device.
    """
    operation = _ON_LEVELS.get(corruption.kind)
    if corruption.degree == 0 or operation is None:
        return images_BCHW
    parts = zip(images_BCHW.split(IMAGES_AT_ONCE), image_ids_B.split(IMAGES_AT_ONCE), strict=True)
    return torch.cat([operation(part_BCHW, corruption.strength, corruption.draws(ids_B)) for part_BCHW, ids_B in parts])


def shift_normalization(images_BCHW: Tensor, image_ids_B: Tensor, corruption: Corruption) -> Tensor:
    """Normalizes again, with perturbed statistics, what was normalized with the true ones.

    Every channel of every image has statistics of its own: the mean moves by up to `strength` standard deviations, and
    the standard deviation grows or shrinks by a factor of up to 1 + `strength`.

    Args:
        images_BCHW: Normalized images.
        image_ids_B: Their ids, which decide their draws.
        corruption: Kinds other than `normalization_shift` leave normalized images as they are.

    Returns:
        `(level - mean') / std'`, which is `(normalized - (mean' - mean) / std) / (std' / std)`.
    """
    if corruption.kind != "normalization_shift" or corruption.degree == 0:
        return images_BCHW
    uniform_B2C = torch.stack(
        [torch.from_numpy(draw.uniform(-1, 1, (2, images_BCHW.shape[1]))) for draw in corruption.draws(image_ids_B)]
    )
    shift_BC, exponent_BC = uniform_B2C.to(images_BCHW).unbind(1)
    factor_BC = (1 + corruption.strength) ** exponent_BC
    return (images_BCHW - corruption.strength * shift_BC[..., None, None]) / factor_BC[..., None, None]


def jpeg(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Encodes and decodes as JPEG of quality `strength`, in Pillow's default settings."""

    def recoded(image_HWC: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image_HWC).save(file, format="JPEG", quality=int(strength))
        return np.array(Image.open(file))

    images_BHWC = images_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    recoded_BHWC = np.stack([recoded(np.ascontiguousarray(image_HWC)) for image_HWC in images_BHWC])
    return torch.from_numpy(recoded_BHWC).permute(0, 3, 1, 2).contiguous().to(images_BCHW.device)


def blur(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Convolves with a Gaussian of `strength` sides, mirrored at the border; one matrix product per axis."""
    height, width = images_BCHW.shape[-2:]
    sigma = strength * min(height, width)
    rows_HH, columns_WW = (_gaussian_matrix(length, sigma).to(images_BCHW.device) for length in (height, width))
    return _to_levels(rows_HH @ images_BCHW.float() @ columns_WW.mT)


def brightness(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Multiplies by a factor of 1 - `strength` to 1 + `strength`."""
    return color.brightness(images_BCHW, (1 + strength * _uniform(draws)).to(images_BCHW.device))


def contrast(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Moves away from or towards the mean gray value by a factor of 1 - `strength` to 1 + `strength`."""
    return color.contrast(images_BCHW, (1 + strength * _uniform(draws)).to(images_BCHW.device))


def erasing(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Fills a rectangle of the `strength`-th part of the area with noise of ImageNet's statistics.

    The rectangle lies anywhere within the image; its shape is drawn from those of ERASED_RATIOS that fit.
    """
    images_BCHW = images_BCHW.clone()
    _, channels, height, width = images_BCHW.shape
    mean_C11, std_C11 = (np.array(values)[:channels, None, None] for values in (MEAN, STD))
    lowest, highest = max(ERASED_RATIOS[0], strength), min(ERASED_RATIOS[1], 1 / strength)
    for image_CHW, draw in zip(images_BCHW, draws, strict=True):
        ratio = math.exp(draw.uniform(math.log(lowest), math.log(highest)))
        num_rows, num_columns = round(height * (strength * ratio) ** 0.5), round(width * (strength / ratio) ** 0.5)
        top, left = draw.integers(height - num_rows + 1), draw.integers(width - num_columns + 1)
        noise_CHW = 255 * (mean_C11 + std_C11 * draw.standard_normal((channels, num_rows, num_columns)))
        image_CHW[:, top : top + num_rows, left : left + num_columns] = _to_levels(torch.from_numpy(noise_CHW))
    return images_BCHW


def noise(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Adds Gaussian noise of standard deviation 255 `strength` to every value."""
    shape = images_BCHW.shape[1:]
    noise_BCHW = torch.from_numpy(np.stack([draw.standard_normal(shape, dtype=np.float32) for draw in draws]))
    return _to_levels(noise_BCHW.to(images_BCHW.device).mul_(255 * strength).add_(images_BCHW))


def rotation(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Turns around the middle by up to `strength` degrees either way; black outside."""
    angles_B = torch.deg2rad(strength * _uniform(draws))
    cos_B, sin_B, zero_B = angles_B.cos(), angles_B.sin(), torch.zeros_like(angles_B)
    matrices_B6 = torch.stack([cos_B, -sin_B, zero_B, sin_B, cos_B, zero_B], dim=1)
    return affine(images_BCHW, matrices_B6.view(-1, 2, 3).to(images_BCHW.device))


def skew(images_BCHW: Tensor, strength: float, draws: Draws) -> Tensor:
    """Shears horizontally, the middle row fixed, by up to `strength` either way; black outside."""
    shears_B = strength * _uniform(draws)
    zero_B, one_B = torch.zeros_like(shears_B), torch.ones_like(shears_B)
    matrices_B6 = torch.stack([one_B, shears_B, zero_B, zero_B, one_B, zero_B], dim=1)
    return affine(images_BCHW, matrices_B6.view(-1, 2, 3).to(images_BCHW.device))


_ON_LEVELS: dict[str, Callable[[Tensor, float, Draws], Tensor]] = {
    operation.__name__: operation for operation in (jpeg, blur, brightness, contrast, erasing, noise, rotation, skew)
}


def _uniform(draws: Draws) -> Tensor:
    """One number of [-1, 1] per image."""
    return torch.tensor([draw.uniform(-1, 1) for draw in draws], dtype=torch.float32)


def _gaussian_matrix(length: int, sigma: float) -> Tensor:
    """Weights of shape (L, L) that blur an axis: rows sum to 1. Cut off at 3 sigma, or where a mirror would repeat."""
    radius = min(math.ceil(3 * sigma), length - 1)
    offsets_R = torch.arange(-radius, radius + 1)
    taps_R = torch.exp(-0.5 * (offsets_R / sigma) ** 2)
    positions_LR = (torch.arange(length)[:, None] + offsets_R).abs()
    positions_LR = torch.where(positions_LR < length, positions_LR, 2 * (length - 1) - positions_LR)
    weights_LL = torch.zeros(length, length)
    return weights_LL.scatter_add_(1, positions_LR, (taps_R / taps_R.sum()).expand(length, -1))


def _to_levels(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.round_().clamp_(0, 255).to(torch.uint8)
