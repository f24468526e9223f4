"""`cifar10`: 60,000 images of 32 x 32 pixels, as Parquet files or as the binary version of the official archive.

The archive's Python version is a pickle, which could run any code, so it is never read.
"""

from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.utils import download_and_extract_archive

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError
from trainables.data.cache import local_source
from trainables.data.decoding import framed
from trainables.data.listings import Found, Listing
from trainables.data.parquet import find_table, found_table

# B = images, C H W = image.

CIFAR10 = "cifar10"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE_FOLDER = "cifar-10-batches-bin"
TRAINING_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
SIZE = 32
RECORD_BYTES = 1 + 3 * SIZE * SIZE
"""Size of a record: a label, then the red, the green and the blue plane."""


def find_cifar10(spec: DatasetSpec, data_dir: Path) -> Found:
    """Finds train*.parquet and test*.parquet in the folder `cifar10` of the data, else the archive's binary files.

    Raises:
        UnavailableError: Neither is there; says what to put where.
        ConfigError: There are Parquet files of one part only.
    """
    root = data_dir / CIFAR10
    if any(root.glob("*.parquet")):
        table = find_table(pafs.LocalFileSystem(), str(root), {})
        if table.num_training_files is None:
            raise ConfigError(f"{root} holds train*.parquet and no test*.parquet: CIFAR-10 has an official test part.")
        return found_table(table, spec, class_names=CLASS_NAMES)
    paths = [root / ARCHIVE_FOLDER / name for name in (*TRAINING_FILES, TEST_FILE)]
    if not any(path.exists() for path in paths):
        raise UnavailableError(
            f"dataset {CIFAR10} is not in {root}: launch with --download, or put train.parquet and test.parquet there, "
            f"or unpack {ARCHIVE_URL} there, and pass --data-dir {data_dir}."
        )
    return Found(
        sources=tuple(local_source(path) for path in paths),
        list_images=lambda: _list_binary(spec, paths),
        hint=f"Unpack {ARCHIVE_URL} in {root} again, or launch with --download.",
    )


def download_cifar10(data_dir: Path) -> None:
    """Fetches the binary archive and unpacks it; an archive that is there and whole is not fetched again."""
    download_and_extract_archive(ARCHIVE_URL, str(data_dir / CIFAR10), md5=ARCHIVE_MD5)


def _list_binary(spec: DatasetSpec, paths: list[Path]) -> Listing:
    files = [_read_records(path) for path in paths]
    records = np.concatenate(files)
    labels_B = records[:, 0].astype(np.int64)
    images_BCHW = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return Listing(
        labels_B=labels_B,
        class_names=CLASS_NAMES,
        num_training=len(records) - len(files[-1]),
        load=lambda kept_B: _resized(images_BCHW[kept_B], spec),
    )


def _read_records(path: Path) -> np.ndarray:
    """Returns the records of one file, (B, 3073) uint8."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read ({error}): unpack {ARCHIVE_URL} again.") from error
    if not len(content) or len(content) % RECORD_BYTES or content[::RECORD_BYTES].max() >= len(CLASS_NAMES):
        raise UnavailableError(
            f"{path} is no file of CIFAR-10: its {len(content)} bytes are not records of {RECORD_BYTES}, each "
            f"beginning with a label 0..9. Unpack {ARCHIVE_URL} again."
        )
    return content.reshape(-1, RECORD_BYTES)


def _resized(images_BCHW: np.ndarray, spec: DatasetSpec) -> Tensor:
    if spec.stored_size == (SIZE, SIZE) and spec.crop is None:
        return torch.from_numpy(images_BCHW)
    images = (Image.fromarray(image_CHW.transpose(1, 2, 0)) for image_CHW in images_BCHW)
    return torch.stack([framed(image, spec, spec.stored_size) for image in images])
