"""A trial's folder as one attempt at the trial may change it: only while the attempt holds the trial's lease.

On a file system the check and the write are one step. An attempt has a folder of its own in the trial's folder, named
by its token. Every file is written there and then renamed to its place, and what is deleted is renamed into it first.
Who takes the trial over renames that folder away: whatever the former attempt still has under way fails from then on,
however long it was frozen between two lines.

On an object store nothing can be renamed, and pyarrow.fs has no write that depends on what is there. There the lease is
read before a write, unless that was done within `CHECK_SECONDS`. A write that was sent and hangs may arrive later.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.store.folder import LEASE, TEMPORARY, Folder, replace_file, temporary_name
from search_spaces.errors import StorageError, UnreachableError

BEAT_SECONDS = 5.0
CHECK_SECONDS = 2.0
"""On an object store, time for which a lease that was read counts as held."""


class LostLeaseError(Exception):
    """Another attempt has taken the trial over; nothing of this one counts any more."""


def attempt_path(attempt: str) -> str:
    """Returns the folder of an attempt, below the trial's."""
    return f"{TEMPORARY}{attempt}"


def beat_path(attempt: str) -> str:
    """Returns the file that an attempt's worker changes as long as it works, below the trial's folder."""
    return f"{attempt_path(attempt)}/beat"


class FencedFolder(Folder):
    """A trial's folder; what changes it raises `LostLeaseError` once the attempt holds the trial no more."""

    def __init__(self, folder: Folder, attempt: str) -> None:
        """Takes the trial's folder and the token of an attempt, which was given the lease."""
        super().__init__(folder.filesystem, folder.path)
        self.attempt = attempt
        self._checked_at = float("-inf")

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file as `Folder.write_bytes` does, if the attempt holds the lease when the file takes its place."""
        if not self.local_path:
            self.check()
            super().write_bytes(path, content)
            return
        target = self.local_path / path
        with self._doing("write", path), self._fenced():
            self.check(is_final=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, content, self._temporary(path))

    def delete(self, path: str) -> None:
        """Removes a file, if the attempt holds the lease."""
        if not self.local_path:
            self.check()
            super().delete(path)
        elif (gone := self._move_away(path)).exists():
            gone.unlink()

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it, if the attempt holds the lease."""
        if not self.local_path:
            self.check()
            super().delete_folder(path)
        elif (gone := self._move_away(path)).exists():
            shutil.rmtree(gone, ignore_errors=True)

    def check(self, *, is_final: bool = False) -> None:
        """Makes sure that the attempt holds the lease; `is_final` asks the storage in any case.

        Raises:
            LostLeaseError: It does not.
        """
        now = time.monotonic()
        if not is_final and now - self._checked_at < CHECK_SECONDS:
            return
        if self.local_path:
            is_held = (self.local_path / attempt_path(self.attempt)).is_dir()
        else:
            is_held = (self.read_json(LEASE) or {}).get("attempt") == self.attempt
        if not is_held:
            raise LostLeaseError(self.root)
        self._checked_at = now

    def beat(self, number: int) -> None:
        """Shows that a worker is at work.

        Raises:
            LostLeaseError: The attempt does not hold the lease.
        """
        if not self.local_path:
            self.check(is_final=True)
            super().write_bytes(beat_path(self.attempt), str(number).encode())
            return
        with self._doing("write", beat_path(self.attempt)), self._fenced():
            (self.local_path / beat_path(self.attempt)).write_text(str(number))

    def _temporary(self, path: str) -> Path:
        assert self.local_path is not None
        return self.local_path / attempt_path(self.attempt) / temporary_name(path.replace("/", "-"))

    def _move_away(self, path: str) -> Path:
        """Renames something into the attempt's folder, where it is nothing any more; returns where."""
        assert self.local_path is not None
        gone = self._temporary(path)
        with self._doing("delete", path):
            try:
                (self.local_path / path).rename(gone)
            except FileNotFoundError:
                self.check(is_final=True)
        return gone

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise LostLeaseError(self.root) from None


@contextmanager
def beating(folder: FencedFolder, *, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Shows for the duration of a `with` block, from a thread, that a worker is at work."""
    is_over = threading.Event()

    def run() -> None:
        number = 0
        while not is_over.wait(seconds if number else 0):
            number += 1
            try:
                folder.beat(number)
            except LostLeaseError:
                return  # the next write says so
            except (UnreachableError, StorageError):
                continue  # the storage is away or full: the trial will say so, and the next beat may get through

    thread = threading.Thread(target=run, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
