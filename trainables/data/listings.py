"""A dataset before it is decoded: which image is of which class, and which ones a specification chooses of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from unicodedata import normalize

import numpy as np
from torch import Tensor

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError
from trainables.data.cache import Source
from trainables.data.images import stratified_split, stratified_subset

# B = images, K = classes.


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """All images of a dataset: those of the official training part first, then those of the test part."""

    labels_B: np.ndarray
    """Classes, integers in [0, K); 0 of images without labels."""
    class_names: tuple[str, ...]
    """Without any if the images have no labels."""
    num_training: int | None
    """Size of the official training part; None if the dataset has no test part of its own."""
    load: Callable[[np.ndarray], Tensor]
    """Function from ascending positions to the uint8 images there, all of one size."""
    contents: Callable[[np.ndarray], Iterable[bytes | None]] | None = None
    """Function from ascending positions to the encoded images there; None where reading them again takes too long."""
    sizes_B: np.ndarray | None = None
    """Bytes of the encoded images, where they are known without reading them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A dataset's files. They are listed, which may take reading them, only when no cache file stands for them."""

    sources: tuple[Source, ...]
    """Files that the images are read from; empty for a dataset that is not worth a cache file."""
    list_images: Callable[[], Listing]
    hint: str = ""
    """Advice for a source that is missing or damaged."""
    notes: tuple[str, ...] = ()
    """What of it is not read, a line each."""


def choose_images(listing: Listing, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the images that a specification asks for.

    Returns:
        Positions of the training images, validation included, and of the test images, each ascending.

    Raises:
        ConfigError: There is only one class, a class has too few images to be split, or there are fewer images than
            asked for.
    """
    _check_classes(listing, spec)
    labels_B = listing.labels_B
    if listing.num_training is None:
        training_B, test_B = stratified_split(labels_B, fraction=spec.test_fraction, seed=spec.split_seed)
    else:
        training_B, test_B = np.split(np.arange(len(labels_B)), [listing.num_training])
    if spec.drop_duplicates:
        if listing.contents is None:
            raise ConfigError(f"drop_duplicates reads folders and local Parquet files, not {spec.name}: leave it out.")
        training_B = np.setdiff1d(training_B, repeated(listing, training_B, test_B))
        _check_left(listing, training_B, spec)
    # One image of every class for training and one for validation; a test part may do without a class.
    training_B = _subset(listing, training_B, "train_images", count=spec.train_images, least=2, spec=spec)
    return training_B, _subset(listing, test_B, "test_images", count=spec.test_images, least=0, spec=spec)


def repeated(listing: Listing, training_B: np.ndarray, test_B: np.ndarray) -> np.ndarray:
    """Returns the positions of the training images whose content is that of a test image, ascending."""
    if listing.contents is None:
        return training_B[:0]
    if listing.sizes_B is not None:
        sizes_B = listing.sizes_B
        # Only images of one size can be one image.
        training_B, test_B = (
            some_B[np.isin(sizes_B[some_B], sizes_B[others_B])]
            for some_B, others_B in ((training_B, test_B), (test_B, training_B))
        )
    tested = set(_digests(listing.contents(test_B)))
    is_tested = [digest is not None and digest in tested for digest in _digests(listing.contents(training_B))]
    return training_B[np.array(is_tested, dtype=bool)]


def _digests(contents: Iterable[bytes | None]) -> Iterator[bytes | None]:
    return (None if content is None else hashlib.sha256(content).digest() for content in contents)


def _check_left(listing: Listing, training_B: np.ndarray, spec: DatasetSpec) -> None:
    counts_K = np.bincount(listing.labels_B[training_B], minlength=max(1, len(listing.class_names)))
    if counts_K.min() < 2:
        name = listing.class_names[int(counts_K.argmin())] if listing.class_names else "images"
        raise ConfigError(
            f"{spec.name} has {counts_K.min()} training images of {name!r} that are no test images as well: training "
            "and validation need at least 2. Add images, or leave drop_duplicates out."
        )


def without_gaps(spec: DatasetSpec, labels_B: np.ndarray, *, num_training: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Numbers classes 0, 1, ..., K - 1, as networks want them: a sample of a dataset may lack some of its classes.

    Args:
        spec: The dataset, for the error.
        labels_B: Integers or strings.
        num_training: Size of the official training part, which comes first.

    Returns:
        The labels that occur, ascending, and the number of every image's label among them.

    Raises:
        ConfigError: The test part has a class that nothing is trained on.
    """
    if labels_B.dtype.kind == "U":
        # One name has several forms in Unicode, and systems of files prefer different ones.
        labels_B = np.array([normalize("NFC", name) for name in labels_B.tolist()], dtype=np.str_)
    present_K, numbers_B = np.unique(labels_B, return_inverse=True)
    untrained = np.setdiff1d(labels_B, labels_B[:num_training])
    if len(untrained):
        raise ConfigError(
            f"{spec.name} has test images of class {untrained[0]!s} and no training images of it: every class of the "
            "test part must be in the training part."
        )
    return present_K, numbers_B


def _check_classes(listing: Listing, spec: DatasetSpec) -> None:
    names = listing.class_names
    if len(names) == 1:
        raise ConfigError(
            f"{spec.name} has images of one class only, {names[0]!r}: a classifier needs at least two classes: add "
            "another."
        )
    counts_K = np.bincount(listing.labels_B[: listing.num_training], minlength=max(1, len(names)))
    least = 3 if listing.num_training is None else 2
    rare = np.flatnonzero(counts_K < least)
    if len(rare):
        more = f" and of {len(rare) - 1} more" if len(rare) > 1 else ""
        splits = "training, validation and test" if least == 3 else "training and validation"
        if not names:
            raise ConfigError(
                f"{spec.name} has too few images ({counts_K[0]}): {splits} need at least {least}. Add some."
            )
        raise ConfigError(
            f"{spec.name} has too few images of class {names[rare[0]]!r} ({counts_K[rare[0]]}){more}: {splits} need "
            f"at least {least} of every class. Add images, or leave the class out."
        )


def _subset(
    listing: Listing, positions_B: np.ndarray, field: str, *, count: int | None, least: int, spec: DatasetSpec
) -> np.ndarray:
    if count is None:
        return positions_B
    fewest = max(1, least * max(1, len(listing.class_names)))
    if not fewest <= count <= len(positions_B):
        needs = f" (its {len(listing.class_names)} classes need {least} each)" if least else ""
        raise ConfigError(
            f"{field}={count} cannot be kept of {spec.name}: choose {fewest}{needs} to {len(positions_B)} (all it has)."
        )
    labels_B = listing.labels_B[positions_B]
    return positions_B[stratified_subset(labels_B, count=count, least=least, seed=spec.split_seed)]
