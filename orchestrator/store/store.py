"""The store: one folder per trial, on a local path, NFS or object storage. The only truth about what is done.

    <storage>/<stage>/<uid>/recipe.json            what runs, with the point its study chose; written first
                           /lease.json             which attempt works on it; see `orchestrator.store.leases.trials`
                           /env.json               code, versions, device, data and seeds, of every attempt
                           /epochs.parquet         one row per epoch: epoch, seconds, timestamp_ms, metrics
                           /resume/state.safetensors   after every epoch; removed once the trial is done
                           /checkpoint.safetensors     the trained tensors
                           /predictions.parquet    per image and split: label, predictions, chosen bit-widths
                           /error.txt              the traceback of the last failure
                           /log.txt                its last log lines; see `orchestrator.store.logs`
                           /attempts.json          how often it failed in which way; see `orchestrator.store.failures`
                           /pruned.json            after which epoch its study ended it; then there is no result
                           /result.json            metrics and checksums; written last: it *is* "done"
    <storage>/sweeps/<name>/                       plan.json, studies, reports of one sweep, outside_epochs.json
    <storage>/probes/<key>.json                    memory that a training takes on a kind of GPU; may be deleted
    <storage>/storage.json                         the id of the storage, by which MLflow knows it wherever it lies

Files appear whole or not at all. Nothing here is ever unpickled.
"""

import json
import uuid
from collections.abc import Callable
from urllib.parse import unquote

from filelock import FileLock

from orchestrator.store.folder import Folder
from orchestrator.store.places.buckets import is_bucket, open_bucket
from orchestrator.store.places.file_system import FileSystem
from orchestrator.store.places.patience import Patience
from search_spaces.errors import StorageError, one_line
from search_spaces.uris import absolute_uri

IDENTITY = "storage.json"
ID_LOCK = ".storage.lock"
ID_SECONDS = 10.0
"""Longest wait for another process that gives the storage its id."""


class Store:
    """All trials and sweeps under one storage folder."""

    def __init__(self, uri: str, *, create: bool = True) -> None:
        """Opens a storage folder.

        Args:
            uri: A path, or a URI (`s3://...`, `gs://...`, `abfss://...`, `file://...`); the query of one
                may name a server of another vendor, as in `s3://bucket/x?endpoint_override=host:9000&scheme=http`.
            create: Make the folder, and check that it can be written.

        Raises:
            ConfigError: The URI holds credentials.
            StorageError: The URI is not understood, or the folder cannot be written.
        """
        uri = absolute_uri(uri, what="storage")
        self.uri = uri
        self.root = _root(uri)
        if create:
            self.root.write_bytes(".writable", b"")
            self.root.delete(".writable")

    def read_id(self) -> str | None:
        """Returns the id of the storage; None as long as it has none.

        Raises:
            StorageError: Its file was edited.
        """
        content = self.root.read_json(IDENTITY)
        if content is None:
            return None
        if not (isinstance(found := content.get("id"), str) and found.isalnum()):
            raise StorageError(
                f"{self.root.root}/{IDENTITY} has no id of letters and digits: it was edited. Put the file of a backup "
                "back, or delete it: then the storage gets another id, and its sweeps other experiments in MLflow."
            )
        return found

    def make_id(self) -> str:
        """Returns the id of the storage, and gives it one if it has none: the first one stays, whoever comes then."""
        if (found := self.read_id()) is not None:
            return found
        own = {"id": uuid.uuid4().hex}
        if bucket := self.root.bucket:
            with self.root.doing("write", IDENTITY):
                bucket.write_if(self.root.folder(IDENTITY).path, json.dumps(own).encode(), None)
        elif path := self.root.local_path:
            with FileLock(path / ID_LOCK, timeout=ID_SECONDS):
                if self.read_id() is None:
                    self.root.write_json(IDENTITY, own)
        return self.read_id() or own["id"]

    def wait_for(self, seconds: float, say: Callable[[str], None] = lambda line: None) -> None:
        """From now on asks an object store that went away again, for so long; see `Patience`.

        `say` takes a line when it goes away, and one when it is back.
        """
        if bucket := self.root.bucket:
            bucket.patience = Patience(seconds, say)

    def trial(self, stage: str, uid: str) -> Folder:
        """Returns the folder of a trial."""
        return self.root.folder(f"{stage}/{uid}")

    def sweep(self, name: str) -> Folder:
        """Returns the folder of a sweep."""
        return self.root.folder(f"sweeps/{name}")


def _root(uri: str) -> Folder:
    if is_bucket(uri):
        try:
            return Folder(*open_bucket(uri))
        except StorageError:
            raise
        except Exception as error:  # obstore's are of many kinds, and none of the store is known yet
            raise StorageError(f"storage {uri!r} cannot be opened: {one_line(error)}.") from error
    scheme, _, path = uri.rpartition("://")
    if scheme not in ("", "file"):
        raise StorageError(f"storage {uri!r} cannot be opened: give a path, s3://... or gs://...")
    return Folder(FileSystem(), (unquote(path) if scheme else uri).rstrip("/"))
