"""The store: one folder per trial, on a local path, NFS or object storage. The only truth about what is done.

    <storage>/<stage>/<uid>/recipe.json            what runs, with the point its study chose; written first
                           /env.json               code, versions, device, data and seeds of the worker that ran it
                           /epochs.parquet         one row per epoch: epoch, seconds, timestamp_ms, metrics
                           /resume/state.safetensors   after every epoch; removed once the trial is done
                           /checkpoint.safetensors     the trained tensors
                           /predictions.parquet    per image and split: label, predictions, chosen bit-widths
                           /error.txt              the traceback of the last failure
                           /log.txt                its last log lines; see `orchestrator.trial_logs`
                           /attempts.json          how often it failed in which way; see `orchestrator.failures`
                           /pruned.json            after which epoch its study ended it; then there is no result
                           /result.json            metrics and checksums; written last: it *is* "done"
    <storage>/sweeps/<name>/                       plan.json, studies, reports of one sweep
    <storage>/probes/<key>.json                    memory that a training takes on a kind of GPU; may be deleted

Files appear whole or not at all. Nothing here is ever unpickled.
"""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from search_spaces.errors import StorageError, UnwritableError
from search_spaces.uris import absolute_uri

RECIPE = "recipe.json"
EPOCHS = "epochs.parquet"
RESUME = "resume/state.safetensors"
CHECKPOINT = "checkpoint.safetensors"
PREDICTIONS = "predictions.parquet"
ERROR = "error.txt"
LOG = "log.txt"
ATTEMPTS = "attempts.json"
RESULT = "result.json"
PRUNED = "pruned.json"
TEMPORARY = ".tmp-"
"""How the name of a file begins while it is written; one that stays was left by a process that died."""


class Folder:
    """A folder of the store; paths are relative to it, with forward slashes."""

    def __init__(self, filesystem: pafs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self.root = root

    def folder(self, path: str) -> "Folder":
        """Returns a folder below this one; it need not exist."""
        return Folder(self._filesystem, f"{self.root}/{path}")

    @property
    def local_path(self) -> Path | None:
        """The folder as a path of this machine, or None on object storage."""
        return Path(self.root) if isinstance(self._filesystem, pafs.LocalFileSystem) else None

    def exists(self, path: str) -> bool:
        """Tells whether a file exists."""
        return self._filesystem.get_file_info(f"{self.root}/{path}").type == pafs.FileType.File

    def names(self) -> list[str]:
        """Returns the names of the folders and files directly in this folder, sorted; none if it does not exist."""
        infos = self._filesystem.get_file_info(pafs.FileSelector(self.root, allow_not_found=True))
        return sorted(info.base_name for info in infos if not info.base_name.startswith(TEMPORARY))

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file so that readers see the old content or all of the new, whatever dies in between.

        Raises:
            UnwritableError: The folder cannot be written.
        """
        target = f"{self.root}/{path}"
        parent, _, name = target.rpartition("/")
        # Object stores publish an upload when it is complete; local files need a rename.
        temporary = f"{parent}/{TEMPORARY}{uuid.uuid4().hex}-{name}" if self.local_path else target
        try:
            self._filesystem.create_dir(parent)
            if self.local_path:
                _write_synced(Path(temporary), content)
                os.replace(temporary, target)
            else:
                with self._filesystem.open_output_stream(target) as stream:
                    stream.write(content)
        except OSError as error:
            if self.local_path:
                # Half a file takes room on a full disk.
                with suppress(OSError):
                    Path(temporary).unlink(missing_ok=True)
            raise UnwritableError(
                f"cannot write {target}: {error}. Free or unlock the folder, or choose another."
            ) from error

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""
        try:
            with self._filesystem.open_input_stream(f"{self.root}/{path}", compression=None) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        """Removes a file; one that does not exist is no error.

        Raises:
            UnwritableError: The folder cannot be written.
        """
        try:
            if self.exists(path):
                self._filesystem.delete_file(f"{self.root}/{path}")
        except OSError as error:
            raise UnwritableError(f"cannot delete {self.root}/{path}: {error}. Unlock the folder.") from error

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it; one that does not exist is no error."""
        if self._filesystem.get_file_info(f"{self.root}/{path}").type == pafs.FileType.Directory:
            self._filesystem.delete_dir(f"{self.root}/{path}")

    def sizes(self) -> dict[str, int]:
        """Returns the bytes of every file in this folder and below, by its path; unfinished writes included."""
        selector = pafs.FileSelector(self.root, allow_not_found=True, recursive=True)
        infos = self._filesystem.get_file_info(selector)
        return {info.path[len(self.root) + 1 :]: info.size for info in infos if info.type == pafs.FileType.File}

    def write_json(self, path: str, value: Mapping[str, Any]) -> None:
        """Writes a JSON object, indented for people."""
        self.write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Returns a JSON object, or None if there is no such file.

        Raises:
            StorageError: The file is there and is not a JSON object.
        """
        content = self.read_bytes(path)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise StorageError(
                f"{self.root}/{path} is not a JSON object: it was cut short or edited. Move it away and launch again."
            )
        return value

    def write_table(self, path: str, table: pa.Table) -> None:
        """Writes a table as Parquet."""
        self.write_bytes(path, parquet_bytes(table))

    def read_table(self, path: str) -> pa.Table | None:
        """Returns a Parquet table, or None if there is no such file.

        Raises:
            StorageError: The file is there and is no Parquet table.
        """
        content = self.read_bytes(path)
        try:
            # Tables here are small: threads, and what `read_table` can do beyond one file, take longer than reading.
            return None if content is None else pq.ParquetFile(io.BytesIO(content)).read(use_threads=False)
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"{self.root}/{path} is no Parquet table: it was cut short or edited. Delete it and launch again."
            ) from error


class Store:
    """All trials and sweeps under one storage folder."""

    def __init__(self, uri: str, *, create: bool = True) -> None:
        """Opens a storage folder.

        Args:
            uri: A path, or a URI that pyarrow.fs understands (`s3://...`, `gs://...`, `file://...`).
            create: Make the folder, and check that it can be written.

        Raises:
            ConfigError: The URI holds credentials.
            StorageError: The URI is not understood, or the folder cannot be written.
        """
        uri = absolute_uri(uri, what="storage")
        self.uri = uri
        try:
            filesystem, root = pafs.FileSystem.from_uri(uri)
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise StorageError(
                f"storage {uri!r} cannot be opened: {error}. Give a path, s3://... or gs://..."
            ) from error
        self.root = Folder(filesystem, root.rstrip("/"))
        if create:
            self.root.write_bytes(".writable", b"")
            self.root.delete(".writable")

    def trial(self, stage: str, uid: str) -> Folder:
        """Returns the folder of a trial."""
        return self.root.folder(f"{stage}/{uid}")

    def sweep(self, name: str) -> Folder:
        """Returns the folder of a sweep."""
        return self.root.folder(f"sweeps/{name}")


def parquet_bytes(table: pa.Table) -> bytes:
    """Serializes a table as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """Returns the checksum that results keep of every file they name."""
    return hashlib.sha256(content).hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
