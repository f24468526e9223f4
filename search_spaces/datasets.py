"""Which data a sweep trains on, as a value: the plan hashes it, trainables.data.loading loads it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from search_spaces.dataset_kinds import DATASET_FORMS, DATASETS
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.model import Frozen, later_field, parse, vary
from search_spaces.names import CROP_MODES, INTERPOLATIONS, CropMode, Interpolation
from search_spaces.pixels import MEAN, STD, Channels, height_width, parse_image_size, parse_mean, parse_std
from search_spaces.uris import absolute_uri, moved_to


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


def _none_for(default: object) -> AfterValidator:
    """Makes a default that is spelled out the same value, and so the same uid, as one that is left out."""
    return AfterValidator(lambda value: None if value == default else value)


def _given(read: Callable[[object], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value is None else read(value))


ImageSize = Annotated[int | str, BeforeValidator(parse_image_size)]
"""A field's type: pixels of a square, such as 224, or height and width, such as `48x192`."""


class DatasetSpec(Frozen):
    """One dataset, what networks see of its images, and its splits."""

    # An error shows the value otherwise, and a URI may hold credentials.
    model_config = ConfigDict(hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_absolute_name)]
    """Dataset in one of `DATASET_FORMS`, its path made absolute."""
    image_size: ImageSize
    """Height and width that networks see, in pixels: 224 for a square, `48x192` for others."""
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
    mean: Annotated[Channels | None, _given(parse_mean), _none_for(MEAN)] = later_field()
    """Values that are subtracted from red, green and blue, as shares of 255, in [0, 1]; None for ImageNet's."""
    std: Annotated[Channels | None, _given(parse_std), _none_for(STD)] = later_field()
    """Values that the differences are divided by, as shares of 255, in (0, 1]; None for ImageNet's."""
    interpolation: Annotated[Interpolation | None, _none_for(INTERPOLATIONS[0])] = later_field()
    """Filter of the resizing, always antialiased as in PIL, but for `nearest`; None is `bilinear`."""
    crop: float | None = later_field(gt=0, le=1)
    """Share of the height and width of the resized image that networks see, its middle; timm's `crop_pct`, to the
    pixel. None keeps the kind's margin: 224 of 256 pixels of photographs."""
    crop_mode: Annotated[CropMode | None, _none_for(CROP_MODES[0])] = later_field()
    """How an image of another shape fits. `center`, which None is, cuts what sticks out of the middle. `squash`
    stretches the whole image. `pad` resizes it to the height, at most to the width, and fills up with the mean on the
    right, as recognizers of text lines do."""

    drop_duplicates: Annotated[bool | None, _none_for(False)] = later_field()
    """Whether training images are left out whose content is that of a test image, of folders and Parquet files."""

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if self.crop_mode == "pad" and self.crop is not None:
            raise ConfigError(f"crop={self.crop} of a padded image: crop_mode=pad shows all of it, so leave crop out")
        return self

    @property
    def kind(self) -> str:
        """The key of `DATASETS`."""
        return self.name.partition(":")[0]

    @property
    def place(self) -> str:
        """The absolute path or URI of a dataset that has one, else an empty string."""
        return self.name.partition(":")[2]

    def moved_to(self, folder: Path) -> "DatasetSpec | None":
        """Returns the dataset as it is found in a folder, if it is not at its place any more; None if it is.

        Its name, and so every uid, stays that of the plan. Whether it is the same data, its checksum says.
        None, too, if it is in neither place.
        """
        location, question_mark, query = self.place.partition("?")
        moved = moved_to(location, folder)
        return vary(self, name=f"{self.kind}:{moved}{question_mark}{query}") if moved else None

    @property
    def title(self) -> str:
        """Name and sizes for people."""
        kept = {"training": self.train_images, "test": self.test_images}
        sizes = [f", {count} {part} images" for part, count in kept.items() if count is not None]
        return f"{self.name} at {self.image_size} px" + "".join(sizes)

    @property
    def seen_size(self) -> tuple[int, int]:
        """Height and width that networks see, in pixels."""
        return height_width(self.image_size)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of the images in memory, in pixels: training crops want a margin around what networks see.

        Examples:
            >>> DatasetSpec(name="oxford-iiit-pet", image_size=224).stored_size
            (256, 256)
            >>> DatasetSpec(name="digits", image_size="48x192", crop=0.95).stored_size
            (50, 202)
        """
        height, width = (self._stored_length(seen) for seen in self.seen_size)
        return height, width

    def _stored_length(self, seen: int) -> int:
        if self.crop_mode == "pad":
            return seen
        if self.crop is None:
            return round(seen * DATASETS[self.kind].stored_per_seen)
        # An even margin, so that there is one middle.
        return seen + (math.floor(seen / self.crop) - seen) // 2 * 2

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
        kept = self._num_kept
        return None if kept is None else kept - round(self.validation_fraction * kept)

    @property
    def num_validation(self) -> int | None:
        """Images of the validation split, as `num_trained`.

        Examples:
            >>> DatasetSpec(name="cifar10", image_size=32).num_validation
            5000
        """
        kept = self._num_kept
        return None if kept is None else round(self.validation_fraction * kept)

    @property
    def _num_kept(self) -> int | None:
        """Training images, validation included."""
        info = DATASETS[self.kind]
        kept = self.train_images or info.num_training
        if kept is None and info.num_images is not None:
            kept = info.num_images - round(self.test_fraction * info.num_images)
        return kept

    @property
    def num_test_images(self) -> int | None:
        """Images of the test split; None where only the files tell.

        Examples:
            >>> DatasetSpec(name="digits", image_size=32).num_test_images
            359
        """
        info = DATASETS[self.kind]
        if self.test_images is not None or info.num_images is None:
            return self.test_images
        training = info.num_training
        return round(self.test_fraction * info.num_images) if training is None else info.num_images - training

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
        height, width = self.stored_size
        return num_images * 3 * height * width


OF_THE_DATASET = (
    *("image_size", "mean", "std", "interpolation", "crop", "crop_mode"),
    *("train_images", "test_images", "drop_duplicates"),
)
"""Fields that options of the same names set."""


def dataset_spec(
    name: str, *, image_size: int | str | None = None, train_images: int | None = None, test_images: int | None = None
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
