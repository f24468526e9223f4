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


DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(image_size=32, is_bundled=True),
    "oxford-iiit-pet": DatasetInfo(image_size=224, is_bundled=False),
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
