"""`folder:PATH`: one folder of images per class, as torchvision's ImageFolder reads them, or images without labels."""

from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError
from trainables.data.cache import local_source
from trainables.data.decoding import decode_files
from trainables.data.listings import Found, Listing, without_gaps

EXTENSIONS = (*IMG_EXTENSIONS, ".gif")
TRAINING_FOLDER, TEST_FOLDERS = "train", ("test", "val")
NO_CLASS = ""
"""Stands for the class of an image that lies in no folder of a class."""
HINT = "Replace these files, or remove them."


def find_folder(spec: DatasetSpec) -> Found:
    """Finds the images under a folder: `train/` and `test/` (or `val/`) if both are there, else one part.

    Images that lie there directly, without any folder of a class, have no labels.

    Raises:
        UnavailableError: There is no such folder.
        ConfigError: It holds no images, or a class folder of training images holds none.
    """
    root = Path(spec.place)
    if not root.is_dir():
        raise UnavailableError(f"{root} is no folder on this machine: name one that holds a folder per class.")
    try:
        parts = [_images(part) for part in _parts(root)]
    except OSError as error:
        raise UnavailableError(f"{root} cannot be read ({error}): allow reading it, or copy it.") from error
    paths = [path for part in parts for path, _ in part]
    names = [name for part in parts for _, name in part]
    num_training = len(parts[0]) if len(parts) == 2 else None
    if NO_CLASS in names and len(set(names)) > 1:
        raise ConfigError(f"{root} has one part with folders of classes and one without: give both the same layout.")

    def list_images() -> Listing:
        names_K, labels_B = without_gaps(spec, np.array(names), num_training=num_training)
        return Listing(
            labels_B=labels_B,
            class_names=tuple(str(name) for name in names_K if name != NO_CLASS),
            num_training=num_training,
            load=lambda kept_B: decode_files([paths[position] for position in kept_B], spec, hint=HINT),
        )

    # The folder within the dataset, because it says class and part.
    sources = tuple(local_source(path, str(path.parent.relative_to(root))) for path in paths)
    return Found(sources=sources, list_images=list_images, hint=HINT)


def _parts(root: Path) -> list[Path]:
    """Returns the folders of the official training and test part, or the one folder that is neither."""
    training, test = root / TRAINING_FOLDER, [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
    return [training, test[0]] if test and training.is_dir() else [root]


def _images(part: Path) -> list[tuple[Path, str]]:
    """Returns the images of a part and their classes, by class and path."""
    names = sorted(each.name for each in part.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not names and (alone := _without_labels(part)):
        return alone
    numbers = {name: number for number, name in enumerate(names)}
    found = make_dataset(str(part), numbers, EXTENSIONS, allow_empty=True) if names else []
    empty = set(names) - {names[number] for _, number in found}
    if not found or empty:
        where = part / min(empty) if found else part
        layout = "" if found else "; it takes a folder per class, as in cats/1.jpg and dogs/1.jpg"
        raise ConfigError(f"folder {where} holds no image ({', '.join(EXTENSIONS)}){layout}. Add some, or remove it.")
    return [(Path(path), names[number]) for path, number in found]


def _without_labels(part: Path) -> list[tuple[Path, str]]:
    """Returns the images that lie directly in a folder, by path."""
    files = (each for each in part.iterdir() if each.is_file() and not each.name.startswith("."))
    return [(path, NO_CLASS) for path in sorted(files) if path.suffix.lower() in EXTENSIONS]
