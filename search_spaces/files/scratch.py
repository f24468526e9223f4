"""Folders for a while, which do not outlive the processes that made them."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

PREFIX = "dptq-sweep-"
_LOCK = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields an empty folder that goes away with its block, and removes those of processes that were killed in theirs.

    A folder is locked by its process. So it is told apart from those of dead ones, from other containers too.
    """
    _remove_left_ones(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as parent:
        with Path(parent, _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = Path(parent, "files")
            folder.mkdir()
            yield folder


@cache
def _remove_left_ones(temporary: Path) -> None:
    """Removes the folders below a folder whose processes are gone; once per process."""
    for path in temporary.glob(f"{PREFIX}*/{_LOCK}"):
        # Of another user, or its process removes it just now.
        with suppress(OSError), path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
