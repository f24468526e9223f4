"""Loads a dataset by its specification: finds its files, lists its images, and decodes them once per machine."""

import http.client
import os
import tarfile
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from search_spaces.dataset_kinds import DATASETS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError, one_line
from trainables.data.cache import cache_file, cache_folder, cached
from trainables.data.cifar10 import download_cifar10, find_cifar10
from trainables.data.decoding import raise_unreadable
from trainables.data.digits import find_digits
from trainables.data.folders import find_folder
from trainables.data.images import ImageData, make_splits, stratified_split
from trainables.data.listings import Found, Listing, choose_images, repeated
from trainables.data.mnist import find_mnist
from trainables.data.parquet import find_parquet
from trainables.data.pets import download_pets, find_pets
from trainables.data.view import view_of

MOST_READ_GB = 1.0
"""Gigabytes of files that a check reads to count images that are in both splits, where sizes of images do not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """How a kind of dataset is found in the folder of datasets, or fetched into it."""

    find: Callable[[DatasetSpec, Path], Found]
    download: Callable[[Path], None] | None = None


_KINDS = {
    "digits": _Kind(find=lambda spec, _: find_digits(spec)),
    "mnist-5k": _Kind(find=lambda spec, _: find_mnist(spec)),
    "cifar10": _Kind(find=find_cifar10, download=download_cifar10),
    "oxford-iiit-pet": _Kind(find=find_pets, download=download_pets),
    "folder": _Kind(find=lambda spec, _: find_folder(spec)),
    "parquet": _Kind(find=lambda spec, _: find_parquet(spec)),
}


def load_dataset(spec: DatasetSpec, data_dir: Path | None = None) -> ImageData:
    """Loads a dataset into memory, from the machine's cache of decoded images where there is one.

    Args:
        spec: Name, size and splits.
        data_dir: Folder of the datasets that are neither bundled nor named by their place, each in a folder of its
            name, and of the cache; `data` if None.

    Raises:
        UnavailableError: Its files are not on this machine, or some are damaged; says what to put where.
        ConfigError: Its images cannot be split as the specification asks.
    """
    root = _root(data_dir)
    found = _find(spec, root)
    build = partial(_build, spec, found)
    return cached(spec, build, sources=found.sources, folder=cache_folder(root)) if found.sources else build()


def images_to_decode(spec: DatasetSpec, data_dir: Path | None = None) -> tuple[int, Path] | None:
    """Returns how many images the first trial on this machine decodes, and the cache file that it makes of them.

    None where that file is there, where nothing is decoded, or where the files are not on this machine.
    """
    root = _root(data_dir)
    try:
        found = _find(spec, root)
        file = cache_file(spec, sources=found.sources, folder=cache_folder(root))
        if not found.sources or file.exists():
            return None
        return _count(spec, found), file
    except UnavailableError:
        return None


def class_names_of(spec: DatasetSpec, data_dir: Path | None = None) -> tuple[str, ...]:
    """Returns the names of a dataset's classes, in its order, none if it has no labels; decodes nothing.

    Raises:
        UnavailableError: Its files are not on this machine.
    """
    return _find(spec, _root(data_dir)).list_images().class_names


def count_bytes(spec: DatasetSpec, data_dir: Path | None = None) -> int:
    """Returns how many bytes the images of a dataset take once they are decoded; decodes nothing.

    Raises:
        UnavailableError: Its files are not on this machine.
        ConfigError: Its images cannot be split as the specification asks.
    """
    height, width = spec.stored_size
    return _count(spec, _find(spec, _root(data_dir))) * 3 * height * width


def count_trained(spec: DatasetSpec, data_dir: Path | None = None) -> int:
    """Returns how many images of a dataset are trained on, without those of the validation split; decodes nothing.

    Raises:
        UnavailableError: Its files are not on this machine.
        ConfigError: Its images cannot be split as the specification asks.
    """
    listing = _find(spec, _root(data_dir)).list_images()
    training_B, _ = choose_images(listing, spec)
    kept, _ = stratified_split(listing.labels_B[training_B], fraction=spec.validation_fraction, seed=spec.split_seed)
    return len(kept)


def check_available(
    spec: DatasetSpec, data_dir: Path | None = None, *, download: bool = False, needs_labels: bool = True
) -> tuple[str, ...]:
    """Makes sure that a dataset can be loaded, and returns what is to be said of it, a line each; decodes nothing.

    Args:
        spec: Name, size and splits.
        data_dir: As for `load_dataset`.
        download: Fetch its files into `data_dir` if they are not there.
        needs_labels: Whether images without labels are refused.

    Raises:
        UnavailableError: Files are missing or cannot be fetched; says what to put where.
        ConfigError: Its images cannot be split as the specification asks, lack labels, or there is nothing to download.
    """
    fetch = _KINDS[spec.kind].download
    if download and fetch is None:
        names = " and ".join(kind for kind in DATASETS if _KINDS[kind].download)
        raise ConfigError(f"{spec.name} is not a download: --download fetches {names}. Leave it out.")
    try:
        return _check(spec, data_dir, needs_labels)
    except UnavailableError as missing:
        if not download or fetch is None:
            raise
        try:
            fetch(_root(data_dir))
        # RuntimeError: a wrong checksum; OSError: no network, an error of the server, a full disk.
        except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
            if isinstance(error, urllib.error.HTTPError):
                # It holds the server's answer, and so the connection.
                error.close()
            raise UnavailableError(f"the download failed ({one_line(error)}), and {missing}") from error
        return _check(spec, data_dir, needs_labels)


def _check(spec: DatasetSpec, data_dir: Path | None, needs_labels: bool) -> tuple[str, ...]:
    found = _find(spec, _root(data_dir))
    raise_unreadable({source.path: "missing" for source in found.sources if source.is_missing}, found.hint)
    listing = found.list_images()
    if needs_labels and not listing.class_names:
        raise ConfigError(
            f"{spec.name} has images without labels, which `assess` takes and training does not: put them into a "
            "folder per class, as in cats/1.jpg and dogs/1.jpg."
        )
    training_B, test_B = choose_images(listing, spec)
    _check_memory(spec, len(training_B) + len(test_B))
    return (*found.notes, *_notes_on_repeated(spec, found, listing, training_B, test_B))


def _notes_on_repeated(
    spec: DatasetSpec, found: Found, listing: Listing, training_B: np.ndarray, test_B: np.ndarray
) -> Iterator[str]:
    """Counts training images that are test images as well, or says why they were not looked for."""
    drops = "--drop-duplicates leaves them out of training"
    skipped = f"{spec.name}: training images that are test images as well were not looked for, because"
    num_gigabytes = sum(source.num_bytes for source in found.sources) / 2**30
    if listing.sizes_B is None and not spec.drop_duplicates:
        listing = _read_at_most(listing, MOST_READ_GB)
    if listing.contents is None:
        # Datasets that are no folder or table of the user's have official splits.
        if spec.place:
            yield f"{skipped} the files are not on this machine"
    elif listing.sizes_B is None and num_gigabytes > MOST_READ_GB and not spec.drop_duplicates:
        yield f"{skipped} that reads {num_gigabytes:.1f} GB; {drops}"
    else:
        try:
            num_repeated = len(repeated(listing, training_B, test_B))
        except _TooMuchError:
            yield f"{skipped} that reads more than {MOST_READ_GB:.1f} GB; {drops}"
            return
        if num_repeated:
            yield (
                f"{spec.name}: {num_repeated} of {len(training_B)} training images are test images as well, by their "
                f"content; {drops}"
            )


class _TooMuchError(Exception):
    """The images are larger than what a check reads of them."""


def _read_at_most(listing: Listing, num_gigabytes: float) -> Listing:
    """Ends the reading of a listing's images, which may be far larger than their file: it holds equal ones once."""
    contents, left = listing.contents, num_gigabytes * 2**30
    if contents is None:
        return listing

    def read(kept_B: np.ndarray) -> Iterator[bytes | None]:
        nonlocal left
        for content in contents(kept_B):
            left -= len(content or b"")
            if left < 0:
                raise _TooMuchError
            yield content

    return replace(listing, contents=read)


def _check_memory(spec: DatasetSpec, num_images: int) -> None:
    """Raises `ConfigError` if decoded images are more than the memory of this machine."""
    height, width = spec.stored_size
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gigabytes, here = num_images * 3 * height * width / 2**30, memory / 2**30
    if gigabytes > here:
        raise ConfigError(
            f"{num_images} images of {spec.name} take {gigabytes:.0f} GB decoded at {height} x {width} pixels, and "
            f"this machine has {here:.0f}: keep fewer with --train-images and --test-images, or smaller ones with "
            "--image-size."
        )


def _count(spec: DatasetSpec, found: Found) -> int:
    """Returns the number of images that the specification takes, of all splits."""
    return sum(map(len, choose_images(found.list_images(), spec)))


def _find(spec: DatasetSpec, root: Path) -> Found:
    """Finds the files of a dataset, in the folder of datasets if they are not at its place any more."""
    return _KINDS[spec.kind].find(spec.moved_to(root) or spec, root)


def _build(spec: DatasetSpec, found: Found) -> ImageData:
    listing = found.list_images()
    training_B, test_B = choose_images(listing, spec)
    kept_B = np.sort(np.concatenate([training_B, test_B]))
    return ImageData(
        splits=make_splits(
            listing.load(kept_B),
            listing.labels_B[kept_B],
            test_B=np.searchsorted(kept_B, test_B),
            validation_fraction=spec.validation_fraction,
            seed=spec.split_seed,
        ),
        class_names=listing.class_names,
        view=view_of(spec),
    )


def _root(data_dir: Path | None) -> Path:
    return (data_dir or Path("data")).absolute()
