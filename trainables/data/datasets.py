"""Loads a dataset by its specification."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.datasets import OxfordIIITPet

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError, unknown_name
from trainables.data.images import ImageData, make_splits, stratified_split

# Training crops need a margin around what evaluation sees: 256 stored pixels for 224, as is usual.
STORED_PER_SEEN = 256 / 224


def load_dataset(spec: DatasetSpec, data_dir: Path | None = None) -> ImageData:
    """Loads a dataset into memory.

    Args:
        spec: Name, size and splits.
        data_dir: Folder of datasets that are not bundled; `oxford-iiit-pet` lies in a folder of that name in it.

    Raises:
        UnknownNameError: No dataset has this name.
        UnavailableError: Its files are not on this machine; says what to put where.
    """
    loaders: dict[str, Callable[[DatasetSpec, Path | None], ImageData]] = {
        "digits": _load_digits,
        "oxford-iiit-pet": _load_pets,
    }
    if spec.name not in loaders:
        raise unknown_name("dataset", spec.name, loaders)
    return loaders[spec.name](spec, data_dir)


def check_available(spec: DatasetSpec, data_dir: Path | None = None) -> None:
    """Raises `UnavailableError` if the files of a dataset are not on this machine; decodes nothing."""
    if spec.name == "oxford-iiit-pet":
        _pets_parts(data_dir)


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
    """Oxford-IIIT Pets in the official layout, with its official test split."""
    parts = _pets_parts(data_dir)
    stored_size = round(spec.image_size * STORED_PER_SEEN)
    paths = [Path(path) for part in parts for path in part._images]
    labels_B = np.array([label for part in parts for label in part._labels])
    images_BCHW = torch.stack([_decode(path, stored_size) for path in paths])
    test_B = np.arange(len(parts[0]), len(paths))
    return ImageData(
        splits=make_splits(
            images_BCHW,
            labels_B,
            test_B=test_B,
            validation_fraction=spec.validation_fraction,
            seed=spec.split_seed,
        ),
        class_names=tuple(parts[0].classes),
        image_size=spec.image_size,
    )


def _pets_parts(data_dir: Path | None) -> list[OxfordIIITPet]:
    """Finds the official training and test parts."""
    root = (data_dir or Path("data")).absolute()
    try:
        return [OxfordIIITPet(root, split=split, download=False) for split in ("trainval", "test")]
    except RuntimeError as error:
        raise UnavailableError(
            f"dataset oxford-iiit-pet is not in {root}: download images.tar.gz and annotations.tar.gz of the "
            f"Oxford-IIIT Pet dataset, unpack both in {root / 'oxford-iiit-pet'}, and pass --data-dir {root}."
        ) from error


def _decode(path: Path, size: int) -> torch.Tensor:
    """Decodes one image, resizes its shorter side and cuts out the middle.

    PIL looks at the content, not at the name: Pets has GIF and PNG files that are called .jpg.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read as an image ({error}): replace or remove the file.") from error
    scale = size / min(rgb.size)
    rgb = rgb.resize(
        (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
    return torch.from_numpy(np.array(rgb.crop((left, top, left + size, top + size)))).permute(2, 0, 1)
