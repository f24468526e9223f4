"""Kinds of Parquet that people and tools write, and the bounds of what is read of one."""

import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.errors import ConfigError, SweepError
from tests.trainables.data.test_parquet import CONTENTS, spec_of
from trainables.data import parquet
from trainables.data.cache import CACHE_VARIABLE
from trainables.data.loading import check_available, load_dataset

NAMES = ["ant", "bee", "cow"] * 4


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def write(path: Path, labels: object = NAMES, images: object = CONTENTS, rows_per_group: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels}), path, row_group_size=rows_per_group)
    return path


@pytest.mark.parametrize("images", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@pytest.mark.parametrize(
    "labels",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_bytes_and_texts_of_every_type_are_the_same_data(
    tmp_path: Path, images: pa.DataType, labels: pa.DataType
) -> None:
    plain = load_dataset(spec_of(write(tmp_path / "plain.parquet")))
    typed = load_dataset(
        spec_of(write(tmp_path / "typed.parquet", pa.array(NAMES, labels), pa.array(CONTENTS, images)))
    )
    assert (typed.class_names, typed.sha256()) == (plain.class_names, plain.sha256())


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()], ids=str)
def test_integers_of_every_size_are_labels(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(tmp_path / "x.parquet", pa.array([0, 1, 100] * 4, kind))
    assert load_dataset(spec_of(path)).class_names == ("0", "1", "100")


@pytest.mark.parametrize("label", [2**64 - 1, 2**63, 2**63 + 5])
def test_a_label_above_63_bits_is_shown_as_it_is(tmp_path: Path, label: int) -> None:
    path = write(tmp_path / "x.parquet", pa.array([0, 1, label] * 4, pa.uint64()))
    with pytest.raises(ConfigError, match=f"row 2 of .* has label {label}, and labels count from 0"):
        check_available(spec_of(path))


def twice(*names: str) -> Callable[[Path], object]:
    """Returns what writes a table with columns of these names."""
    arrays = {"image": pa.array(CONTENTS, pa.binary()), "label": pa.array(NAMES), "other": pa.array(NAMES)}
    return lambda path: pq.write_table(pa.Table.from_arrays([arrays[name] for name in names], names=list(names)), path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (twice("image", "label", "label"), "2 columns called label"),
        (twice("image", "image", "label"), "2 columns called image"),
        (twice("label", "image", "label", "label"), "3 columns called label"),
    ],
)
def test_columns_of_one_name_are_refused(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=said) as refusal:
        check_available(spec_of(tmp_path / "x.parquet"))
    assert "\n" not in str(refusal.value)


def test_other_columns_of_one_name_do_not_matter(tmp_path: Path) -> None:
    twice("image", "label", "other", "other")(tmp_path / "x.parquet")
    assert load_dataset(spec_of(tmp_path / "x.parquet")).class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize("later", ["validation", "val"])
def test_a_test_part_with_hidden_labels_makes_way_for_validation(tmp_path: Path, later: str) -> None:
    write(tmp_path / "train.parquet", [0, 1, 2] * 4)
    write(tmp_path / "test.parquet", [-1] * 12)
    write(tmp_path / f"{later}.parquet", [0, 1, 2] * 2, CONTENTS[:6])
    assert len(load_dataset(spec_of(tmp_path)).splits["test"]) == 6


def test_a_test_part_with_some_hidden_labels_is_refused_as_before(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 2] * 4)
    write(tmp_path / "test.parquet", [-1, 0, 1] * 4)
    write(tmp_path / "validation.parquet", [0, 1, 2] * 4)
    with pytest.raises(ConfigError, match="label -1"):
        check_available(spec_of(tmp_path))


def many_rows(path: Path, num_rows: int) -> Path:
    """Writes a small file of very many equal rows."""
    images = pa.DictionaryArray.from_arrays(pa.array([0] * num_rows, pa.int32()), pa.array(CONTENTS[:1], pa.binary()))
    labels = pa.array([0, 1] * (num_rows // 2), pa.int32())
    pq.write_table(pa.table({"image": images.cast(pa.binary()), "label": labels}), path, row_group_size=num_rows)
    return path


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda patch: patch.setattr(parquet, "MAX_ROWS", 9999), "has 10000 rows, and 9999 are read at most"),
        (lambda patch: patch.setattr("os.sysconf", lambda name: 4096), "10000 images of .* decoded .* keep fewer"),
    ],
)
def test_what_is_read_is_bounded_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[pytest.MonkeyPatch], None], said: str
) -> None:
    path = many_rows(tmp_path / "x.parquet", 10_000)
    prepare(monkeypatch)
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=said):
        check_available(spec_of(path))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pa.array(["x" * 10**6, "y", "z"] * 4), "a label of 1000000 bytes, and a class takes 256"),
        (pa.array([b"caf\xe9", b"b", b"c"] * 4, pa.binary()).view(pa.string()), "no UTF-8"),
    ],
)
def test_labels_that_name_no_class_are_refused(tmp_path: Path, labels: pa.Array, said: str) -> None:
    with pytest.raises(SweepError, match=said) as refusal:
        check_available(spec_of(write(tmp_path / "x.parquet", labels)))
    assert len(str(refusal.value)) < 500
