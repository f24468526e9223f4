"""What a Ray worker prints while it runs a trial, for the log of a failed one."""

import re
import sys
from pathlib import Path

from cluster.runtime.ray_internals import output_files

LONGEST_TAIL = 64 * 1024
"""Bytes that are read of a stream: a worker that prints without end must not fill the storage."""
_RAYS_OWN = re.compile(r"^:(job_id|actor_name|task_name):")


class WorkerOutput:
    """What this Ray worker prints from now on; nothing in a process that is none.

    Ray sends both streams of a worker to files, and one worker runs trial after trial: what stood there before belongs
    to others.
    """

    def __init__(self) -> None:
        """Marks the ends of both files."""
        self._starts = {path: path.stat().st_size for path in output_files()}

    def lines(self) -> list[str]:
        """Returns what was printed since, standard output first, without the marks that Ray writes for itself."""
        sys.stdout.flush()
        sys.stderr.flush()
        lines = (line for path, start in self._starts.items() for line in _tail(path, start))
        return [line for line in lines if not _RAYS_OWN.match(line)]


def _tail(path: Path, start: int) -> list[str]:
    """Returns the last lines of a file from a place on; all of one that was begun again because it grew too large."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(start if start <= size else 0, size - LONGEST_TAIL))
        return file.read().decode(errors="replace").splitlines()
