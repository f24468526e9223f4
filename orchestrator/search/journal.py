"""The journal: the file of all studies of a sweep, which only the driver opens.

It lies in the sweep's folder. An object store has no files to append to: there the driver works on a copy, which it
puts back when the launch ends, well or badly.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.store.folder import Folder
from search_spaces.files.scratch import scratch_folder

JOURNAL = "studies.log"
"""Name of the file, in the folder of its sweep."""


def open_journal(path: Path) -> JournalStorage:
    """Opens or creates the file of all studies of a sweep. Open it once: every opening reads and keeps all of it."""
    return JournalStorage(JournalFileBackend(str(path)))


@contextmanager
def sweep_journal(folder: Folder) -> Iterator[JournalStorage]:
    """Opens the journal in a sweep's folder for the duration of a `with` block."""
    if folder.local_path:
        folder.local_path.mkdir(parents=True, exist_ok=True)
        yield open_journal(folder.local_path / JOURNAL)
        return
    with scratch_folder() as scratch:
        copy = scratch / JOURNAL
        before = folder.read_bytes(JOURNAL)
        copy.write_bytes(before or b"")
        try:
            yield open_journal(copy)
        finally:
            if (now := copy.read_bytes()) != before:
                folder.write_bytes(JOURNAL, now)


def make_journal_whole(path: Path) -> str | None:
    """Readies the file of all studies for a driver that has the sweep to itself.

    A driver that died while it wrote leaves the file locked, and a full disk or a lost machine leaves half a line at
    its end, behind which Optuna would write on. Losing the file loses nothing: studies are filled from the store.

    Returns:
        What was wrong with the file, in one line; None if nothing was, or there is none.
    """
    # Optuna would wait 30 seconds for the process that holds it.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    *lines, rest = path.read_bytes().split(b"\n") if path.exists() else [b""]
    try:
        if not rest and all(isinstance(json.loads(line), dict) for line in lines) and _is_read_by_optuna(path):
            return None
    except ValueError:
        pass  # no JSON, which is what was to be found out
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    return f"{path} was cut short or edited: it is now {aside.name}, and the studies are filled from the store"


def _is_read_by_optuna(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        open_journal(path)
    except Exception:  # Optuna raises whatever a wrong line comes to: KeyError, TypeError, errors of its own
        return False
    return True
