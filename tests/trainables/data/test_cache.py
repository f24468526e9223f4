"""The cache of decoded images, and what is decoded into it."""

import logging
import os
import struct
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError
from tests.trainables.data.squares import decode_square
from trainables.data import cache
from trainables.data.cache import CACHE_VARIABLE, cache_folder
from trainables.data.loading import check_available, images_to_decode, load_dataset

SPEC = DatasetSpec(name="oxford-iiit-pet", image_size=28)
BLUE = (20, 60, 200)


@pytest.fixture
def small_pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two breeds with twelve images each, in the official layout."""
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    root = tmp_path / "oxford-iiit-pet"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    lists: dict[str, list[str]] = {"list": [], "trainval": [], "test": []}
    for label, breed in enumerate(("Abyssinian", "beagle")):
        for number in range(12):
            name = f"{breed}_{number}"
            pixels = np.random.default_rng([label, number]).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{name}.jpg", quality=95)
            for part in ("list", "test" if number < 4 else "trainval"):
                lists[part].append(f"{name} {label + 1} 1 {number + 1}\n")
    for name, lines in lists.items():
        (root / "annotations" / f"{name}.txt").write_text("".join(lines))
    return tmp_path


def image_path(root: Path, name: str) -> Path:
    return root / "oxford-iiit-pet" / "images" / f"{name}.jpg"


def cache_file(root: Path) -> Path:
    (path,) = (root / ".dptq-cache").glob("*.arrow")
    return path


def load_sha256(root: Path) -> str:
    return load_dataset(SPEC, root).computed_sha256()


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("trainables.data.pets.decode_files", fail)


def test_second_load_decodes_nothing_and_gives_the_same(small_pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(SPEC, small_pets)
    forbid_decoding(monkeypatch)
    second = load_dataset(SPEC, small_pets)
    assert first.sha256() == second.sha256() == second.computed_sha256()
    assert second.class_names == ("Abyssinian", "Beagle")
    assert {name: len(split) for name, split in second.splits.items()} == {"train": 14, "validation": 2, "test": 8}
    for name, split in first.splits.items():
        assert split.image_ids_B.equal(second.splits[name].image_ids_B)


def test_images_that_a_load_is_going_to_decode_are_counted_until_the_cache_has_them(
    small_pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        forbid_decoding(patch)
        counted = images_to_decode(SPEC, small_pets)
        fewer = images_to_decode(SPEC.model_copy(update={"train_images": 8, "test_images": 4}), small_pets)
    load_dataset(SPEC, small_pets)
    assert counted == (24, cache_file(small_pets))
    assert fewer is not None
    assert fewer[0] == 12
    assert images_to_decode(SPEC, small_pets) is None
    assert images_to_decode(DatasetSpec(name="digits", image_size=32), small_pets) is None, "nothing of it is cached"
    assert images_to_decode(SPEC, small_pets / "elsewhere") is None, "the files are on other machines"


def test_cache_holds_the_decoded_pixels_under_their_ids(small_pets: Path) -> None:
    split = load_dataset(SPEC, small_pets).splits["test"]
    assert split.images_BCHW[0].equal(decode_square(image_path(small_pets, "Abyssinian_0"), 32))
    assert split.labels_B.tolist() == [0] * 4 + [1] * 4
    assert split.image_ids_B.tolist() == list(range(16, 24))


def test_writing_to_loaded_images_changes_neither_the_file_nor_another_load(small_pets: Path) -> None:
    before = load_sha256(small_pets)
    load_dataset(SPEC, small_pets).splits["train"].images_BCHW.zero_()
    assert load_sha256(small_pets) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2] + b"\xff\x00\xff" + content[len(content) // 2 + 3 :],
        lambda content: b"no arrow file" * 100,
    ],
    ids=["empty", "torn", "one byte short", "flipped", "foreign"],
)
def test_damaged_cache_is_built_anew_with_a_warning(
    small_pets: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    before = load_sha256(small_pets)
    path = cache_file(small_pets)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert load_sha256(small_pets) == before
    assert "is built again" in caplog.text
    caplog.clear()
    assert load_sha256(small_pets) == before
    assert not caplog.text


@pytest.mark.parametrize("is_touched", [False, True], ids=["undisturbed", "touched"])
def test_only_a_touched_cache_is_hashed_again(
    small_pets: Path, monkeypatch: pytest.MonkeyPatch, is_touched: bool
) -> None:
    load_dataset(SPEC, small_pets)
    if is_touched:
        os.utime(cache_file(small_pets))
    hashed = []
    real = cache.ImageData.computed_sha256
    monkeypatch.setattr(cache.ImageData, "computed_sha256", lambda data: hashed.append(1) or real(data))
    load_dataset(SPEC, small_pets)
    assert len(hashed) == is_touched


def test_changed_source_size_or_split_makes_another_cache(small_pets: Path) -> None:
    load_dataset(SPEC, small_pets)
    Image.new("RGB", (60, 60), BLUE).save(image_path(small_pets, "beagle_0"))
    assert load_dataset(SPEC, small_pets).splits["test"].images_BCHW[4].float().std((1, 2)).max() < 1
    load_dataset(SPEC.model_copy(update={"image_size": 14}), small_pets)
    load_dataset(SPEC.model_copy(update={"split_seed": 1}), small_pets)
    assert len(list((small_pets / ".dptq-cache").glob("*.arrow"))) == 4


def test_folder_comes_from_the_environment_else_stands_beside_the_data(
    small_pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder(small_pets) == small_pets / ".dptq-cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(small_pets / "fast" / "disk"))
    load_dataset(SPEC, small_pets)
    assert not (small_pets / ".dptq-cache").exists()
    assert len(list((small_pets / "fast" / "disk").glob("*.arrow"))) == 1


def test_folder_that_cannot_be_written_costs_a_warning_and_not_the_trial(
    small_pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_pets / ".dptq-cache").write_text("a file in the way")
    assert len(load_dataset(SPEC, small_pets).splits["test"]) == 8
    assert f"name a writable one with {CACHE_VARIABLE}" in caplog.text


def test_killed_writer_leaves_nothing_that_is_taken_for_a_cache(small_pets: Path) -> None:
    before = load_sha256(small_pets)
    path = cache_file(small_pets)
    path.rename(path.with_suffix(".partial"))
    os.truncate(path.with_suffix(".partial"), 1000)
    assert load_sha256(small_pets) == before
    assert not path.with_suffix(".partial").exists()


@pytest.mark.slow
def test_processes_that_start_together_build_one_cache(small_pets: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        checksums = list(pool.map(load_sha256, [small_pets] * 2))
    assert len(set(checksums)) == 1
    assert cache_file(small_pets).exists()


def saved(path: Path, image: Image.Image, kind: str, **options: object) -> Path:
    image.save(path, kind, **options)
    return path


def colored(mode: str) -> Image.Image:
    return Image.new("RGB", (40, 30), BLUE).convert(mode)


def sixteen_bit_gray() -> Image.Image:
    return Image.fromarray(np.full((30, 40), 128 * 257, dtype=np.uint16))


def palette_with_transparency() -> Image.Image:
    image = colored("RGB").quantize(8)
    image.info["transparency"] = bytes([255] * 8)
    return image


ODD_FILES = {
    "GIF as .jpg": (lambda: colored("P"), "GIF", {}, BLUE),
    "PNG as .jpg": (lambda: colored("RGB"), "PNG", {}, BLUE),
    "palette": (lambda: colored("RGB").quantize(8), "PNG", {}, BLUE),
    "palette with transparency": (palette_with_transparency, "PNG", {"transparency": bytes([255] * 8)}, BLUE),
    "opaque alpha": (lambda: colored("RGBA"), "PNG", {}, BLUE),
    "transparent": (lambda: Image.new("RGBA", (40, 30), (*BLUE, 0)), "PNG", {}, (255, 255, 255)),
    "gray with alpha": (lambda: Image.new("LA", (40, 30), (90, 255)), "PNG", {}, (90, 90, 90)),
    "CMYK": (lambda: colored("CMYK"), "JPEG", {"quality": 100}, BLUE),
    "16-bit gray": (sixteen_bit_gray, "PNG", {}, (128, 128, 128)),
    "16-bit gray TIFF": (sixteen_bit_gray, "TIFF", {}, (128, 128, 128)),
    "bilevel": (lambda: Image.new("1", (40, 30), 1), "PNG", {}, (255, 255, 255)),
}


@pytest.mark.parametrize(("make", "kind", "options", "color"), ODD_FILES.values(), ids=list(ODD_FILES))
def test_odd_files_decode_to_their_color(
    tmp_path: Path, make: Callable[[], Image.Image], kind: str, options: dict[str, object], color: tuple[int, ...]
) -> None:
    path = saved(tmp_path / "odd.jpg", make(), kind, **options)
    image_CHW = decode_square(path, 16)
    assert decode_square(path.read_bytes(), 16).equal(image_CHW)
    expected_CHW = torch.tensor(color)[:, None, None].expand(3, 16, 16)
    # JPEG turns colors into CMYK and back, and GIF's web palette holds multiples of 51.
    tolerance = {"CMYK": 3, "GIF": 26}.get(kind if kind == "GIF" else make().mode, 1)
    torch.testing.assert_close(image_CHW.int(), expected_CHW.int(), atol=tolerance, rtol=0)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:, 16:] = 255
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to view
    image_CHW = decode_square(saved(tmp_path / "turned.jpg", image, "JPEG", exif=exif), 32)
    assert image_CHW[:, :14].max() < 20
    assert image_CHW[:, 18:].min() > 235


def test_extreme_shapes_decode_to_their_middle(tmp_path: Path) -> None:
    for size in ((1, 1), (3000, 2), (2, 3000)):
        path = saved(tmp_path / "thin.jpg", Image.new("RGB", size, BLUE), "PNG")
        assert decode_square(path, 16)[:, 8, 8].tolist() == list(BLUE)


def test_damaged_files_are_named_and_counted_in_one_error_with_the_cure(small_pets: Path) -> None:
    folder = small_pets / "oxford-iiit-pet" / "images"
    whole = (folder / "beagle_5.jpg").read_bytes()
    # The header of a PNG that promises more pixels than anyone has memory for.
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0, 0)
    damaged = {
        "Abyssinian_4": b"",
        "Abyssinian_5": whole[: len(whole) // 2],
        "Abyssinian_6": b"<html>404</html>",
        "Abyssinian_7": bomb,
        "beagle_5": whole[:10],
        "beagle_6": b"GIF89a",
    }
    for name, content in damaged.items():
        (folder / f"{name}.jpg").write_bytes(content)
    (folder / "beagle_7.jpg").unlink()
    with pytest.raises(UnavailableError) as caught:
        load_dataset(SPEC, small_pets)
    text = str(caught.value)
    assert text.startswith("7 images cannot be read: ")
    assert [name for name in (*damaged, "beagle_7") if f"{folder / name}.jpg" in text] == list(damaged)[:5]
    assert "and 2 more. Unpack the archive of the images again, or remove" in text
    assert not list((small_pets / ".dptq-cache").glob("*.arrow"))


def test_missing_files_are_found_without_decoding(small_pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_decoding(monkeypatch)
    check_available(SPEC, small_pets)
    image_path(small_pets, "beagle_7").unlink()
    with pytest.raises(UnavailableError, match=r"^1 image cannot be read: .*beagle_7\.jpg \(missing\)\. "):
        check_available(SPEC, small_pets)


@pytest.mark.parametrize("content", [None, "Abyssinian_0 1\n"], ids=["no list", "short line"])
def test_damaged_lists_are_reported(small_pets: Path, content: str | None) -> None:
    path = small_pets / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    path.write_text(content) if content else path.unlink()
    with pytest.raises(UnavailableError, match="unpack both in"):
        load_dataset(SPEC, small_pets)


def test_a_sample_of_breeds_gets_classes_without_gaps(small_pets: Path) -> None:
    for path in (small_pets / "oxford-iiit-pet" / "annotations").iterdir():
        path.write_text(path.read_text().replace(" 2 1 ", " 17 1 "))
    data = load_dataset(SPEC, small_pets)
    assert data.class_names == ("Abyssinian", "Beagle")
    assert {name: split.labels_B.unique().tolist() for name, split in data.splits.items()} == {
        "train": [0, 1],
        "validation": [0, 1],
        "test": [0, 1],
    }


def test_a_breed_that_only_the_test_list_names_is_refused(small_pets: Path) -> None:
    path = small_pets / "oxford-iiit-pet" / "annotations" / "test.txt"
    path.write_text(path.read_text().replace(" 2 1 ", " 17 1 ", 1))
    with pytest.raises(UnavailableError, match=r"do not agree: trainval.txt names 2 breeds.* there are 3"):
        load_dataset(SPEC, small_pets)
