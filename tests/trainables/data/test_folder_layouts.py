"""Layouts of `folder:PATH`: splits by name, every image once, formats by content, what is left out."""

import os
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.datasets import dataset_spec
from search_spaces.errors import ConfigError, SweepError, UnavailableError
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.folders import find_folder
from trainables.data.loading import check_available, load_dataset


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def fill(folder: Path, count: int = 5, ending: str = ".png", kind: str = "PNG") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        seed = zlib.crc32(f"{folder}/{number}{ending}".encode(errors="replace"))
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{ending}", kind)


def listed(root: Path) -> tuple[tuple[str, ...], int, int | None, tuple[str, ...]]:
    """Classes, number of images, number of training images and what is said."""
    found = find_folder(dataset_spec(f"folder:{root}", image_size=8))
    listing = found.list_images()
    assert len(found.sources) == len(listing.labels_B)
    return listing.class_names, len(listing.labels_B), listing.num_training, found.notes


@pytest.mark.parametrize(
    ("training", "test"),
    [
        ("train", "valid"),
        ("train", "validation"),
        ("Train", "Test"),
        ("training", "testing"),
        ("train", "test_set"),
        ("TRAIN", "VAL"),
        ("training_set", "test-set"),
        ("train set", "eval"),
        ("train_data", "Dev"),
    ],
)
def test_folders_of_splits_are_told_by_their_names(tmp_path: Path, training: str, test: str) -> None:
    for split, count in ((training, 5), (test, 3)):
        fill(tmp_path / split / "a", count)
        fill(tmp_path / split / "b", count)
    assert listed(tmp_path) == (("a", "b"), 16, 10, ())
    data = load_dataset(dataset_spec(f"folder:{tmp_path}", image_size=8))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "validation": 2, "test": 6}


def test_a_training_part_alone_is_split(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "Training" / name)
    assert listed(tmp_path) == (("a", "b"), 10, None, ())


def test_a_class_of_trains_is_no_split(tmp_path: Path) -> None:
    for name in ("train", "car"):
        fill(tmp_path / name)
    assert listed(tmp_path)[0] == ("car", "train")


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("train", "test", "val"), "the splits are train and test; not read: val"),
        (("train", "valid", "dev"), "the splits are train and valid; not read: dev"),
        (("Train", "extra", "Val"), "the splits are Train and Val; not read: extra"),
    ],
)
def test_a_further_folder_is_said_in_one_line(tmp_path: Path, splits: tuple[str, ...], said: str) -> None:
    for split in splits:
        for name in "ab":
            fill(tmp_path / split / name)
    spec = dataset_spec(f"folder:{tmp_path}", image_size=8)
    assert check_available(spec) == (f"{tmp_path}: {said}",)


def nested(root: Path, *names: str) -> None:
    for name in names:
        for label in "ab":
            fill(root / name / label)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: nested(root, "day", "night"), "day holds folders and no image"),
        (lambda root: nested(root, "data/train", "data/test"), "data holds folders and no image"),
        (lambda root: nested(root, "train/images", "test/images"), "train/images holds folders and no image"),
        (lambda root: nested(root, "val", "test"), "test holds folders and no image"),
        (lambda root: nested(root, "train", "Train", "test"), "may both be one split"),
        (lambda root: nested(root, "train", "test", "Test_Set"), "may both be one split"),
    ],
)
def test_another_layout_is_refused_with_the_names_that_are_known(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=said) as refusal:
        listed(tmp_path)
    assert "may both" in said or "train, training and test, testing, val" in str(refusal.value)


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "add",
    [
        lambda root: link(root / "a" / "self", "."),
        lambda root: link(root / "a" / "up", ".."),
        lambda root: link(root / "a" / "other", "../b"),
        lambda root: link(root / "a" / "deep" / "back", ".."),
        lambda root: link(root / "b" / "again.png", "0.png"),
        lambda root: fill(root / "a" / ".ipynb_checkpoints"),
        lambda root: fill(root / "a" / "more" / "__MACOSX"),
        lambda root: fill(root / "b" / "@eaDir" / "0.png"),
        lambda root: fill(root / "__MACOSX" / "a"),
        lambda root: (root / "a" / "._0.png").write_bytes((root / "a" / "0.png").read_bytes()),
    ],
)
def test_every_image_is_found_once(tmp_path: Path, add: Callable[[Path], object]) -> None:
    for name in "ab":
        fill(tmp_path / name)
    before = find_folder(dataset_spec(f"folder:{tmp_path}", image_size=8)).sources
    add(tmp_path)
    assert listed(tmp_path) == (("a", "b"), 10, None, ())
    # Not listed twice, so that the cache of decoded images stays valid.
    assert find_folder(dataset_spec(f"folder:{tmp_path}", image_size=8)).sources == before


def test_links_to_what_lies_elsewhere_are_followed_once(tmp_path: Path) -> None:
    pool, root = tmp_path / "pool", tmp_path / "root"
    for name in "abc":
        fill(pool / name)
    link(root / "a", pool / "a")
    link(root / "b" / "one.png", pool / "b" / "1.png")
    link(root / "b" / "two", pool / "b")
    link(root / "b" / "two again", pool / "b")
    assert listed(root) == (("a", "b"), 10, None, ())


def test_a_class_that_is_a_link_to_another_one_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "b")
    link(tmp_path / "a", "b")
    with pytest.raises(ConfigError, match="a is a link to what is read without it"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".jfif", "JPEG"), (".JPE", "JPEG"), ("", "PNG"), (".dat", "WEBP"), (".jp2", "JPEG2000"), (".dib", "BMP")],
)
def test_images_are_told_by_their_content(tmp_path: Path, ending: str, kind: str) -> None:
    for name in "ab":
        fill(tmp_path / name, 5)
        fill(tmp_path / name, 20, ending or ".", kind)
    assert listed(tmp_path)[:2] == (("a", "b"), 50)
    data = load_dataset(dataset_spec(f"folder:{tmp_path}", image_size=8))
    assert sum(map(len, data.splits.values())) == 50


def test_what_is_left_out_is_counted_and_said_once(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / name)
        (tmp_path / name / "labels.txt").write_text("a cat")
        (tmp_path / name / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        (tmp_path / name / "LICENSE").write_bytes(os.urandom(100))
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "index.csv").write_text("a,b")
    (said,) = listed(tmp_path)[3]
    assert said.startswith(f"{tmp_path}: 8 files are left out")
    assert all(part in said for part in ("2 of .txt", "2 of .eps", "2 of no ending", "1 of .csv", "1 of .png"))


def test_a_link_to_nothing_is_an_image_that_is_missing(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / name)
    link(tmp_path / "a" / "gone.png", "nowhere.png")
    with pytest.raises(UnavailableError, match=r"gone.png \(missing"):
        check_available(dataset_spec(f"folder:{tmp_path}", image_size=8))


@pytest.mark.parametrize("name", ["Café", "北京", "naïve", "Ångström"])
def test_a_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path, name: str) -> None:
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    for split, form in zip(("train", "test"), forms, strict=True):
        fill(tmp_path / split / form)
        fill(tmp_path / split / "b")
    assert set(listed(tmp_path)[0]) == {forms[0], "b"}


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff", b"a\xed\xa0\x80"])
def test_a_class_whose_name_is_no_utf8_is_refused_in_one_line(tmp_path: Path, name: bytes) -> None:
    fill(tmp_path / "b")
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    fill(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    with pytest.raises(SweepError, match="no UTF-8") as refusal:
        listed(tmp_path)
    assert str(refusal.value).encode()
    assert "\n" not in str(refusal.value)


def test_a_place_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match="no UTF-8"):
        dataset_spec("folder:/data/" + os.fsdecode(b"caf\xe9"))
