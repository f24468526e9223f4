r"""From stored uint8 images to what a network sees: evaluation crops, training augmentations and mixup.

All randomness comes from torch's global generator on the CPU, which the training loop seeds again every epoch. Images
stay uint8 until they are normalized. Batches are augmented on their device, and every image has its own draws, where
torchvision draws once per call. Measured with one thread of an AMD EPYC, 64 images of 256 px to 224 px, in images per
second of CPU time, with those of torchvision's transforms image by image in parentheses:

    random_resized_crop 2001 (741), rand_augment 916 (498), color_jitter 614 (255), horizontal_flip 2580 (853),
    all six 380 (178), padded_crop and mixup 1150 (436)

    OMP_NUM_THREADS=1 python -m timeit -n 3 -s 'import torch; from trainables.data import augment; \
        from trainables.data.view import View; \
        images = torch.randint(0, 256, (64, 3, 256, 256), dtype=torch.uint8)' \
        'augment.training_batch(images, View(224, 224), [*augment.ON_LEVELS, "padded_crop", "mixup"])'
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from search_spaces.recipes import Augmentation
from trainables.data.color import color_jitter
from trainables.data.geometry import horizontal_flip, random_resized_crop
from trainables.data.groups import IMAGES_IN_CACHE
from trainables.data.rand_augment import rand_augment
from trainables.data.view import View
from trainables.memory_format import memory_format

# B = images, C H W = stored image.

# Padding of the padded crop, as a share of the height and the width: 4 pixels of 32, the CIFAR custom.
PADDING_SHARE = 1 / 8
# The paper's list (section 4): random crop, RandAugment with n=2 and m=14, color jitter, flip.
ON_LEVELS: dict[str, Callable[[Tensor, View], Tensor]] = {
    "random_resized_crop": lambda images_BCHW, view: random_resized_crop(images_BCHW, view.size),
    "rand_augment": lambda images_BCHW, view: rand_augment(images_BCHW, num_operations=2, magnitude=14),
    "color_jitter": lambda images_BCHW, view: color_jitter(images_BCHW),
    "horizontal_flip": lambda images_BCHW, view: horizontal_flip(images_BCHW),
}
"""Augmentations of uint8 batches, which take what networks see; only the crop changes the size."""


def evaluation_batch(images_BCHW: Tensor, view: View) -> Tensor:
    """Cuts the middle out of stored images and normalizes it.

    Args:
        images_BCHW: uint8, at least as high and wide as the view.
        view: What the network sees.

    Returns:
        float32 images of the view's size, normalized with its statistics.
    """
    (height, width), (stored_height, stored_width) = view.size, images_BCHW.shape[-2:]
    top, left = (stored_height - height) // 2, (stored_width - width) // 2
    return _normalize(images_BCHW[..., top : top + height, left : left + width], view)


def training_batch(images_BCHW: Tensor, view: View, augmentations: Sequence[Augmentation]) -> Tensor:
    """Augments stored images, each with its own draw, and normalizes them.

    Args:
        images_BCHW: uint8, at least as high and wide as the view.
        view: What the network sees.
        augmentations: Applied in this order; `mixup` mixes the normalized batch at the end.

    Returns:
        float32 images of the view's size, normalized with its statistics.
    """
    for name in augmentations:
        if name in ON_LEVELS:
            images_BCHW = ON_LEVELS[name](images_BCHW, view)
    if images_BCHW.shape[-2:] != view.size:
        images_BCHW = v2.functional.center_crop(images_BCHW, list(view.size))
    if "padded_crop" in augmentations:
        images_BCHW = padded_crop(images_BCHW, padding=_padding(view))
    batch_BCHW = _normalize(images_BCHW, view)
    return mixup(batch_BCHW) if "mixup" in augmentations else batch_BCHW


def padded_crop(images_BCHW: Tensor, *, padding: tuple[int, int]) -> Tensor:
    """Shifts every image by its own draw of up to `padding` pixels (down, right) each way, over zeros."""
    num_images, channels, height, width = images_BCHW.shape
    device = images_BCHW.device
    down, right = padding
    padded_BCHW = F.pad(images_BCHW, [right, right, down, down])
    shifts_2B = torch.stack([torch.randint(0, 2 * most + 1, (num_images,)) for most in (down, right)])
    if device.type == "cpu":
        # Copying slices takes a thirtieth of the time of gathering pixels.
        corners = zip(padded_BCHW, *shifts_2B.tolist(), strict=True)
        return torch.stack([padded[:, top : top + height, left : left + width] for padded, top, left in corners])
    shifts_2B = shifts_2B.to(device, non_blocking=True)
    rows_BH = shifts_2B[0][:, None] + torch.arange(height, device=device)
    columns_BW = shifts_2B[1][:, None] + torch.arange(width, device=device)
    examples_B111 = torch.arange(num_images, device=device)[:, None, None, None]
    channels_1C11 = torch.arange(channels, device=device)[None, :, None, None]
    return padded_BCHW[examples_B111, channels_1C11, rows_BH[:, None, :, None], columns_BW[:, None, None, :]]


def mixup(images_BCHW: Tensor) -> Tensor:
    """Mixes every image with another one of the batch, weights lambda ~ U(0, 1) (paper section 3.1).

    Distillation has no labels to mix: the teacher looks at the mixed image.
    """
    num_images = len(images_BCHW)
    weights_B111 = torch.rand(num_images, 1, 1, 1).to(images_BCHW.device)
    partners_B = torch.randperm(num_images).to(images_BCHW.device)
    return torch.lerp(images_BCHW[partners_B], images_BCHW, weights_B111)


def _padding(view: View) -> tuple[int, int]:
    down, right = (max(1, round(length * PADDING_SHARE)) for length in view.size)
    return down, right


def _normalize(images_BCHW: Tensor, view: View) -> Tensor:
    device = images_BCHW.device
    mean_C11, std_C11 = (
        (torch.tensor(values)[:, None, None] * 255).to(device, non_blocking=True) for values in (view.mean, view.std)
    )
    normalized_BCHW = torch.empty(images_BCHW.shape, device=device, memory_format=memory_format(device))
    at_once = IMAGES_IN_CACHE if device.type == "cpu" else max(1, len(images_BCHW))
    for target_BCHW, part_BCHW in zip(normalized_BCHW.split(at_once), images_BCHW.split(at_once), strict=True):
        target_BCHW.copy_(part_BCHW.float().sub_(mean_C11).div_(std_C11))
    return normalized_BCHW
