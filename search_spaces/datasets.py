"""Which data a sweep trains on, as a value: the plan hashes it, trainables.data.datasets loads it."""

from dataclasses import dataclass

from pydantic import Field

from search_spaces.errors import unknown_name
from search_spaces.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """What is known of a dataset before it is loaded."""

    image_size: int
    """Default height and width in pixels."""
    is_bundled: bool
    """Whether an installation brings the images along."""
    num_images: int
    """Of all splits together; a sample on disk may hold fewer."""
    stored_per_seen: float = 1.0
    """Height and width kept in memory in units of what networks see: training crops need a margin."""


DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(image_size=32, is_bundled=True, num_images=1797),
    # 256 stored pixels for 224, as is usual.
    "oxford-iiit-pet": DatasetInfo(image_size=224, is_bundled=False, num_images=7349, stored_per_seen=256 / 224),
}


class DatasetSpec(Recipe):
    """One dataset, its size in pixels and its splits."""

    name: str
    image_size: int = Field(ge=8)
    """Height and width after loading, in pixels."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images, per class, that the search selects on. The test split is only reported."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of all images, per class, for datasets without an official test split."""
    split_seed: int = 0
    """Seed of the splits; the same for every trial, so that accuracies can be compared."""

    @property
    def stored_size(self) -> int:
        """Height and width of the images in memory, in pixels.

        Examples:
            >>> DatasetSpec(name="oxford-iiit-pet", image_size=224).stored_size
            256
        """
        return round(self.image_size * DATASETS[self.name].stored_per_seen)

    @property
    def num_bytes(self) -> int:
        """Bytes of all images in memory, three uint8 channels each; an upper bound where only a sample is on disk.

        Examples:
            >>> DatasetSpec(name="oxford-iiit-pet", image_size=224).num_bytes
            1444872192
        """
        return DATASETS[self.name].num_images * 3 * self.stored_size**2


def dataset_spec(name: str) -> DatasetSpec:
    """Returns the default specification of a dataset.

    Raises:
        UnknownNameError: No dataset has this name.

    Examples:
        >>> dataset_spec("digits").image_size
        32
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DatasetSpec(name=name, image_size=DATASETS[name].image_size)
