"""A folder on a local path, NFS or object storage: files appear whole or not at all, and nothing is ever unpickled."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.store.places.bucket import Bucket
from orchestrator.store.places.patience import AwayError
from orchestrator.store.places.place import TEMPORARY, Place, Stamp
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


class Folder:
    """A folder of the store; paths are relative to it, with forward slashes."""

    def __init__(self, place: Place, path: str) -> None:
        """Takes where its files lie, and the path there."""
        self.place = place
        self.path = path

    def folder(self, path: str) -> "Folder":
        """Returns a folder below this one; it need not exist."""
        return Folder(self.place, self._full(path))

    @property
    def root(self) -> str:
        """Where the folder is, as people write it: a path, or a URI without its options."""
        return f"{self.place.prefix}{self.path}"

    @property
    def bucket(self) -> Bucket | None:
        """The bucket of an object store, which every machine sees, and which has no folders, renames or locks."""
        return self.place if isinstance(self.place, Bucket) else None

    @property
    def is_on_object_store(self) -> bool:
        """Whether it is on S3 or its like."""
        return self.bucket is not None

    @property
    def local_path(self) -> Path | None:
        """The folder as a path of this machine, or None on object storage."""
        return None if self.bucket else Path(self.path)

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
        with self.doing("read", path):
            return self.place.exists(self._full(path))

    def names(self) -> list[str]:
        """Returns the names of the folders and files directly in this folder, sorted; none if it does not exist."""
        with self.doing("read"):
            return sorted(name for name in self.place.names(self.path) if not name.startswith(TEMPORARY))

    def stamps(self) -> dict[str, Stamp]:
        """Returns what is known of every file in this folder and below, by its path; unfinished writes included."""
        with self.doing("read"):
            return dict(self.place.stamps(self.path))

    def sizes(self) -> dict[str, int]:
        """Returns the bytes of every file in this folder and below, by its path; unfinished writes included."""
        return {path: stamp.size for path, stamp in self.stamps().items()}

    def read_bytes(self, path: str) -> bytes | None:
        """Returns the content of a file, or None if there is no such file."""
        with self.doing("read", path):
            return self.place.read(self._full(path))

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file so that readers see the old content or all of the new, whatever dies in between.

        Raises:
            UnwritableError: The folder cannot be written; so do all methods that write or delete.
            UnreachableError: The storage does not answer.
        """
        with self.doing("write", path):
            self.place.write(self._full(path), content)

    def delete(self, path: str) -> None:
        """Removes a file; one that does not exist is no error."""
        with self.doing("delete", path):
            self.place.delete(self._full(path))

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it; one that does not exist is no error."""
        with self.doing("delete", path):
            self.place.delete_folder(self._full(path))

    def _full(self, path: str) -> str:
        return f"{self.path}/{path}" if path else self.path

    @contextmanager
    def doing(self, verb: str, path: str = "") -> Iterator[None]:
        """Makes errors of the place, in a `with` block, those of the store: what was done to which file, and a hint."""
        try:
            yield
        except OSError as error:
            is_read = verb == "read"
            kind = UnreachableError if is_read or isinstance(error, AwayError) else UnwritableError
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


HINT = (
    "Check the bucket, the network, and the credentials, which every machine finds in its own environment "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or the role of the machine)."
)
