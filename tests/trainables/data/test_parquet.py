"""`parquet:URI`: images in Hugging Face's layout, on any filesystem of pyarrow."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError, SweepError, UnavailableError
from tests.servers import Bucket
from tests.trainables.data.squares import decode_square
from trainables.data import parquet
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.loading import check_available, load_dataset

# B = images.


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def encoded(number: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


CONTENTS = [encoded(number, kind) for number, kind in enumerate(["PNG", "JPEG", "GIF"] * 4)]
LABELS = [0, 1, 2] * 4


def write(
    path: Path,
    labels: Sequence[object] | pa.Array = LABELS,
    *,
    contents: Sequence[bytes | None] = CONTENTS,
    columns: tuple[str, str] = ("image", "label"),
    names: Sequence[str] | None = None,
    is_plain: bool = False,
    rows_per_group: int = 5,
) -> Path:
    """Writes a table as Hugging Face does."""
    structs = [{"bytes": content, "path": f"{number}.jpg"} for number, content in enumerate(contents)]
    images: Sequence[object] = contents if is_plain else structs
    table = pa.table(dict(zip(columns, (images, labels), strict=True)))
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def spec_of(place: object, image_size: int = 28, **sizes: int) -> DatasetSpec:
    return dataset_spec(f"parquet:{place}", image_size=image_size, **sizes)


def test_one_file_is_split_and_decoded_by_content(tmp_path: Path) -> None:
    data = load_dataset(spec_of(write(tmp_path / "all.parquet")))
    assert data.class_names == ("0", "1", "2")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    for split in data.splits.values():
        for image_CHW, label, position in zip(split.images_BCHW, split.labels_B, split.image_ids_B, strict=True):
            assert image_CHW.equal(decode_square(CONTENTS[position], 32))
            assert int(label) == LABELS[position]


@pytest.mark.parametrize(
    ("files", "tested"),
    [
        (["train-0", "test-0"], "test-0"),
        (["train-0", "validation-0"], "validation-0"),
        (["train-0", "val"], "val"),
        (["train-0", "test-0", "validation-0"], "test-0"),
    ],
    ids=" ".join,
)
def test_names_of_files_are_the_official_parts(tmp_path: Path, files: list[str], tested: str) -> None:
    for number, name in enumerate(files):
        write(tmp_path / "data" / f"{name}.parquet", contents=[encoded(100 * number + row) for row in range(12)])
    data = load_dataset(spec_of(tmp_path / "data"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 9, "validation": 3, "test": 12}
    first = encoded(100 * files.index(tested))
    assert data.splits["test"].images_BCHW[0].equal(decode_square(first, 32))


def test_parts_of_several_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (1, 0):
        write(tmp_path / f"train-{number}-of-2.parquet", contents=CONTENTS[::-1] if number else CONTENTS)
    write(tmp_path / "test.parquet")
    data = load_dataset(spec_of(tmp_path))
    everything = CONTENTS + CONTENTS[::-1] + CONTENTS
    for split in data.splits.values():
        for image_CHW, position in zip(split.images_BCHW, split.image_ids_B, strict=True):
            assert image_CHW.equal(decode_square(everything[position], 32))


def test_training_files_alone_are_split(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet")
    assert len(load_dataset(spec_of(tmp_path)).splits["test"]) == 3


def test_a_uri_gives_the_same_data_as_its_path(tmp_path: Path) -> None:
    write(tmp_path / "a b" / "train.parquet")
    by_path = load_dataset(spec_of(tmp_path / "a b"))
    by_uri = load_dataset(spec_of(f"file://{tmp_path}/a%20b/"))
    assert by_uri.sha256() == by_path.sha256()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["wren", "ant", "cow"] * 4, ("ant", "cow", "wren")),
        (pa.array(["wren", "ant", "cow"] * 4).dictionary_encode(), ("ant", "cow", "wren")),
        (pa.array([7, 3, 300] * 4, pa.uint16()), ("3", "7", "300")),
    ],
    ids=["strings", "categories", "numbers with gaps"],
)
def test_classes_are_named_by_their_labels(tmp_path: Path, labels: pa.Array, expected: tuple[str, ...]) -> None:
    data = load_dataset(spec_of(write(tmp_path / "x.parquet", labels)))
    assert data.class_names == expected
    plain = labels.to_pylist() if isinstance(labels, pa.Array) else labels
    for split in data.splits.values():
        found = [expected[label] for label in split.labels_B]
        assert found == [str(plain[position]) for position in split.image_ids_B]


def test_names_in_the_metadata_are_those_of_the_classes_that_occur(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [3, 0, 1] * 4, names=["zebra", "yak", "unused", "ant"])
    assert load_dataset(spec_of(path)).class_names == ("zebra", "yak", "ant")


def test_columns_are_found_by_their_usual_names_or_chosen(tmp_path: Path) -> None:
    usual = write(tmp_path / "usual.parquet", columns=("img", "fine_label"), is_plain=True)
    odd = write(tmp_path / "odd.parquet", columns=("photo", "kind of thing"))
    chosen = load_dataset(spec_of(f"{odd}?image=photo&label=kind%20of%20thing"))
    assert chosen.sha256() == load_dataset(spec_of(usual)).sha256()


def test_images_are_read_from_their_column_wherever_it_stands(tmp_path: Path) -> None:
    first = write(tmp_path / "first.parquet")
    last = tmp_path / "last.parquet"
    pq.write_table(pq.read_table(first).select(["label", "image"]), last)
    assert load_dataset(spec_of(last)).sha256() == load_dataset(spec_of(first)).sha256()


@given(kept=st.sets(st.integers(0, 23)), rows_per_group=st.integers(1, 13), batch_rows=st.integers(1, 7))
def test_rows_are_read_at_any_positions_across_files_groups_and_batches(
    tmp_path_factory: pytest.TempPathFactory, kept: set[int], rows_per_group: int, batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    contents: list[bytes | None] = [bytes([number]) for number in range(24)]
    contents[5] = None
    write(folder / "train.parquet", contents=contents[:12], rows_per_group=rows_per_group)
    write(folder / "test.parquet", contents=contents[12:], rows_per_group=rows_per_group)
    table = parquet.find_table(pafs.LocalFileSystem(), str(folder), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "BATCH_ROWS", batch_rows)
        read = list(parquet._read_images(table, np.array(sorted(kept), dtype=np.int64)))
    names = ["train", "test"]
    assert read == [(f"row {p % 12} of {folder}/{names[p // 12]}.parquet", contents[p]) for p in sorted(kept)]


def test_cache_is_opened_without_reading_and_changes_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(write(tmp_path / "x.parquet"))
    first = load_dataset(spec)
    with monkeypatch.context() as patch:
        patch.delattr("pyarrow.parquet.ParquetFile")
        assert load_dataset(spec).sha256() == first.sha256()
    write(tmp_path / "x.parquet", contents=CONTENTS[::-1])
    assert load_dataset(spec).sha256() != first.sha256()


def write_bytes(path: Path) -> None:
    path.write_bytes(b"PAR1 and nothing else PAR1")


BAD_TABLES: dict[str, tuple[Callable[[Path], object], type[SweepError], str]] = {
    "nothing there": (lambda path: None, UnavailableError, "x.parquet does not exist"),
    "no Parquet": (write_bytes, UnavailableError, "x.parquet cannot be read as Parquet"),
    "no image column": (
        lambda path: write(path, columns=("photo", "label")),
        ConfigError,
        r"has no column image or img: its columns are photo, label\. Name the one with the images by \?image=",
    ),
    "no label column": (lambda path: write(path, columns=("image", "x")), ConfigError, "has no column label or labels"),
    "images of another type": (
        lambda path: write(path, contents=["a.jpg"] * 12, is_plain=True),  # type: ignore[list-item]
        ConfigError,
        "column image of .* holds string: images are bytes or struct<bytes, path>",
    ),
    "labels of another type": (lambda path: write(path, [0.5] * 12), ConfigError, "label of .* holds double: labels"),
    "label missing": (lambda path: write(path, [0, 1, None] * 4), ConfigError, "row 2 of .*x.parquet has no label"),
    "label negative": (lambda path: write(path, [0, -1, 1] * 4), ConfigError, "row 1 .* label -1, and labels count"),
    "label without a name": (
        lambda path: write(path, names=["a", "b"]),
        ConfigError,
        r"row 2 of .* has label 2, and there are names for 0\.\.1\. Correct it",
    ),
    "metadata of another form": (
        lambda path: pq.write_table(pq.read_table(write(path)).replace_schema_metadata({"huggingface": "x"}), path),
        ConfigError,
        "has `huggingface` metadata of another form",
    ),
    "one class": (lambda path: write(path, ["a"] * 12), ConfigError, "images of one class only, 'a'"),
    "no row": (lambda path: write(path, pa.array([], pa.int64()), contents=[]), ConfigError, "column image .* null"),
    "rare class": (
        lambda path: write(path, [0, 1] + [2] * 10),
        ConfigError,
        r"class '0' \(1\) and of 1 more: training",
    ),
    "folder without parts": (
        lambda path: write(path / "data.parquet"),
        ConfigError,
        r"x.parquet holds no train\*\.parquet: it holds data\.parquet\.",
    ),
    "parts that disagree": (
        lambda path: (write(path / "train.parquet", names="abc"), write(path / "test.parquet", names="cba")),
        ConfigError,
        "disagree about the classes",
    ),
    "class to test only": (
        lambda path: (write(path / "train.parquet", [0, 1] * 6), write(path / "test.parquet")),
        ConfigError,
        "test images of class 2 and no training images of it",
    ),
}


@pytest.mark.parametrize(("make", "kind", "message"), BAD_TABLES.values(), ids=list(BAD_TABLES))
def test_bad_table_is_one_line_before_anything_is_decoded(
    tmp_path: Path, make: Callable[[Path], object], kind: type[SweepError], message: str
) -> None:
    make(tmp_path / "x.parquet")
    for check in (check_available, load_dataset):
        with pytest.raises(kind, match=message) as caught:
            check(spec_of(tmp_path / "x.parquet"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/x.parquet?lable=y", r"unknown option of parquet:.*: 'lable'. Did you mean 'label'\? Known: image, label"),
        ("ftp://host/x", "parquet:ftp://host/x cannot be opened"),
        ("s3://bucket/x?colour=red", "Unexpected query parameter in S3 URI: 'colour'"),
    ],
)
def test_bad_uri_is_one_line(place: str, message: str) -> None:
    with pytest.raises(SweepError, match=message) as caught:
        check_available(spec_of(place))
    assert "\n" not in str(caught.value)


def test_damaged_rows_are_named_by_number_and_file(tmp_path: Path) -> None:
    contents = [*CONTENTS[:3], b"no image", None, *CONTENTS[5:]]
    path = write(tmp_path / "x.parquet", contents=contents)
    with pytest.raises(UnavailableError) as caught:
        load_dataset(spec_of(path))
    rows = f"row 3 of {path} (no image); row 4 of {path} (no bytes)"
    assert str(caught.value) == f"2 images cannot be read: {rows}. {parquet.HINT}"


def test_file_that_is_cut_short_below_its_footer_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", is_plain=True)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(2000) + content[2004:])
    with pytest.raises(UnavailableError, match=r"x\.parquet cannot be read as Parquet"):
        load_dataset(spec_of(path))


def test_images_on_s3_are_those_of_the_folder_that_was_put_there(tmp_path: Path, bucket: Bucket) -> None:
    write(tmp_path / "train.parquet", columns=("img", "label"))
    write(tmp_path / "test.parquet", contents=CONTENTS[::-1], columns=("img", "label"))
    filesystem, _ = pafs.FileSystem.from_uri(bucket.uri())
    pafs.copy_files(str(tmp_path), f"{bucket.name}/flowers", destination_filesystem=filesystem)
    here, there = (
        load_dataset(spec_of(f"{tmp_path}?image=img")),
        load_dataset(spec_of(f"{bucket.uri('/flowers')}&image=img")),
    )
    assert here.known_sha256 == there.known_sha256 is not None
    (note,) = check_available(spec_of(f"{bucket.uri('/flowers')}&image=img"))
    assert "test images as well were not looked for, because the files are not on this machine" in note
    with pytest.raises(UnavailableError, match=r"bucket-\w+/nothing does not exist"):
        check_available(spec_of(bucket.uri("/nothing")))


def test_a_table_is_read_from_a_filesystem_that_is_not_local(tmp_path: Path) -> None:
    write(tmp_path / "bucket" / "train.parquet")
    write(tmp_path / "bucket" / "test.parquet", contents=CONTENTS[::-1])
    bucket = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    listing = parquet.list_table(parquet.find_table(bucket, "bucket", {}), spec_of("s3://bucket"))
    assert listing.num_training == 12
    (image_CHW,) = listing.load(np.array([12]))
    assert image_CHW.equal(decode_square(CONTENTS[-1], 32))
