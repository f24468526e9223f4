"""What networks see of an image: how many pixels, and the statistics that they are normalized with."""

from dataclasses import dataclass

from search_spaces.datasets import DatasetSpec
from search_spaces.pixels import MEAN, STD, Channels


@dataclass(frozen=True, slots=True)
class View:
    """The size and the normalization of the images that networks see."""

    height: int
    """Rows, in pixels."""
    width: int
    """Columns, in pixels."""
    mean: Channels = MEAN
    """Values that are subtracted from red, green and blue, as shares of the largest level, 255."""
    std: Channels = STD
    """Values that the differences are divided by, as shares of the largest level."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


def view_of(spec: DatasetSpec) -> View:
    """Returns how networks see the images of a dataset."""
    return View(*spec.seen_size, mean=spec.mean or MEAN, std=spec.std or STD)
