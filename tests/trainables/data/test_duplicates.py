"""Images on both sides of a split are counted and said, and leave the training split on demand."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError
from search_spaces.model import vary
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.loading import check_available, load_dataset
from trainables.data.parquet import _read_images


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def zoo(root: Path, num_repeated: int) -> Path:
    """Two classes of 6 training and 4 test images; of each class some training images are test images as well."""
    for name in "ab":
        for part, count in (("train", 6), ("test", 4)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                generator = np.random.default_rng([ord(name), len(part), number])
                pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        for number in range(num_repeated):
            shutil.copy(root / "test" / name / f"{number}.png", root / "train" / name / f"{number}.png")
    return root


def as_parquet(root: Path) -> Path:
    for part in ("train", "test"):
        paths = sorted((root / part).rglob("*.png"))
        table = pa.table(
            {"image": [path.read_bytes() for path in paths], "label": [path.parent.name for path in paths]}
        )
        pq.write_table(table, root / f"{part}.parquet")
    return root


def specs(root: Path) -> list[DatasetSpec]:
    return [dataset_spec(f"{kind}:{root}", image_size=8) for kind in ("folder", "parquet")]


@pytest.mark.parametrize("num_repeated", [0, 1, 3])
def test_images_of_both_splits_are_counted_and_dropped(tmp_path: Path, num_repeated: int) -> None:
    for spec in specs(as_parquet(zoo(tmp_path / "zoo", num_repeated))):
        said = [note for note in check_available(spec) if "as well" in note]
        expected = f"{spec.name}: {2 * num_repeated} of 12 training images are test images as well"
        assert [note.partition(",")[0] for note in said] == ([expected] if num_repeated else [])
        dropping = vary(spec, drop_duplicates=True)
        assert not [note for note in check_available(dropping) if "as well" in note]
        splits = load_dataset(dropping).splits
        assert (len(splits["train"]) + len(splits["validation"]), len(splits["test"])) == (12 - 2 * num_repeated, 8)
        tested = {image.numpy().tobytes() for image in splits["test"].images_BCHW}
        assert not [image for image in splits["train"].images_BCHW if image.numpy().tobytes() in tested]


def test_a_class_without_other_images_is_refused(tmp_path: Path) -> None:
    root = zoo(tmp_path / "zoo", 4)
    for number in (4, 5):
        (root / "train" / "a" / f"{number}.png").unlink()
    with pytest.raises(ConfigError, match="0 training images of 'a' that are no test images as well"):
        check_available(vary(specs(root)[0], drop_duplicates=True))


def test_copies_in_a_folder_without_splits_are_counted(tmp_path: Path) -> None:
    folder = zoo(tmp_path / "zoo", 0) / "train"
    for path in list(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy {path.name}"))
    (note,) = check_available(dataset_spec(f"folder:{folder}", image_size=8))
    assert "training images are test images as well" in note


def test_where_looking_takes_too_long_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, parquet = specs(as_parquet(zoo(tmp_path / "zoo", 1)))
    monkeypatch.setattr("trainables.data.loading.MOST_READ_GB", 0.0)
    assert "2 of 12 training images" in check_available(folder)[-1], "sizes of files tell enough"
    assert "were not looked for, because that reads 0.0 GB; --drop-duplicates" in check_available(parquet)[-1]
    assert not [note for note in check_available(vary(parquet, drop_duplicates=True)) if "as well" in note]
    assert check_available(dataset_spec("digits")) == ()


def test_equal_images_that_a_small_file_stands_for_are_not_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"image": [bytes(2**20)] * 200, "label": [0, 1] * 100})
    pq.write_table(table, tmp_path / "equal.parquet", compression="zstd")
    assert (tmp_path / "equal.parquet").stat().st_size < 10_000
    monkeypatch.setattr("trainables.data.loading.MOST_READ_GB", 0.1)
    read: list[int] = []
    as_it_is = _read_images

    def counted(*arguments: Any) -> Iterator[Any]:
        for each in as_it_is(*arguments):
            read.append(1)
            yield each

    monkeypatch.setattr("trainables.data.parquet._read_images", counted)
    (note,) = check_available(dataset_spec(f"parquet:{tmp_path / 'equal.parquet'}", image_size=8))
    assert "were not looked for, because that reads more than 0.1 GB; --drop-duplicates" in note
    assert len(read) == 103, "0.1 GB of them, and the one that is too much"


def test_what_is_not_read_again_is_refused() -> None:
    with pytest.raises(ConfigError, match="drop_duplicates reads folders and local Parquet files, not digits"):
        check_available(vary(dataset_spec("digits"), drop_duplicates=True))


def test_a_default_that_is_spelled_out_is_the_same_dataset() -> None:
    assert vary(dataset_spec("digits"), drop_duplicates=False) == dataset_spec("digits")
    assert "drop_duplicates" not in dataset_spec("digits").model_dump()
