"""What a trial's network answered in a runtime: a file of its own, which may come long after the trial's result.

Another verification of the trial takes its place. The file holds a checksum of itself, since the result, which has
those of all other files, is written once.
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.store.folder import VERIFICATION, sha256
from orchestrator.store.records import Record, read_record
from orchestrator.store.trial import TrialFolder
from search_spaces.errors import StorageError

VERIFICATION_SCHEMA = 1


class VerificationRecord(Record):
    """What was found, or why nothing was."""

    uid: str
    """Of the trial."""
    verified_at: str
    """In ISO format, UTC."""
    found: dict[str, Any] | None
    """What `verify --json` writes; None where the network cannot be run."""
    error: str = ""
    """Why it cannot."""
    sha256: str

    @property
    def verified_ms(self) -> int:
        """When it was, in milliseconds since 1970."""
        return int(1000 * datetime.datetime.fromisoformat(self.verified_at).timestamp())


def write_verification(trial: TrialFolder, found: Mapping[str, Any] | None, *, error: str = "") -> None:
    """Keeps what was found of a trial's network in place of what was found before.

    Raises:
        StorageError: It cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    content = {"uid": trial.uid, "verified_at": now, "found": found, "error": error}
    trial.folder.write_json(VERIFICATION, {"schema": VERIFICATION_SCHEMA, **content, "sha256": _checksum(content)})


def read_verification(trial: TrialFolder) -> VerificationRecord | None:
    """Returns what was found last, or None if the trial was never verified.

    Raises:
        StorageError: The file is damaged, of another trial, or of another version of this program.
    """
    content = trial.folder.read_json(VERIFICATION)
    if content is None:
        return None
    path, hint = f"{trial.folder.root}/{VERIFICATION}", f"`dptq-sweep verify {trial.uid}` measures it again."
    if content.get("schema") != VERIFICATION_SCHEMA:
        schema = content.get("schema")
        raise StorageError(f"{path} has schema {schema}, this version reads {VERIFICATION_SCHEMA}: {hint}")
    record = read_record(VerificationRecord, content, f"{path} is damaged: {hint}")
    if record.sha256 != _checksum({name: content.get(name) for name in ("uid", "verified_at", "found", "error")}):
        raise StorageError(f"{path} is damaged (its checksum differs): {hint}")
    if record.uid != trial.uid:
        raise StorageError(f"{path} is of trial {record.uid}: {hint}")
    return record


def _checksum(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())
