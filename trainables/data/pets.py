"""`oxford-iiit-pet`: Oxford-IIIT Pets in the official layout, with its official test part."""

from pathlib import Path

import numpy as np
from torchvision.datasets import OxfordIIITPet

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError
from trainables.data.cache import local_source
from trainables.data.decoding import decode_files
from trainables.data.listings import Found, Listing

PETS, PARTS = "oxford-iiit-pet", ("trainval", "test")
HINT = "Unpack the archive of the images again, or remove the lines of these images from the annotation lists."


def find_pets(spec: DatasetSpec, data_dir: Path) -> Found:
    """Finds the images that the official lists name, there or not.

    Raises:
        UnavailableError: The lists are not in `data_dir`; says what to put where.
    """
    try:
        parts = [OxfordIIITPet(data_dir, split=part, download=False) for part in PARTS]
    # RuntimeError: no folder; OSError: no list; ValueError: a line that is none of a list.
    except (RuntimeError, OSError, ValueError) as error:
        raise UnavailableError(
            f"dataset {PETS} is not in {data_dir} ({error}): launch with --download, or download images.tar.gz and "
            f"annotations.tar.gz of the Oxford-IIIT Pet dataset, unpack both in {data_dir / PETS}, and pass "
            f"--data-dir {data_dir}."
        ) from error
    lists = [data_dir / PETS / "annotations" / f"{part}.txt" for part in PARTS]
    paths = [Path(path) for part in parts for path in part._images]
    return Found(
        sources=tuple(local_source(path) for path in (*lists, *paths)),
        list_images=lambda: _list_pets(spec, parts, paths),
        hint=HINT,
    )


def download_pets(data_dir: Path) -> None:
    """Fetches images and lists into their folder, unless its archives are there already."""
    OxfordIIITPet(data_dir, download=True)


def _list_pets(spec: DatasetSpec, parts: list[OxfordIIITPet], paths: list[Path]) -> Listing:
    # The lists number all 37 breeds; a sample of some of them has gaps, and networks want classes 0, 1, ..., K - 1.
    breeds_B = np.array([label for part in parts for label in part._labels])
    breeds_K, labels_B = np.unique(breeds_B, return_inverse=True)
    if len(breeds_K) != len(parts[0].classes):
        raise UnavailableError(
            f"the lists of {PETS} do not agree: {PARTS[0]}.txt names {len(parts[0].classes)} breeds, "
            f"together with {PARTS[1]}.txt there are {len(breeds_K)}. Restore the official lists."
        )
    return Listing(
        labels_B=labels_B,
        class_names=tuple(parts[0].classes),
        num_training=len(parts[0]),
        load=lambda kept_B: decode_files([paths[position] for position in kept_B], spec, hint=HINT),
    )
