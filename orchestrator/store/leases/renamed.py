"""Attempts on a file system: the check of the lease and the write are one step, a rename.

An attempt has a folder of its own in the trial's folder, named by its token. Every file is written there and then
renamed to its place, and what is deleted is renamed into it first. Who takes the trial over renames that folder away:
whatever the former attempt still has under way fails from then on, however long it was frozen between two lines.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.places.file_system import replace_file, temporary_name
from orchestrator.store.places.listed import ListedFolder, listed
from orchestrator.store.places.place import TEMPORARY


def attempt_path(attempt: str) -> str:
    """Returns the folder of an attempt, below the trial's."""
    return f"{TEMPORARY}{attempt}"


def beat_path(attempt: str) -> str:
    """Returns the file that an attempt's worker changes as long as it works, below the trial's folder."""
    return f"{attempt_path(attempt)}/beat"


def close_attempt(trial: Path, attempt: str) -> None:
    """Ends an attempt: what it still has under way fails from now on."""
    gone = trial / f"{TEMPORARY}{uuid.uuid4().hex}"
    with suppress(FileNotFoundError):
        (trial / attempt_path(attempt)).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


class RenamedFolder(FencedFolder):
    """A trial's folder on a file system."""

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file as `Folder.write_bytes` does, if the attempt holds the lease when the file takes its place."""
        target = self._here / path
        with self.doing("write", path), self._fenced():
            self.check()
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, content, self._temporary(path))

    def delete(self, path: str) -> None:
        """Removes a file, if the attempt holds the lease."""
        if (gone := self._move_away(path)).exists():
            gone.unlink()

    def delete_folder(self, path: str) -> None:
        """Removes a folder with all below it, if the attempt holds the lease."""
        if (gone := self._move_away(path)).exists():
            shutil.rmtree(gone, ignore_errors=True)

    def check(self) -> None:
        """Makes sure that the attempt's own folder is there."""
        if not (self._here / attempt_path(self.attempt)).is_dir():
            raise LostLeaseError(self.root)

    def beat(self, number: int) -> None:
        """Writes a number into the attempt's own folder."""
        with self.doing("write", beat_path(self.attempt)), self._fenced():
            (self._here / beat_path(self.attempt)).write_text(str(number))

    def as_known(self) -> ListedFolder:
        """Lists the folder."""
        return listed(self)

    def hand_over(self) -> None:
        """Does nothing: nothing is remembered."""

    @property
    def _here(self) -> Path:
        assert self.local_path is not None, f"{self.root} is on no file system"
        return self.local_path

    def _temporary(self, path: str) -> Path:
        return self._here / attempt_path(self.attempt) / temporary_name(path.replace("/", "-"))

    def _move_away(self, path: str) -> Path:
        """Renames something into the attempt's folder, where it is nothing any more; returns where."""
        gone = self._temporary(path)
        with self.doing("delete", path):
            try:
                (self._here / path).rename(gone)
            except FileNotFoundError:
                self.check()
        return gone

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise LostLeaseError(self.root) from None
