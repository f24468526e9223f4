"""Small files of a sweep's trials in one object: a launch or `status` reads them with one request, not three per trial.

The listing is asked in any case, and what the index holds of a file counts only if the listing has the same size, time
and tag for it. So nothing can be wrong that the folders have right: whatever else it holds is read from the folders,
and so is all of it where the index is missing, damaged or not to be trusted (`--verify`). File systems have none.
"""

import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.store.folder import Folder
from orchestrator.store.places.place import Stamp

INDEX = "index.parquet"
_COLUMNS = {
    "path": pa.string(),
    "size": pa.int64(),
    "changed_ns": pa.int64(),
    "tag": pa.string(),
    "content": pa.binary(),
}


class Entry(NamedTuple):
    """A file as it was read."""

    stamp: Stamp
    content: bytes


class Index:
    """What was kept of a sweep's small files, by their paths below the storage."""

    def __init__(self, folder: Folder, *, is_trusted: bool = True) -> None:
        """Reads the index in a sweep's folder; none if it is not trusted, or on a file system."""
        self._folder = folder if folder.bucket else None
        self._kept: dict[str, Entry] = {}
        if self._folder and is_trusted and (content := self._folder.read_bytes(INDEX)):
            self._kept = _read(content)

    def below(self, path: str, stamps: Mapping[str, Stamp]) -> dict[str, bytes]:
        """Returns the files of a trial that are still what its listing says, by their names."""
        found = {name: self._kept.get(f"{path}/{name}") for name in stamps} if self._kept else {}
        return {name: entry.content for name, entry in found.items() if entry and entry.stamp == stamps[name]}

    def save(self, files: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Keeps files, with what their listing said, in place of what was kept; of file systems nothing."""
        if self._folder is None:
            return
        kept = {path: Entry(stamp, content) for path, stamp, content in files}
        if kept != self._kept:
            rows = [(path, *entry.stamp, entry.content) for path, entry in kept.items()]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in _COLUMNS]
            table = pa.table(dict(zip(_COLUMNS, columns, strict=True)), schema=pa.schema(_COLUMNS))
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
            self._folder.write_bytes(INDEX, buffer.getvalue())
            self._kept = kept


def _read(content: bytes) -> dict[str, Entry]:
    try:
        rows = pq.ParquetFile(io.BytesIO(content)).read(columns=list(_COLUMNS), use_threads=False)
        columns = [column.to_pylist() for column in rows.cast(pa.schema(_COLUMNS)).columns]
    except (pa.ArrowException, KeyError):
        return {}
    return {path: Entry(Stamp(*stamp), kept) for path, *stamp, kept in zip(*columns, strict=True)}
