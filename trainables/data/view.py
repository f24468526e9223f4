"""What networks see of an image: how many pixels, and the statistics that they are normalized with."""

from dataclasses import dataclass

from search_spaces.datasets import DatasetSpec

Channels = tuple[float, float, float]
"""A number each for red, green and blue."""
# ImageNet's statistics: what timm's pretrained weights expect; harmless for networks trained from scratch.
MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class View:
    """The size and the normalization of the images that networks see."""

    height: int
    """Rows, in pixels."""
    width: int
    """Columns, in pixels."""
    mean: Channels = MEAN
    """Values that are subtracted, as shares of the largest level, 255."""
    std: Channels = STD
    """Values that the difference is divided by, as shares of the largest level."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


def view_of(spec: DatasetSpec) -> View:
    """Returns how networks see the images of a dataset."""
    return View(spec.image_size, spec.image_size)
