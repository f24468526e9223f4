"""`folder:PATH`: class folders, with or without official parts."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError, SweepError, UnavailableError
from tests.trainables.data.squares import decode_square
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.loading import check_available, load_dataset


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with six images each, of different sizes."""
    root = tmp_path / "zoo"
    add_class(root / "cat", 6)
    add_class(root / "ant", 6)
    return root


def add_class(folder: Path, count: int, size: tuple[int, int] = (50, 40)) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng([ord(folder.name[0]), number]).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def spec_of(root: Path, image_size: int = 28, **sizes: int) -> DatasetSpec:
    return dataset_spec(f"folder:{root}", image_size=image_size, **sizes)


def test_classes_and_labels_are_those_of_torchvision(root: Path) -> None:
    peer = ImageFolder(str(root))
    data = load_dataset(spec_of(root))
    assert data.class_names == tuple(peer.classes) == ("ant", "cat")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "validation": 2, "test": 2}
    for split in data.splits.values():
        for image_CHW, label, image_id in zip(split.images_BCHW, split.labels_B, split.image_ids_B, strict=True):
            path, expected = peer.samples[int(image_id)]
            assert (int(label), image_CHW.equal(decode_square(Path(path), 32))) == (expected, True)


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_folders_of_parts_are_the_official_splits(tmp_path: Path, test_folder: str) -> None:
    for part, count in (("train", 6), (test_folder, 3)):
        for name in ("ant", "cat"):
            add_class(tmp_path / "zoo" / part / name, count)
    data = load_dataset(spec_of(tmp_path / "zoo"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "validation": 2, "test": 6}
    assert data.splits["test"].image_ids_B.tolist() == list(range(12, 18))


def test_images_of_exactly_the_size_are_stored_as_they_are(tmp_path: Path) -> None:
    for name in ("ant", "cat"):
        add_class(tmp_path / "zoo" / name, 5, size=(28, 28))
    assert load_dataset(spec_of(tmp_path / "zoo")).splits["test"].images_BCHW.shape[1:] == (3, 28, 28)
    add_class(tmp_path / "zoo" / "cow", 5, size=(28, 29))
    assert load_dataset(spec_of(tmp_path / "zoo")).splits["test"].images_BCHW.shape[1:] == (3, 32, 32)


def test_moving_an_image_to_the_other_part_makes_another_cache(tmp_path: Path) -> None:
    root = tmp_path / "zoo"
    for part in ("train", "test"):
        for name in ("ant", "cat"):
            add_class(root / part / name, 4)
    for number in range(4):
        (root / "test" / "ant" / f"{number}.png").rename(root / "test" / "ant" / f"9{number}.png")
    assert len(load_dataset(spec_of(root)).splits["test"]) == 8
    # The list of names, sizes and times stays as it was; only the part changes.
    (root / "train" / "cat" / "3.png").rename(root / "test" / "ant" / "3.png")
    assert len(load_dataset(spec_of(root)).splits["test"]) == 9


def test_cache_of_a_folder_is_opened_without_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(spec_of(root))
    monkeypatch.delattr("trainables.data.folders.decode_files")
    assert load_dataset(spec_of(root)).sha256() == first.computed_sha256()


def test_a_subset_decodes_no_image_that_it_leaves_out(root: Path) -> None:
    kept = load_dataset(spec_of(root, train_images=4, test_images=2))
    assert {name: len(split) for name, split in kept.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    used = {image.numpy().tobytes() for split in kept.splits.values() for image in split.images_BCHW}
    for path in root.rglob("*.png"):
        if decode_square(path, 32).numpy().tobytes() not in used:
            path.write_bytes(b"damaged")
    assert len(load_dataset(spec_of(root, train_images=4, test_images=2)).splits["test"]) == 2
    with pytest.raises(UnavailableError, match="6 images cannot be read"):
        load_dataset(spec_of(root))


def make_empty(root: Path) -> None:
    shutil.rmtree(root)
    (root / "cat").mkdir(parents=True)


def make_test_class(root: Path) -> None:
    for name in ("ant", "cat"):
        add_class(root / "train" / name, 3)
    add_class(root / "test" / "cow", 3)


def mix_layouts(root: Path) -> None:
    add_class(root / "train" / "ant", 3)
    add_class(root / "test", 3)


def leave_few(root: Path) -> None:
    shutil.rmtree(root)
    add_class(root, 2)


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], type[SweepError], str]] = {
    "no folder": (shutil.rmtree, UnavailableError, "zoo is no folder on this machine"),
    "no image": (make_empty, ConfigError, "zoo holds no image .* a folder per class, as in cats/1.jpg"),
    "empty class": (lambda root: (root / "bee").mkdir(), ConfigError, "zoo/bee holds no image .* remove it"),
    "one class": (lambda root: shutil.rmtree(root / "cat"), ConfigError, "images of one class only, 'ant': a class"),
    "rare class": (
        lambda root: add_class(root / "bee", 2),
        ConfigError,
        r"too few images of class 'bee' \(2\): training, validation and test need at least 3",
    ),
    "two layouts": (mix_layouts, ConfigError, "one part with folders of classes and one without: give both the same"),
    "few images": (leave_few, ConfigError, r"too few images \(2\): training, validation and test need at least 3"),
    "class to test only": (make_test_class, ConfigError, "test images of class cow and no training images of it"),
}


@pytest.mark.parametrize(("damage", "kind", "message"), BAD_FOLDERS.values(), ids=list(BAD_FOLDERS))
def test_bad_folder_is_one_line_before_anything_is_decoded(
    root: Path, damage: Callable[[Path], object], kind: type[SweepError], message: str
) -> None:
    spec = spec_of(root)
    check_available(spec)
    damage(root)
    for check in (partial(check_available, needs_labels=False), load_dataset):
        with pytest.raises(kind, match=message) as caught:
            check(spec)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parts", [(), ("train", "val")])
def test_images_in_no_folder_of_a_class_have_no_labels(tmp_path: Path, parts: tuple[str, ...]) -> None:
    root = tmp_path / "zoo"
    for part in parts or ("",):
        add_class(root / part, 10)
    (root / "notes.txt").write_text("no image")
    spec = spec_of(root)
    for _ in range(2):
        # Decoded, then from the cache.
        data = load_dataset(spec)
        assert (data.class_names, data.num_classes) == ((), 0)
        sizes = {name: len(split) for name, split in data.splits.items()}
        assert sizes == (
            {"train": 9, "validation": 1, "test": 10} if parts else {"train": 7, "validation": 1, "test": 2}
        )
        (first, *_) = data.splits["test"].image_ids_B.tolist()
        path = root / "val" / "0.png" if parts else root / f"{first}.png"
        assert data.splits["test"].images_BCHW[0].equal(decode_square(path, 32))
    check_available(spec, needs_labels=False)
    with pytest.raises(
        ConfigError, match="images without labels, which `assess` takes and training does not"
    ) as caught:
        check_available(spec)
    assert "\n" not in str(caught.value)


def test_damaged_image_is_named_by_its_path(root: Path) -> None:
    (root / "cat" / "3.png").write_bytes(b"no image")
    with pytest.raises(UnavailableError, match=rf"^1 image cannot be read: {root}/cat/3.png \(no image\)\. Replace"):
        load_dataset(spec_of(root))


def test_real_pets_load_from_class_folders_odd_files_included(pets_dir: Path, tmp_path: Path) -> None:
    for source in sorted((pets_dir / "oxford-iiit-pet" / "images").iterdir()):
        breed = source.stem.rpartition("_")[0]
        folder = tmp_path / "pets" / breed
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            kind = image.format
        if kind != "JPEG" or len(list(folder.iterdir())) < 5:
            shutil.copy(source, folder)
    kinds = set()
    for path in (tmp_path / "pets").rglob("*.jpg"):
        with Image.open(path) as image:
            kinds.add(image.format)
    assert kinds >= {"JPEG", "GIF", "PNG"}
    data = load_dataset(spec_of(tmp_path / "pets", image_size=56))
    assert data.class_names == ("Abyssinian", "Bengal", "american_bulldog")
    assert data.splits["train"].images_BCHW.shape[1:] == (3, 64, 64)
    assert sum(len(split) for split in data.splits.values()) == len(list((tmp_path / "pets").rglob("*.jpg")))
