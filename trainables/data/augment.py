"""From stored uint8 images to what a network sees: evaluation crops, training augmentations and mixup.

All randomness comes from torch's global generator, which the training loop seeds anew every epoch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from search_spaces.recipes import Augmentation
from trainables.layout import memory_format

# B = images, C H W = stored image, S = size that networks see.

# ImageNet's statistics: what timm's pretrained weights expect; harmless for networks trained from scratch.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Padding of the padded crop, as a share of the size: 4 pixels of 32, the CIFAR custom.
PADDING_SHARE = 1 / 8

ImageTransform = Callable[[Tensor], Tensor]
"""Maps one uint8 image or one batch of them to another."""


def evaluation_batch(images_BCHW: Tensor, size: int) -> Tensor:
    """Cuts the middle out of stored images and normalizes it.

    Args:
        images_BCHW: uint8, at least `size` high and wide.
        size: Height and width to return.

    Returns:
        float32 images, normalized with ImageNet's statistics.
    """
    top, left = (images_BCHW.shape[-2] - size) // 2, (images_BCHW.shape[-1] - size) // 2
    return _normalize(images_BCHW[..., top : top + size, left : left + size])


def training_batch(images_BCHW: Tensor, size: int, augmentations: Sequence[Augmentation]) -> Tensor:
    """Augments stored images, each with its own draw, and normalizes them.

    Args:
        images_BCHW: uint8, at least `size` high and wide.
        size: Height and width to return.
        augmentations: Applied in this order; `mixup` mixes the normalized batch at the end.

    Returns:
        float32 images, normalized with ImageNet's statistics.
    """
    per_image = [_PER_IMAGE[name](size) for name in augmentations if name in _PER_IMAGE]
    if per_image:
        # torchvision draws once per call, so a call on a batch would treat all its images alike.
        images_BCHW = torch.stack([_apply(per_image, image_CHW) for image_CHW in images_BCHW])
    if images_BCHW.shape[-1] != size:
        images_BCHW = v2.functional.center_crop(images_BCHW, [size, size])
    if "padded_crop" in augmentations:
        images_BCHW = padded_crop(images_BCHW, padding=max(1, round(size * PADDING_SHARE)))
    batch_BCHW = _normalize(images_BCHW)
    return mixup(batch_BCHW) if "mixup" in augmentations else batch_BCHW


def padded_crop(images_BCHW: Tensor, *, padding: int) -> Tensor:
    """Shifts every image by its own draw of up to `padding` pixels each way, over zeros."""
    num_images, channels, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded_BCHW = F.pad(images_BCHW, [padding] * 4)
    shifts_2B = torch.randint(0, 2 * padding + 1, (2, num_images)).to(device)
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


# The paper's list (section 4): random crop, RandAugment with n=2 and m=14, color jitter, flip.
_PER_IMAGE: dict[str, Callable[[int], ImageTransform]] = {
    "random_resized_crop": lambda size: v2.RandomResizedCrop(size, antialias=True),
    "rand_augment": lambda size: v2.RandAugment(num_ops=2, magnitude=14),
    "color_jitter": lambda size: v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "horizontal_flip": lambda size: v2.RandomHorizontalFlip(),
}


def _apply(transforms: Sequence[ImageTransform], image_CHW: Tensor) -> Tensor:
    for transform in transforms:
        image_CHW = transform(image_CHW)
    return image_CHW


def _normalize(images_BCHW: Tensor) -> Tensor:
    mean_C11 = torch.tensor(MEAN, device=images_BCHW.device)[:, None, None] * 255
    std_C11 = torch.tensor(STD, device=images_BCHW.device)[:, None, None] * 255
    images_BCHW = images_BCHW.float().contiguous(memory_format=memory_format(images_BCHW.device))
    return (images_BCHW - mean_C11) / std_C11
