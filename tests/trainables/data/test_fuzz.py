"""Any folder and any Parquet schema ends in data or in one line, soon."""

import os
import string
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from search_spaces.datasets import dataset_spec
from search_spaces.errors import SweepError
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.loading import check_available, load_dataset

SECONDS = 20
FEW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SOME_NAMES = [
    "train",
    "Test",
    "val",
    "valid",
    "training_set",
    "a",
    "b",
    "Caf\u00e9",
    "Cafe\u0301",
    ".hidden",
    "__MACOSX",
]
NAMES = st.sampled_from(SOME_NAMES) | st.text(string.printable, min_size=1, max_size=6).map(
    lambda name: name.replace("/", "_").replace(".", "_")
)
FILES = st.sampled_from(["1.png", "2.jfif", "3", "4.gif", "._5.png", "notes.txt", "link.png", "loop", "6.PNG", "7.eps"])
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=3), FILES, st.integers(0, 4)), max_size=25)


def image_bytes(kind: str, color: int) -> bytes:
    buffer = pa.BufferOutputStream()
    Image.new("RGB", (9, 9), (color, 0, 0)).save(buffer, kind)
    return buffer.getvalue().to_pybytes()


IMAGES = [image_bytes(kind, 50 * number) for number, kind in enumerate(("PNG", "JPEG", "GIF", "BMP"))]


def ends_well(place: str) -> None:
    """Checks and loads a dataset: success, or one line; never another error, and soon."""
    start = time.perf_counter()
    said = []
    for read in (check_available, load_dataset):
        try:
            read(dataset_spec(place, image_size=8))
        except SweepError as error:
            said.append(str(error))
    assert time.perf_counter() - start < SECONDS
    assert not [text for text in said if "\n" in text]
    assert all(text.encode() for text in said)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    numbers = iter(range(10_000))

    def folder() -> Path:
        path = tmp_path / str(next(numbers))
        path.mkdir()
        return path

    return folder


@FEW
@given(tree=TREES)
def test_any_folder_ends_in_data_or_one_line(fresh: Callable[[], Path], tree: list[tuple[list[str], str, int]]) -> None:
    root = fresh()
    for folders, name, content in tree:
        path = root.joinpath(*folders, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in ("link.png", "loop"):
                path.symlink_to([".", "..", "1.png", "/nowhere", "../.."][content])
            else:
                path.write_bytes([*IMAGES, os.urandom(20)][content])
        except OSError:
            continue
    ends_well(f"folder:{root}")


LABELS = st.sampled_from(
    [
        *(pa.int8(), pa.uint64(), pa.int64(), pa.string(), pa.string_view(), pa.large_string(), pa.bool_()),
        *(pa.float32(), pa.date32(), pa.decimal128(5), pa.list_(pa.int8()), pa.null(), pa.timestamp("s")),
        *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64())),
        pa.struct([("a", pa.int8())]),
    ]
)
CONTENTS = st.sampled_from(
    [
        *(pa.binary(), pa.binary_view(), pa.large_binary(), pa.string(), pa.int64(), pa.list_(pa.uint8()), pa.null()),
        *(pa.struct([("bytes", pa.binary()), ("path", pa.string())]), pa.struct([("path", pa.string())]), pa.binary(4)),
        *(pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))]), pa.dictionary(pa.int8(), pa.binary())),
    ]
)
COLUMNS = st.lists(st.sampled_from(["image", "label", "img", "labels", "", "a.b", "image.bytes"]), max_size=3).map(
    lambda more: ["image", "label", *more][-3:]
)


def column(kind: pa.DataType, number: int, *, with_nulls: bool) -> pa.Array:
    """A column of any type: images, numbers or names where it takes them, else nulls."""
    value_of: list[Callable[[int], object]] = [
        lambda row: IMAGES[row % 4],
        lambda row: {"bytes": IMAGES[row % 4], "path": "x"},
        lambda row: row % 3,
        lambda row: f"class {row % 3}",
        lambda row: [row % 3],
    ]
    for value in value_of:
        values = [None if with_nulls and row == 2 else value(row) for row in range(number)]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return pa.nulls(number, kind)


@FEW
@given(
    names=COLUMNS,
    labels=LABELS,
    contents=CONTENTS,
    number=st.integers(0, 14),
    with_nulls=st.booleans(),
    parts=st.sampled_from([["x"], ["train"], ["train", "test"], ["train", "test", "validation"], ["Train"]]),
    metadata=st.sampled_from([None, "{}", "[]", "x", '{"info": {"features": {"label": {"names": [1, null]}}}}']),
    cut=st.sampled_from([None, None, None, 4, 100]),
)
def test_any_parquet_schema_ends_in_data_or_one_line(
    fresh: Callable[[], Path],
    names: list[str],
    labels: pa.DataType,
    contents: pa.DataType,
    number: int,
    with_nulls: bool,
    parts: list[str],
    metadata: str | None,
    cut: int | None,
) -> None:
    root = fresh()
    for part in parts:
        arrays = [
            column(contents if name.startswith("im") else labels, number, with_nulls=with_nulls) for name in names
        ]
        table = pa.Table.from_arrays(arrays, names=names)
        table = table.replace_schema_metadata({"huggingface": metadata}) if metadata else table
        path = root / f"{part}.parquet"
        try:
            pq.write_table(table, path)
        except pa.ArrowException:
            return
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
    ends_well(f"parquet:{root if len(parts) > 1 or parts == ['train'] else path}")
