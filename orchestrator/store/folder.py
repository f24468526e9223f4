"""A folder on a local path, NFS or object storage: files appear whole or not at all, and nothing is ever unpickled."""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from search_spaces.errors import StorageError, UnreachableError, UnwritableError, one_line
from search_spaces.files.scratch import scratch_folder

RECIPE = "recipe.json"
ENVIRONMENT = "env.json"
LEASE = "lease.json"
"""Who works on a trial, while somebody does."""
EPOCHS = "epochs.parquet"
RESUME_FOLDER = "resume"
"""What an interrupted trial or analysis goes on from; empty once it ended."""
RESUME = f"{RESUME_FOLDER}/state.safetensors"
CHECKPOINT = "checkpoint.safetensors"
PREDICTIONS = "predictions.parquet"
ERROR = "error.txt"
LOG = "log.txt"
ATTEMPTS = "attempts.json"
RESULT = "result.json"
PRUNED = "pruned.json"
VERIFICATION = "verification.json"
TEMPORARY = ".tmp-"
"""How the name of a file begins while it is written; one that stays was left by a process that died."""


class Stamp(NamedTuple):
    """What a listing says of a file; another one means that the file was written again."""

    size: int
    changed_ns: int


class Folder:
    """A folder of the store; paths are relative to it, with forward slashes."""

    def __init__(self, filesystem: pafs.FileSystem, path: str) -> None:
        self.filesystem = filesystem
        self.path = path

    def folder(self, path: str) -> "Folder":
        """Returns a folder below this one; it need not exist."""
        return Folder(self.filesystem, self._full(path))

    @property
    def root(self) -> str:
        """Where the folder is, as people write it: a path, or a URI without its options."""
        return f"{PREFIXES.get(self.filesystem.type_name, '')}{self.path}"

    @property
    def is_on_object_store(self) -> bool:
        """Whether it is on S3 or its like, which every machine sees, and which has no folders, renames or locks."""
        return self.filesystem.type_name in PREFIXES

    @property
    def local_path(self) -> Path | None:
        """The folder as a path of this machine, or None on object storage."""
        return Path(self.path) if isinstance(self.filesystem, pafs.LocalFileSystem) else None

    @contextmanager
    def on_disk(self, names: Iterable[str] | None = None) -> Iterator[Path]:
        """Yields the folder as a path of this machine; of an object store a copy, which goes away afterwards.

        Args:
            names: The files that are needed, if they exist; None for all of them, those in folders below included.
        """
        if self.local_path:
            yield self.local_path
            return
        with scratch_folder() as scratch:
            copy = Path(scratch, self.path.rpartition("/")[2])
            for name in self.sizes() if names is None else names:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                if (content := self.read_bytes(name)) is not None:
                    (copy / name).write_bytes(content)
            yield copy

    def exists(self, path: str) -> bool:
        """Tells whether a file exists.

        Raises:
            UnreachableError: The storage does not answer; so do all methods that read.
        """
        with self._doing("read", path):
            return bool(self.filesystem.get_file_info(self._full(path)).type == pafs.FileType.File)

    def names(self) -> list[str]:
        """Returns the names of the folders and files directly in this folder, sorted; none if it does not exist."""
        with self._doing("read"):
            infos = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos if not info.base_name.startswith(TEMPORARY))

    def stamps(self) -> dict[str, Stamp]:
        """Returns what is known of every file in this folder and below, by its path; unfinished writes included."""
        with self._doing("read"):
            infos = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True, recursive=True))
        files = (info for info in infos if info.type == pafs.FileType.File)
        return {info.path[len(self.path) + 1 :]: Stamp(info.size, info.mtime_ns) for info in files}

    def sizes(self) -> dict[str, int]:
        """Returns the bytes of every file in this folder and below, by its path; unfinished writes included."""
        return {path: stamp.size for path, stamp in self.stamps().items()}

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""
        with self._doing("read", path):
            try:
                with self.filesystem.open_input_stream(self._full(path), compression=None) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file so that readers see the old content or all of the new, whatever dies in between.

        Raises:
            UnwritableError: The folder cannot be written; so do all methods that write or delete.
        """
        target = self._full(path)
        with self._doing("write", path):
            if self.is_on_object_store:
                upload(self.filesystem, target, content)
                return
            self.filesystem.create_dir(target.rpartition("/")[0])
            if self.local_path:
                path_here = Path(target)
                replace_file(path_here, content, path_here.with_name(temporary_name(path_here.name)))
            else:
                with self.filesystem.open_output_stream(target) as stream:
                    stream.write(content)

    def delete(self, path: str) -> None:
        """Removes a file; one that does not exist is no error."""
        with self._doing("delete", path), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._full(path))

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it; one that does not exist is no error."""
        with self._doing("delete", path):
            if self.filesystem.get_file_info(self._full(path)).type == pafs.FileType.Directory:
                self.filesystem.delete_dir(self._full(path))

    def _full(self, path: str) -> str:
        return f"{self.path}/{path}" if path else self.path

    @contextmanager
    def _doing(self, verb: str, path: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_read = verb == "read"
            kind = UnreachableError if is_read else UnwritableError
            hint = "Unlock it." if is_read else "Free or unlock the folder, or choose another."
            hint = HINT if self.is_on_object_store else hint
            raise kind(f"cannot {verb} {self.folder(path).root}: {one_line(error)}. {hint}") from error

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


def parquet_bytes(table: pa.Table) -> bytes:
    """Serializes a table as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """Returns the checksum that results keep of every file they name."""
    return hashlib.sha256(content).hexdigest()


def temporary_name(name: str) -> str:
    """Returns a name for a file while it is written."""
    return f"{TEMPORARY}{uuid.uuid4().hex}-{name}"


def replace_file(path: Path, content: bytes, temporary: Path) -> None:
    """Writes a file of this machine, which then takes the place of another one in one step."""
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        # Half a file takes room on a full disk.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


PREFIXES = {"s3": "s3://", "gcs": "gs://"}
"""How a place is written, by pyarrow's name of its filesystem."""
HINT = (
    "Check the bucket, the network, and the credentials, which every machine finds in its own environment "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or the role of the machine)."
)


def upload(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    """Writes an object, which appears whole when its stream is closed.

    In a thread of its own, because signals interrupt the main thread only: a stream that Ctrl-C leaves is closed, too,
    and an empty object would appear in place of the old one.
    """

    def write() -> None:
        stream = filesystem.open_output_stream(path)
        stream.write(content)
        stream.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(write).result()
