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

Files appear whole or not at all. Nothing here is ever unpickled.
"""

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.store.folder import Folder
from search_spaces.errors import StorageError, one_line
from search_spaces.uris import absolute_uri, with_defaults


class Store:
    """All trials and sweeps under one storage folder."""

    def __init__(self, uri: str, *, create: bool = True) -> None:
        """Opens a storage folder.

        Args:
            uri: A path, or a URI that pyarrow.fs understands (`s3://...`, `gs://...`, `file://...`); the query of one
                may name a server of another vendor, as in `s3://bucket/x?endpoint_override=host:9000&scheme=http`.
            create: Make the folder, and check that it can be written.

        Raises:
            ConfigError: The URI holds credentials.
            StorageError: The URI is not understood, or the folder cannot be written.
        """
        uri = absolute_uri(uri, what="storage")
        self.uri = uri
        try:
            filesystem, root = pafs.FileSystem.from_uri(with_defaults(uri))
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise StorageError(
                f"storage {uri!r} cannot be opened: {one_line(error)}. Give a path, s3://... or gs://..."
            ) from error
        self.root = Folder(filesystem, root.rstrip("/"))
        if self.root.is_on_object_store and not root:
            raise StorageError(f"storage {uri!r} names no bucket: give {uri.partition('?')[0]}bucket/folder.")
        if create:
            self.root.write_bytes(".writable", b"")
            self.root.delete(".writable")

    def trial(self, stage: str, uid: str) -> Folder:
        """Returns the folder of a trial."""
        return self.root.folder(f"{stage}/{uid}")

    def sweep(self, name: str) -> Folder:
        """Returns the folder of a sweep."""
        return self.root.folder(f"sweeps/{name}")
