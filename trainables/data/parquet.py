"""`parquet:URI`: images in Parquet files as Hugging Face lays them out, on a local path or an object store.

A row is an image and its label. The image column holds encoded images, as bytes or as struct<bytes, path>; the label
column holds strings, or integers whose names the schema's `huggingface` metadata may give (ClassLabel). The URI names a
file, or a folder whose files train*.parquet and test*.parquet (else validation*.parquet or val*.parquet) are the
official parts; `?image=img&label=fine_label` chooses columns.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError, one_line, unknown_name
from search_spaces.uris import check_host, with_defaults
from trainables.data.cache import Source
from trainables.data.decoding import Encoded, decode_images
from trainables.data.listings import Found, Listing, without_gaps

USUAL_COLUMNS = {"image": ("image", "img"), "label": ("label", "labels", "fine_label")}
TEST_PREFIXES = ("test", "validation", "val")
"""Prefixes of the files of a test part, in the order of preference."""
MAX_ROWS = 20_000_000
"""Of all files of a dataset: a few kilobytes of Parquet may stand for any number of equal rows."""
MAX_LABEL = 256
"""Largest number of letters of a label."""
BATCH_ROWS, BATCH_BYTES = 256, 2**31
"""Largest number of encoded images in memory at a time, and of their bytes, besides the page they are read from."""
HINT = "Write these rows again, or leave them out."


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The Parquet files of one dataset, those of the training part first."""

    filesystem: pafs.FileSystem
    files: tuple[pafs.FileInfo, ...]
    num_training_files: int | None
    """Number of files of the official training part; None if there is no test part."""
    chosen_columns: dict[str, str]
    """Columns that the user named, by `image` and `label`; others are found by their usual names."""


def find_parquet(spec: DatasetSpec) -> Found:
    """Finds the files of a `parquet:URI`.

    Raises:
        UnavailableError: There is nothing at the URI, or it cannot be reached.
        ConfigError: The query names something else than columns, or no file is called train*.parquet.
    """
    location, _, query = spec.place.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    chosen = {kind: options.pop(kind) for kind in USUAL_COLUMNS if kind in options}
    if options and "://" not in location:
        raise unknown_name(f"option of {spec.name}:", next(iter(options)), USUAL_COLUMNS)
    # What else the query of a URI says, such as S3's region, is for the filesystem.
    uri = f"{location}?{urlencode(options)}" if options else location
    check_host(uri, what=f"the data of {location}", option="AWS_ENDPOINT_URL_S3")
    try:
        filesystem, path = pafs.FileSystem.from_uri(with_defaults(uri))
        table = find_table(filesystem, path.rstrip("/"), chosen)
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(
            f"{spec.name} cannot be opened ({one_line(error)}): give a path, s3://... or gs://..."
        ) from error
    return found_table(table, spec)


def find_table(filesystem: pafs.FileSystem, path: str, chosen_columns: dict[str, str]) -> Table:
    """Finds the files of a table: the one at a path, or the parts in a folder.

    Raises:
        UnavailableError: The path does not exist.
        ConfigError: No file of the folder is called train*.parquet.
    """
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        raise UnavailableError(f"{path} does not exist: name a Parquet file, or a folder with train*.parquet.")
    if info.is_file:
        return Table(filesystem=filesystem, files=(info,), num_training_files=None, chosen_columns=chosen_columns)
    infos = filesystem.get_file_info(pafs.FileSelector(path))
    files = sorted((i for i in infos if i.is_file and i.extension == "parquet"), key=lambda i: i.base_name)
    parts = {prefix: [i for i in files if i.base_name.startswith(prefix)] for prefix in ("train", *TEST_PREFIXES)}
    training = parts["train"]
    if not training:
        held = ", ".join(sorted(i.base_name for i in infos)[:10]) or "nothing"
        raise ConfigError(f"{path} holds no train*.parquet: it holds {held}. Name a file, or rename the training part.")

    def table_of(*files: pafs.FileInfo, is_split: bool) -> Table:
        num_training = len(training) if is_split else None
        return Table(filesystem=filesystem, files=files, num_training_files=num_training, chosen_columns=chosen_columns)

    tests = [parts[prefix] for prefix in TEST_PREFIXES if parts[prefix]]
    # Benchmarks publish a test part whose labels are hidden, and a validation part that has them.
    while len(tests) > 1 and _are_hidden(table_of(*tests[0], is_split=False)):
        del tests[0]
    return table_of(*training, *(tests[0] if tests else ()), is_split=bool(tests))


def _are_hidden(table: Table) -> bool:
    """Tells whether all labels of some files are -1, from what their footers say of the smallest and largest."""
    for info in table.files:
        with _opened(table, info.path) as parquet:
            name = _find_column(table, parquet.schema_arrow, "label", info.path)
            column = next(i for i in range(parquet.metadata.num_columns) if parquet.schema.column(i).path == name)
            groups = [parquet.metadata.row_group(group).column(column) for group in range(parquet.num_row_groups)]
            said = [each.statistics for each in groups]
            if not all(each is not None and each.has_min_max and (each.min, each.max) == (-1, -1) for each in said):
                return False
    return True


def found_table(table: Table, spec: DatasetSpec, *, class_names: tuple[str, ...] | None = None) -> Found:
    """Describes a table's files as a dataset; see `list_table`."""
    # Their names say which part they are, and their folder nothing.
    return Found(
        sources=tuple(Source(path=i.path, folder="", num_bytes=i.size, mtime_ns=i.mtime_ns or 0) for i in table.files),
        list_images=partial(list_table, table, spec, class_names=class_names),
        hint=HINT,
    )


def list_table(table: Table, spec: DatasetSpec, *, class_names: tuple[str, ...] | None = None) -> Listing:
    """Lists the images of a table; reads its label column only.

    Args:
        table: The files.
        spec: The dataset.
        class_names: Of labels 0, 1, ...; None takes those of the files.

    Raises:
        UnavailableError: A file cannot be read.
        ConfigError: A column is missing or of another type, or a label has no class.
    """
    _check_rows(table, spec)
    parts = [_read_labels(table, info.path, class_names) for info in table.files]
    kinds = {(labels_B.dtype.kind, names) for labels_B, names in parts}
    if len(kinds) > 1:
        raise ConfigError(f"the files of {spec.name} disagree about the classes: write all with the same names.")
    ((_, names),) = kinds
    lengths = [len(labels_B) for labels_B, _ in parts]
    num_training = None if table.num_training_files is None else sum(lengths[: table.num_training_files])
    labels_B = np.concatenate([labels_B for labels_B, _ in parts])
    present_K, numbers_B = without_gaps(spec, labels_B, num_training=num_training)
    return Listing(
        labels_B=numbers_B,
        class_names=tuple(names[label] if names else str(label) for label in present_K),
        num_training=num_training,
        load=lambda kept_B: decode_images(lambda: _read_images(table, kept_B), len(kept_B), spec, hint=HINT),
        contents=(lambda kept_B: _contents(table, kept_B)) if table.filesystem.type_name == "local" else None,
    )


def _check_rows(table: Table, spec: DatasetSpec) -> None:
    """Raises `ConfigError` if there are more rows than are read, before any is."""
    num_rows = 0
    for info in table.files:
        with _opened(table, info.path) as parquet:
            num_rows += parquet.metadata.num_rows
    if num_rows > MAX_ROWS:
        raise ConfigError(f"{spec.name} has {num_rows} rows, and {MAX_ROWS} are read at most: give a part of it.")


def _read_labels(
    table: Table, path: str, class_names: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns the labels of one file, int64 or strings, and the names of the integers 0, 1, ... where there are any."""
    with _opened(table, path) as parquet:
        schema = parquet.schema_arrow
        _find_column(table, schema, "image", path)
        name = _find_column(table, schema, "label", path)
    # Equal strings once: written out, they may be larger than any memory.
    with _opened(table, path, read_dictionary=[name] if _is_text(schema.field(name).type) else None) as parquet:
        column = parquet.read(columns=[name]).column(0)
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise ConfigError(f"row {row} of {path} has no {name}: leave out images without a label.")
    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        return np.concatenate([_texts(chunk, path, name) for chunk in column.chunks] or [np.array([], np.str_)]), None
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    given_B = column.to_numpy()
    names = class_names or _named_classes(schema, name, path)
    end = len(names) if names else np.iinfo(np.int64).max
    wrong = np.flatnonzero((given_B < 0) | (given_B >= end))
    if len(wrong):
        rule = f"there are names for 0..{end - 1}" if names else "labels count from 0"
        raise ConfigError(
            f"row {wrong[0]} of {path} has {name} {given_B[wrong[0]]}, and {rule}. Correct it, or leave the row out."
        )
    return given_B.astype(np.int64), names


def _texts(chunk: pa.DictionaryArray, path: str, name: str) -> np.ndarray:
    """Writes out a dictionary of strings, none of which is too long for a class."""
    values = chunk.dictionary.cast(pa.large_binary())
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if longest > MAX_LABEL:
        raise ConfigError(f"column {name} of {path} has a label of {longest} bytes, and a class takes {MAX_LABEL}.")
    try:
        texts = [value.as_py().decode() if value.is_valid else "" for value in values]
    except UnicodeDecodeError:
        raise ConfigError(f"column {name} of {path} has a label that is no UTF-8: write it again.") from None
    return np.array(texts, dtype=np.str_)[chunk.indices.to_numpy()]


def _find_column(table: Table, schema: pa.Schema, kind: str, path: str) -> str:
    """Returns the name of the image or the label column, whose type is checked."""
    chosen = table.chosen_columns.get(kind)
    wanted = (chosen,) if chosen is not None else USUAL_COLUMNS[kind]
    name = next((name for name in wanted if name in schema.names), None)
    if name is None:
        raise ConfigError(
            f"{path} has no column {' or '.join(wanted)}: its columns are {', '.join(schema.names)}. "
            f"Name the one with the {kind}s by ?{kind}=..."
        )
    if schema.names.count(name) > 1:
        raise ConfigError(
            f"{path} has {schema.names.count(name)} columns called {name}: name each once, or another by ?{kind}=..."
        )
    found = schema.field(name).type
    if not (_is_image(found) if kind == "image" else _is_label(found)):
        needed = "bytes or struct<bytes, path>" if kind == "image" else "integers or strings"
        raise ConfigError(f"column {name} of {path} holds {found}: {kind}s are {needed}. Name another by ?{kind}=...")
    return name


def _is_image(found: pa.DataType) -> bool:
    if pa.types.is_struct(found):
        return found.get_field_index("bytes") >= 0 and _is_image(found.field("bytes").type)
    return pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_binary_view(found)


def _is_label(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        return _is_label(found.value_type)
    return pa.types.is_integer(found) or _is_text(found)


def _is_text(found: pa.DataType) -> bool:
    return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)


def _named_classes(schema: pa.Schema, column: str, path: str) -> tuple[str, ...] | None:
    """Returns the names that Hugging Face's metadata gives to a column of integers."""
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = json.loads(metadata).get("info", {}).get("features", {}).get(column, {}).get("names")
        return tuple(str(name) for name in names) if names else None
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} has `huggingface` metadata of another form than its library writes ({one_line(error)}): remove it."
        ) from error


def _contents(table: Table, kept_B: np.ndarray) -> Iterator[bytes | None]:
    return (content if isinstance(content, bytes) else None for _, content in _read_images(table, kept_B))


def _read_images(table: Table, kept_B: np.ndarray) -> Iterator[Encoded]:
    """Yields the encoded images at some positions, ascending; skips row groups without any."""
    start = 0
    for info in table.files:
        with _opened(table, info.path) as parquet:
            name = _find_column(table, parquet.schema_arrow, "image", info.path)
            first = start
            for group in range(parquet.num_row_groups):
                about = parquet.metadata.row_group(group)
                end = start + about.num_rows
                # Equal images are stored once, so each may be as large as all that is stored.
                num_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, about.total_byte_size)))
                if ((start <= kept_B) & (kept_B < end)).any():
                    for batch in parquet.iter_batches(num_rows, row_groups=[group], columns=[name]):
                        column = batch.column(0)
                        bytes_B = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
                        for position in kept_B[(start <= kept_B) & (kept_B < start + len(batch))]:
                            yield f"row {position - first} of {info.path}", bytes_B[int(position - start)].as_py()
                        start += len(batch)
                start = end


@contextmanager
def _opened(table: Table, path: str, *, read_dictionary: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    try:
        with (
            table.filesystem.open_input_file(path) as file,
            pq.ParquetFile(file, read_dictionary=read_dictionary) as parquet,
        ):
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(f"{path} cannot be read as Parquet ({one_line(error)}): write it again.") from error
