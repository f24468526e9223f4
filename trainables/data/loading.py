"""Loads a dataset by its specification: finds its files, lists its images, and decodes them once per machine."""

import http.client
import tarfile
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from search_spaces.dataset_kinds import DATASETS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError, one_line
from trainables.data.cache import cache_folder, cached
from trainables.data.cifar10 import download_cifar10, find_cifar10
from trainables.data.decoding import raise_unreadable
from trainables.data.digits import find_digits
from trainables.data.folders import find_folder
from trainables.data.images import ImageData, make_splits, stratified_split
from trainables.data.listings import Found, choose_images
from trainables.data.mnist import find_mnist
from trainables.data.parquet import find_parquet
from trainables.data.pets import download_pets, find_pets
from trainables.data.view import view_of


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
    found = _KINDS[spec.kind].find(spec, root)
    build = partial(_build, spec, found)
    return cached(spec, build, sources=found.sources, folder=cache_folder(root)) if found.sources else build()


def class_names_of(spec: DatasetSpec, data_dir: Path | None = None) -> tuple[str, ...]:
    """Returns the names of a dataset's classes, in its order, none if it has no labels; decodes nothing.

    Raises:
        UnavailableError: Its files are not on this machine.
    """
    return _KINDS[spec.kind].find(spec, _root(data_dir)).list_images().class_names


def count_trained(spec: DatasetSpec, data_dir: Path | None = None) -> int:
    """Returns how many images of a dataset are trained on, without those of the validation split; decodes nothing.

    Raises:
        UnavailableError: Its files are not on this machine.
        ConfigError: Its images cannot be split as the specification asks.
    """
    listing = _KINDS[spec.kind].find(spec, _root(data_dir)).list_images()
    training_B, _ = choose_images(listing, spec)
    kept, _ = stratified_split(listing.labels_B[training_B], fraction=spec.validation_fraction, seed=spec.split_seed)
    return len(kept)


def check_available(
    spec: DatasetSpec, data_dir: Path | None = None, *, download: bool = False, needs_labels: bool = True
) -> None:
    """Makes sure that a dataset can be loaded; decodes nothing.

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
        _check(spec, data_dir, needs_labels)
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
        _check(spec, data_dir, needs_labels)


def _check(spec: DatasetSpec, data_dir: Path | None, needs_labels: bool) -> None:
    found = _KINDS[spec.kind].find(spec, _root(data_dir))
    raise_unreadable({source.path: "missing" for source in found.sources if source.is_missing}, found.hint)
    listing = found.list_images()
    if needs_labels and not listing.class_names:
        raise ConfigError(
            f"{spec.name} has images without labels, which `assess` takes and training does not: put them into a "
            "folder per class, as in cats/1.jpg and dogs/1.jpg."
        )
    choose_images(listing, spec)


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
