"""`folder:PATH`: a folder of images per class, maybe in folders of splits, or images without labels.

Images are found once each, in the order of torchvision's ImageFolder. Hidden names are skipped at every depth, and a
link is followed unless what it leads to is found without it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError
from trainables.data.cache import local_source
from trainables.data.decoding import decode_files, is_image
from trainables.data.listings import Found, Listing, without_gaps

EXTENSIONS = (*IMG_EXTENSIONS, ".gif")
"""Endings of files that are images without a look at them, so that a damaged one is no file that is left out."""
TRAINING, TESTS = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev", "eval")
"""Names of folders of splits; of several test splits the first one here counts."""
_SPLIT = re.compile(rf"({'|'.join((*TRAINING, *TESTS))})([ _-]?(set|split|data))?", re.IGNORECASE)
SPLIT_NAMES = f"{', '.join(TRAINING)} and {', '.join(TESTS)}, in any case, also as in test_set"
_HIDDEN = ("__MACOSX", "@eaDir")
"""What systems put beside images, besides names that begin with a dot."""
NO_CLASS = ""
"""Stands for the class of an image that lies in no folder of a class."""
HINT = "Replace these files, or remove them."


@dataclass
class _Search:
    """What is found of a part of a dataset: files, and links that wait until everything else is found."""

    files: dict[Path, str] = field(default_factory=dict)
    """Classes of images, by path."""
    links: list[tuple[Path, str]] = field(default_factory=list)
    found: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode of every folder and image."""
    others: list[Path] = field(default_factory=list)
    """Files that are no images."""

    def walk(self, folder: Path, name: str, *, is_linked: bool = False) -> None:
        """Finds the images in and below a folder, all of one class; behind a link only those that are new.

        Two names of one file on the disk, without a link, are two images.
        """
        identity = _identity(folder)
        if is_linked and identity in self.found:
            return
        self.found.add(identity)
        for path in _entries(folder):
            if path.is_symlink():
                self.links.append((path, name))
            elif path.is_dir():
                self.walk(path, name, is_linked=is_linked)
            elif not (is_linked and _identity(path) in self.found):
                self.take(path, name)

    def take(self, path: Path, name: str) -> None:
        """Finds one file."""
        if _is_read(path):
            self.files[path] = name
            if path.exists():
                self.found.add(_identity(path))
        else:
            self.others.append(path)

    def follow_links(self) -> None:
        """Follows the links that lead to something new, and not to a folder that holds them."""
        while self.links:
            path, name = self.links.pop(0)
            if path.is_dir() and path.resolve() not in (path.parent.resolve(), *path.parent.resolve().parents):
                self.walk(path, name, is_linked=True)
            elif not path.exists() or (path.is_file() and _identity(path) not in self.found):
                self.take(path, name)


def find_folder(spec: DatasetSpec) -> Found:
    """Finds the images under a folder: those of a training and a test part if it has folders of splits, else one part.

    Images that lie there directly, without any folder of a class, have no labels.

    Raises:
        UnavailableError: There is no such folder.
        ConfigError: It holds no images, a class folder holds none of its own, or the layout is another one.
    """
    root = Path(spec.place)
    if not root.is_dir():
        raise UnavailableError(f"{root} is no folder on this machine: name one that holds a folder per class.")
    search = _Search()
    try:
        parts, unused = _parts(root)
        searched = [_images(part, search) for part in parts]
    except OSError as error:
        raise UnavailableError(f"{root} cannot be read ({error}): allow reading it, or copy it.") from error
    found = [each for part in searched for each in part]
    paths, names = [path for path, _ in found], [name for _, name in found]
    num_training = len(searched[0]) if len(searched) == 2 else None
    if NO_CLASS in names and len(set(names)) > 1:
        raise ConfigError(f"{root} has one part with folders of classes and one without: give both the same layout.")

    def list_images() -> Listing:
        names_K, labels_B = without_gaps(spec, np.array(names), num_training=num_training)
        return Listing(
            labels_B=labels_B,
            class_names=tuple(str(name) for name in names_K if name != NO_CLASS),
            num_training=num_training,
            load=lambda kept_B: decode_files([paths[position] for position in kept_B], spec, hint=HINT),
            contents=lambda kept_B: (_content(paths[position]) for position in kept_B),
            sizes_B=np.array([source.num_bytes for source in sources]),
        )

    # The folder within the dataset, because it says class and part.
    sources = tuple(local_source(path, normalize("NFC", str(path.parent.relative_to(root)))) for path in paths)
    return Found(sources=sources, list_images=list_images, hint=HINT, notes=_notes(root, parts, unused, search.others))


def _parts(root: Path) -> tuple[list[Path], list[Path]]:
    """Returns the folders of the training and the test part, or one that is neither; and folders that are not read."""
    folders = [path for path in _entries(root) if path.is_dir()]
    known = {path: split[1].lower() for path in folders if (split := _SPLIT.fullmatch(path.name))}
    training = [path for path, name in known.items() if name in TRAINING]
    tests = sorted((path for path, name in known.items() if name in TESTS), key=lambda path: TESTS.index(known[path]))
    # Without a test part, `train` may as well be a class, of vehicles.
    if not training or not (tests or _holds_folders_only(training[0])):
        return [root], []
    rival = next((two for two in (training, [each for each in tests if known[each] == known[tests[0]]]) if two[1:]), [])
    if rival:
        raise ConfigError(f"{root} has {rival[0].name} and {rival[1].name}, which may both be one split: rename one.")
    parts = [training[0], *tests[:1]]
    return parts, [path for path in folders if path not in parts]


def _images(part: Path, search: _Search) -> list[tuple[Path, str]]:
    """Returns the images of a part and their classes, by class and path."""
    classes = [path for path in _entries(part) if path.is_dir()]
    before = set(search.files)
    if not classes:
        for path in _entries(part):
            search.take(path, NO_CLASS)
    else:
        search.others += [path for path in _entries(part) if not path.is_dir()]
    for path in classes:
        name = _class_name(path)
        if path.is_symlink():
            search.links.append((path, name))
        else:
            search.walk(path, name)
    search.follow_links()
    found = {path: name for path, name in search.files.items() if path not in before}
    filled = {image.relative_to(part).parts[0] for image in found}
    empty = [path for path in classes if path.name not in filled]
    nested = next((path for path in classes if _holds_folders_only(path)), None)
    if nested and nested not in empty:
        raise ConfigError(
            f"folder {nested} holds folders and no image, so it is no class: put the images of a class into its "
            f"folder, or name the folder above the classes. Folders of splits are called {SPLIT_NAMES}."
        )
    if not found or empty:
        where = min(empty) if found else part
        if where.is_symlink() and where != part:
            raise ConfigError(f"folder {where} is a link to what is read without it: remove it, or what it leads to.")
        layout = "" if found else "; it takes a folder per class, as in cats/1.jpg and dogs/1.jpg"
        raise ConfigError(f"folder {where} holds no image ({', '.join(EXTENSIONS)}){layout}. Add some, or remove it.")
    return sorted(found.items(), key=lambda each: (each[1], str(each[0].parent), each[0].name))


def _entries(folder: Path) -> list[Path]:
    """Returns what lies in a folder, by name, without what is hidden."""
    return sorted(path for path in folder.iterdir() if path.name not in _HIDDEN and not path.name.startswith("."))


def _holds_folders_only(folder: Path) -> bool:
    inside = _entries(folder)
    return any(path.is_dir() for path in inside) and not any(map(_is_read, inside))


def _is_read(path: Path) -> bool:
    """Tells whether a file is an image; a link to nothing that is called like one is an image that is missing."""
    if path.exists() and not path.is_file():
        # A pipe would never end.
        return False
    return path.suffix.lower() in EXTENSIONS or is_image(path)


def _class_name(folder: Path) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"folder {folder} has a name that is no UTF-8, so it can be no class: rename it.") from None
    return normalize("NFC", folder.name)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _notes(root: Path, parts: Sequence[Path], unused: Iterable[Path], others: Sequence[Path]) -> tuple[str, ...]:
    """Says what of a folder is not read."""
    notes = []
    if left := [path.name for path in unused]:
        read = " and ".join(path.name for path in parts)
        notes.append(f"{root}: the splits are {read}; not read: {', '.join(left)}")
    if others:
        kinds = Counter(path.suffix.lower() or "no ending" for path in others).most_common(5)
        counts = ", ".join(f"{count} of {kind}" for kind, count in kinds)
        verb = "file is" if len(others) == 1 else "files are"
        notes.append(f"{root}: {len(others)} {verb} left out, no images that can be read or in no class: {counts}")
    return tuple(notes)
