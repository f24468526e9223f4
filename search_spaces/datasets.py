"""Which data a sweep trains on, as a value: the plan hashes it, trainables.data.loading loads it."""

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from search_spaces.dataset_kinds import DATASET_FORMS, DATASETS
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.model import Frozen, later_field, parse
from search_spaces.uris import absolute_uri


def _absolute_name(name: str) -> str:
    """Checks a name and makes its path absolute, once and for all: the plan, and so every uid, holds the result."""
    kind, colon, place = name.partition(":")
    # First of all, since every other error repeats the name.
    if "://" in name:
        absolute_uri(place if kind in DATASETS else name, what="dataset")
    if kind not in DATASETS or bool(colon) != bool(DATASETS[kind].place):
        raise unknown_name("dataset", name, DATASET_FORMS)
    if not colon:
        return name
    location, question_mark, query = place.partition("?") if kind == "parquet" else (place, "", "")
    if not location or (kind == "folder" and "://" in location):
        raise ConfigError(
            f"dataset {name!r} names no {DATASETS[kind].place.lower()}: folder:PATH reads class folders of this "
            "machine, parquet:URI also reads object stores (s3://..., gs://...)."
        )
    return f"{kind}:{absolute_uri(location, what='dataset')}{question_mark}{query}"


class DatasetSpec(Frozen):
    """One dataset, its size in pixels and its splits."""

    # An error shows the value otherwise, and a URI may hold credentials.
    model_config = ConfigDict(hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_absolute_name)]
    """Dataset in one of `DATASET_FORMS`, its path made absolute."""
    image_size: int = Field(ge=8)
    """Height and width after loading, in pixels."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images, per class, that the search selects on. The test split is only reported."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of all images, per class, for datasets without an official test split."""
    split_seed: int = 0
    """Seed of the splits; the same for every trial, so that accuracies can be compared."""
    train_images: int | None = later_field(ge=1)
    """Number of training images to keep, validation included, every class with its share; None keeps all."""
    test_images: int | None = later_field(ge=1)
    """Number of test images to keep, every class with its share; None keeps all."""

    @property
    def kind(self) -> str:
        """The key of `DATASETS`."""
        return self.name.partition(":")[0]

    @property
    def place(self) -> str:
        """The absolute path or URI of a dataset that has one, else an empty string."""
        return self.name.partition(":")[2]

    @property
    def title(self) -> str:
        """Name and sizes for people."""
        kept = {"training": self.train_images, "test": self.test_images}
        sizes = [f", {count} {part} images" for part, count in kept.items() if count is not None]
        return f"{self.name} at {self.image_size} px" + "".join(sizes)

    @property
    def stored_size(self) -> int:
        """Height and width of the images in memory, in pixels.

        Examples:
            >>> DatasetSpec(name="oxford-iiit-pet", image_size=224).stored_size
            256
        """
        return round(self.image_size * DATASETS[self.kind].stored_per_seen)

    @property
    def num_trained(self) -> int | None:
        """Images that a training sees in an epoch, validation not included; None where only the files tell.

        Splits round within every class, so there may be half an image per class more or less.

        Examples:
            >>> DatasetSpec(name="cifar10", image_size=32).num_trained
            45000
            >>> DatasetSpec(name="folder:/data/flowers", image_size=224).num_trained is None
            True
        """
        info = DATASETS[self.kind]
        kept = self.train_images or info.num_training
        if kept is None and info.num_images is not None:
            kept = info.num_images - round(self.test_fraction * info.num_images)
        return None if kept is None else kept - round(self.validation_fraction * kept)

    @property
    def num_bytes(self) -> int:
        """Bytes of the images in memory, three uint8 channels each; 0 where only the files tell how many there are.

        An upper bound where only a sample is on disk.

        Examples:
            >>> DatasetSpec(name="oxford-iiit-pet", image_size=224).num_bytes
            1444872192
        """
        if self.train_images is not None and self.test_images is not None:
            num_images = self.train_images + self.test_images
        else:
            num_images = DATASETS[self.kind].num_images or 0
        return num_images * 3 * self.stored_size**2


def dataset_spec(
    name: str, *, image_size: int | None = None, train_images: int | None = None, test_images: int | None = None
) -> DatasetSpec:
    """Returns the specification of a dataset, by default at its kind's image size and with all of its images.

    Raises:
        UnknownNameError: No dataset has this name.
        ConfigError: A value breaks its field's rule, or a URI holds credentials.

    Examples:
        >>> dataset_spec("digits").image_size
        32
        >>> dataset_spec("folder:/data/flowers", train_images=500).title
        'folder:/data/flowers at 224 px, 500 training images'
    """
    kind = _absolute_name(name).partition(":")[0]
    values = {"name": name, "image_size": image_size or DATASETS[kind].image_size}
    return parse(DatasetSpec, values | {"train_images": train_images, "test_images": test_images})


def dataset_slug(name: str) -> str:
    """Returns a short form of a dataset's name that files and sweeps can be called by.

    Examples:
        >>> dataset_slug("digits"), dataset_slug("folder:/data/my flowers"), dataset_slug("parquet:s3://b/c100/?label=y")
        ('digits', 'folder-my-flowers', 'parquet-c100')
    """
    kind, _, place = _absolute_name(name).partition(":")
    last = place.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".parquet")
    return "-".join(part for part in (kind, re.sub(r"[^\w.]+", "-", last).strip("-.")) if part)
