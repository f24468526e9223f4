"""Images as datasets of squares decode them, one at a time."""

from pathlib import Path

from torch import Tensor

from search_spaces.datasets import dataset_spec
from trainables.data.decoding import decode


def decode_square(content: Path | bytes, size: int) -> Tensor:
    """The middle square of an image, resized."""
    return decode(content, dataset_spec("cifar10", image_size=size), (size, size))
