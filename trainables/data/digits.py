"""`digits`: scikit-learn's 1,797 real digits, 8 x 8 gray values 0..16, upsampled, on three channels."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError
from trainables.data.decoding import framed
from trainables.data.listings import Found, Listing

# B = images, C H W = image.


def find_digits(spec: DatasetSpec) -> Found:
    """Finds the digits in the installation; making them again is faster than a cache file."""
    return Found(sources=(), list_images=lambda: _list_digits(spec))


def _list_digits(spec: DatasetSpec) -> Listing:
    # Imported here because only this dataset needs it: a GPU machine runs the stages without scikit-learn.
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UnavailableError("the digits dataset comes with scikit-learn: pip install scikit-learn.") from error
    bundle = load_digits()
    # torch's interpolation keeps the sixteenths; what it does not know goes the way of all other images.
    is_plain = len(set(spec.seen_size)) == 1 and (spec.interpolation, spec.crop, spec.crop_mode) == (None, None, None)

    def load(kept_B: np.ndarray) -> Tensor:
        gray_B1HW = torch.from_numpy(bundle.images[kept_B]).float().unsqueeze(1) * (255 / 16)
        if not is_plain:
            levels_BHW = gray_B1HW[:, 0].round().to(torch.uint8).numpy()
            images = (Image.fromarray(levels_HW).convert("RGB") for levels_HW in levels_BHW)
            return torch.stack([framed(image, spec, spec.stored_size) for image in images])
        large_B1HW = F.interpolate(gray_B1HW, size=spec.seen_size, mode="bilinear", align_corners=False)
        return large_B1HW.round().to(torch.uint8).repeat(1, 3, 1, 1)

    return Listing(
        labels_B=np.asarray(bundle.target),
        class_names=tuple(str(name) for name in bundle.target_names),
        num_training=None,
        load=load,
    )
