"""RandAugment (Cubuk et al. 2020) on batches: every image draws its own operations and signs.

The list of operations and their magnitudes are torchvision's, `torchvision.transforms.v2.RandAugment`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainables.data import color
from trainables.data.geometry import affine
from trainables.data.groups import change, grouped

# B = images, C H W = image, K = kinds of geometric operations; 2 signs.

NUM_BINS = 31
"""Number of magnitudes: 0 is the first, 30 the last."""
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
SIGNED_COLOR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": color.brightness,
    "Color": color.saturation,
    "Contrast": color.contrast,
    "Sharpness": color.sharpness,
}
"""Operations with a factor of 1 + magnitude or 1 - magnitude."""
OPERATIONS = (*GEOMETRIC, *SIGNED_COLOR, "Posterize", "Solarize", "AutoContrast", "Equalize", "Identity")
"""All operations; every image draws each with the same probability."""


def rand_augment(images_BCHW: Tensor, *, num_operations: int = 2, magnitude: int = 14) -> Tensor:
    """Changes every image by operations of its own draw, one after the other.

    Args:
        images_BCHW: uint8.
        num_operations: n. Paper: 2.
        magnitude: m, one for all operations, of 0..30. Paper: 14.
    """
    images_BCHW = images_BCHW.clone()
    for _ in range(num_operations):
        kinds_B = torch.randint(len(OPERATIONS), (len(images_BCHW),))
        # torchvision turns the sign at 0.5 and below.
        is_negative_B = torch.rand(len(images_BCHW)) <= 0.5
        apply_operations(images_BCHW, kinds_B, is_negative_B, magnitude=magnitude)
    return images_BCHW


def apply_operations(images_BCHW: Tensor, kinds_B: Tensor, is_negative_B: Tensor, *, magnitude: int) -> None:
    """Applies one operation to every image, in place.

    Args:
        images_BCHW: uint8.
        kinds_B: Positions in OPERATIONS, int64, on the CPU.
        is_negative_B: Sign of the operations that have one, bool, on the CPU.
        magnitude: Of 0..30.
    """
    share, device = magnitude / (NUM_BINS - 1), images_BCHW.device
    # One resampling for all geometric operations: they are group 0, and the others keep their order.
    groups = grouped((kinds_B - len(GEOMETRIC) + 1).clamp(min=0), len(OPERATIONS) - len(GEOMETRIC) + 1, device)
    tables_K223 = _matrices(share, *images_BCHW.shape[-2:])
    matrices_B23 = tables_K223[kinds_B.clamp(max=len(GEOMETRIC) - 1), is_negative_B.long()]
    matrices_B23 = matrices_B23.to(device, non_blocking=True)
    factors_B = (1 + 0.9 * share * (1 - 2 * is_negative_B.float())).to(device, non_blocking=True)
    change(images_BCHW, groups[0], affine, matrices_B23)
    operations = SIGNED_COLOR | {
        "Posterize": lambda images, factors: functional.posterize(images, bits=round(8 - 4 * share)),
        "Solarize": lambda images, factors: functional.solarize(images, threshold=255 * (1 - share)),
        "AutoContrast": lambda images, factors: functional.autocontrast(images),
        "Equalize": lambda images, factors: functional.equalize(images),
    }
    for name, positions_G in zip(OPERATIONS[len(GEOMETRIC) :], groups[1:], strict=True):
        if name in operations:
            change(images_BCHW, positions_G, operations[name], factors_B)


def _matrices(share: float, height: int, width: int) -> Tensor:
    """The matrices of the geometric operations: shape (K, 2 signs, 2, 3), from a result's pixel to the image's."""
    tables = []
    for sign in (1, -1):
        shear, angle = sign * 0.3 * share, sign * math.radians(30) * share
        # Whole pixels, cut off towards zero; 150/331 is what AutoAugment used at 331 px.
        right, down = (sign * int(150 / 331 * length * share) for length in (width, height))
        cos, sin = math.cos(angle), math.sin(angle)
        tables.append(
            [
                # Shears keep the corner, not the middle, where it is.
                [[1, shear, shear * height / 2], [0, 1, 0]],
                [[1, 0, 0], [shear, 1, shear * width / 2]],
                [[1, 0, -right], [0, 1, 0]],
                [[1, 0, 0], [0, 1, -down]],
                [[cos, -sin, 0], [sin, cos, 0]],
            ]
        )
    return torch.tensor(tables, dtype=torch.float32).transpose(0, 1)
