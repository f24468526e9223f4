"""Images that are made and need no file: classes are directions of stripes, learned in a few steps."""

import torch

from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData, Split
from trainables.data.view import View


def made_data(*, size: int, num_images: int, num_classes: int) -> ImageData:
    """Returns noisy stripes, as many images in every split."""
    return ImageData(
        splits={
            name: _split(size, num_images, num_classes, seed=seed)
            for seed, name in enumerate((TRAIN, VALIDATION, TEST))
        },
        class_names=tuple(f"direction {number}" for number in range(num_classes)),
        view=View(size, size),
    )


def _split(size: int, num_images: int, num_classes: int, *, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(num_images) % num_classes
    angle_B11 = (labels_B * torch.pi / num_classes)[:, None, None]
    rows_H1, columns_W = torch.arange(size)[:, None], torch.arange(size)
    phase_BHW = rows_H1 * angle_B11.sin() + columns_W * angle_B11.cos()
    noise_BCHW = torch.randn(num_images, 3, size, size, generator=generator)
    shift_B111 = 6.3 * torch.rand(num_images, 1, 1, 1, generator=generator)
    images_BCHW = 128 + 80 * (phase_BHW[:, None] + shift_B111).sin() + 20 * noise_BCHW
    return Split(
        images_BCHW=images_BCHW.clamp(0, 255).to(torch.uint8),
        labels_B=labels_B,
        image_ids_B=torch.arange(num_images) + seed * num_images,
    )
