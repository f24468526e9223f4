"""Loads a dataset by its specification."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.datasets import OxfordIIITPet

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError, unknown_name
from trainables.data.cache import cache_folder, cached
from trainables.data.decoding import decode_files, raise_unreadable
from trainables.data.images import ImageData, make_splits, stratified_split

PETS, PETS_SPLITS = "oxford-iiit-pet", ("trainval", "test")


def load_dataset(spec: DatasetSpec, data_dir: Path | None = None) -> ImageData:
    """Loads a dataset into memory.

    Args:
        spec: Name, size and splits.
        data_dir: Folder of datasets that are not bundled; `oxford-iiit-pet` lies in a folder of that name in it.

    Raises:
        UnknownNameError: No dataset has this name.
        UnavailableError: Its files are not on this machine, or some are damaged; says what to put where.
    """
    loaders: dict[str, Callable[[DatasetSpec, Path | None], ImageData]] = {
        "digits": _load_digits,
        PETS: _load_pets,
    }
    if spec.name not in loaders:
        raise unknown_name("dataset", spec.name, loaders)
    return loaders[spec.name](spec, data_dir)


def check_available(spec: DatasetSpec, data_dir: Path | None = None) -> None:
    """Raises `UnavailableError` if the files of a dataset are not on this machine; decodes nothing."""
    if spec.name == PETS:
        paths = _pets_paths(_pets_parts(data_dir))
        raise_unreadable({path: "missing" for path in paths if not path.is_file()})


def _load_digits(spec: DatasetSpec, data_dir: Path | None) -> ImageData:
    """scikit-learn's 1,797 real digits: 8 x 8 gray values 0..16, upsampled, on three channels."""
    # Imported here because only this dataset needs it: a GPU machine runs the stages without scikit-learn.
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UnavailableError("the digits dataset comes with scikit-learn: pip install scikit-learn.") from error
    bundle = load_digits()
    gray_B1HW = torch.from_numpy(bundle.images).float().unsqueeze(1) * (255 / 16)
    size = (spec.image_size, spec.image_size)
    large_B1HW = F.interpolate(gray_B1HW, size=size, mode="bilinear", align_corners=False)
    images_BCHW = large_B1HW.round().to(torch.uint8).repeat(1, 3, 1, 1)
    labels_B = np.asarray(bundle.target)
    _, test_B = stratified_split(labels_B, fraction=spec.test_fraction, seed=spec.split_seed)
    return ImageData(
        splits=make_splits(
            images_BCHW,
            labels_B,
            test_B=test_B,
            validation_fraction=spec.validation_fraction,
            seed=spec.split_seed,
        ),
        class_names=tuple(str(name) for name in bundle.target_names),
        image_size=spec.image_size,
    )


def _load_pets(spec: DatasetSpec, data_dir: Path | None) -> ImageData:
    """Oxford-IIIT Pets in the official layout, with its official test split; decoded once per machine."""
    parts = _pets_parts(data_dir)
    root = _root(data_dir)
    lists = [root / PETS / "annotations" / f"{name}.txt" for name in PETS_SPLITS]
    sources = [*lists, *_pets_paths(parts)]
    return cached(spec, lambda: _decode_pets(spec, parts), sources=sources, folder=cache_folder(root))


def _decode_pets(spec: DatasetSpec, parts: list[OxfordIIITPet]) -> ImageData:
    paths = _pets_paths(parts)
    # The lists number all 37 breeds; a sample of some of them has gaps, and networks want classes 0, 1, ..., K - 1.
    breeds_B = np.array([label for part in parts for label in part._labels])
    breeds_K, labels_B = np.unique(breeds_B, return_inverse=True)
    if len(breeds_K) != len(parts[0].classes):
        raise UnavailableError(
            f"the lists of oxford-iiit-pet do not agree: {PETS_SPLITS[0]}.txt names {len(parts[0].classes)} breeds, "
            f"together with {PETS_SPLITS[1]}.txt there are {len(breeds_K)}. Restore the official lists."
        )
    return ImageData(
        splits=make_splits(
            decode_files(paths, spec.stored_size),
            labels_B,
            test_B=np.arange(len(parts[0]), len(paths)),
            validation_fraction=spec.validation_fraction,
            seed=spec.split_seed,
        ),
        class_names=tuple(parts[0].classes),
        image_size=spec.image_size,
    )


def _pets_paths(parts: list[OxfordIIITPet]) -> list[Path]:
    return [Path(path) for part in parts for path in part._images]


def _pets_parts(data_dir: Path | None) -> list[OxfordIIITPet]:
    """Finds the official training and test parts."""
    root = _root(data_dir)
    try:
        return [OxfordIIITPet(root, split=split, download=False) for split in PETS_SPLITS]
    # RuntimeError: no folder; OSError: no list; ValueError: a line that is none of a list.
    except (RuntimeError, OSError, ValueError) as error:
        raise UnavailableError(
            f"dataset oxford-iiit-pet is not in {root} ({error}): download images.tar.gz and annotations.tar.gz of "
            f"the Oxford-IIIT Pet dataset, unpack both in {root / PETS}, and pass --data-dir {root}."
        ) from error


def _root(data_dir: Path | None) -> Path:
    return (data_dir or Path("data")).absolute()
