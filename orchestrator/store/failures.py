"""Failure classes: what an error means for its trial and for the sweep, told from the error.txt that it left.

    class           example                          within a launch                      next launch
    user            a parent's checkpoint damaged    not retried                          runs again
    shared          data or library missing, or a    not retried; the sweep stops         runs again
                    storage that is full
    diverged        the loss became NaN              not retried                          only `resume --failed`
    out of memory   a GPU too full                   once more, with a whole GPU          if tries are left
    lost            worker killed, node gone         again, up to MAX_LOST times          if tries are left
    stalled         no epoch for 20 times as long    again, up to MAX_STALLED times       if tries are left
                    as the longest took
    unknown         any other exception, a storage   again, up to `--max-retries` times   if tries are left
                    that does not answer, or a full
                    disk of a machine

Tries are counted in the trial's attempts.json, so they survive a relaunch; `resume --failed` starts the count again.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cluster.runtime.ray_internals import LOST_WORKER
from search_spaces.errors import (
    FullDiskError,
    NonFiniteLossError,
    SweepError,
    UnavailableError,
    UnreachableError,
    UnwritableError,
    one_line,
    shortened,
)

MAX_RETRIES = 2
"""Times that a trial is tried again after an unknown error, unless told otherwise."""
MAX_LOST = 10
"""Times that a trial is tried again after the loss of its worker or node: spot machines go often."""
MAX_STALLED = 2
"""Times that a trial is tried again after it stalled: what hangs thrice hangs always."""
MAX_EQUAL_FAILURES = 3
"""So many trials that fail alike one after the other stop the sweep: the next one would, too."""
OUT_OF_MEMORY_ERROR = "OutOfMemoryError"
"""Name of torch's error; the driver has no torch to compare types with."""
FAILED_IMPORT = re.compile(r"^(?:ModuleNotFound|Import)Error: .*$", re.MULTILINE)
"""The last line of the traceback of an import; Ray passes it on as text where a worker could not even begin."""
NO_BEGINNING = "failed to import on the worker"
"""What Ray says of a worker that could not load the code of its trial."""


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM_TEXTS = (*map(os.strerror, _NO_ROOM), "database or disk is full", "local disk's utilization is over capacity")
"""How libraries tell of it that raise errors of their own: safetensors and others, SQLite, Ray."""


MAX_REASON = 300
"""Largest number of letters that are shown of why Ray lost a worker, which may be a page."""


class LostWorkerError(Exception):
    """A trial's process died, or its machine went away, before it could say anything."""

    def __init__(self, reason: str = "") -> None:
        """Says why, as far as Ray knows."""
        super().__init__(f"its worker process or its node was lost{f' ({reason})' if reason else ''}")


class StalledTrialError(Exception):
    """A trial had no epoch for far longer than its epochs take."""


class Failure(StrEnum):
    """Kind of a failure, which decides what happens next."""

    USER = "user error"
    SHARED = "shared error"
    """A user error that every other trial would meet too."""
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost worker"
    STALLED = "stalled"
    UNKNOWN = "unknown error"


@dataclass(frozen=True, slots=True)
class Headline:
    """What the driver reads of an error.txt."""

    failure: Failure
    line: str
    """The error in one line."""
    signature: tuple[str, str]
    """Type of the error and the line of code that raised it: equal for equal failures."""


def headline_of(error_text: str) -> Headline:
    r"""Reads an error.txt: the error in one line, an empty line, the traceback.

    Examples:
        >>> headline_of('KeyError: 7\n\nTraceback\n  File "a.py", line 3, in f\n    x[7]\nKeyError: 7\n').signature
        ('KeyError', 'File "a.py", line 3, in f')
    """
    line = error_text.partition("\n")[0]
    kind = line.partition(":")[0]
    frames = re.findall(r'^ +(File ".*)$', error_text, re.MULTILINE)
    return Headline(_failure(kind), line or "error.txt is empty", (kind, frames[-1] if frames else ""))


def cannot_import(error: str, node: str) -> UnavailableError:
    """Builds the error for a worker that lacks a library: every trial there would meet it, however often tried.

    Examples:
        >>> print(cannot_import("No module named 'timm'", "gpu-1"))
        a worker on node gpu-1 cannot import what its trial needs (No module named 'timm'): install there the versions \
that constraints.txt pins, or start its machines from an image that holds them.
    """
    return UnavailableError(
        f"a worker on node {node} cannot import what its trial needs ({error}): install there the versions that "
        "constraints.txt pins, or start its machines from an image that holds them."
    )


def failed_import(error_text: str) -> UnavailableError | None:
    """Finds, in what Ray says of a dead worker, that its code could not be imported there; None if that was not it."""
    if NO_BEGINNING not in error_text or not (lines := FAILED_IMPORT.findall(error_text)):
        return None
    node = re.search(r"\bip[=:] ?([0-9a-fA-F.:]*[0-9a-fA-F])", error_text)
    return cannot_import(lines[0].partition(": ")[2], node[1] if node else "unknown to Ray")


def lost_worker(error_text: str) -> LostWorkerError:
    r"""Builds the error of a trial whose worker is gone, with what Ray says of it beyond that.

    Examples:
        >>> print(lost_worker("Failure # 1\nRay lost the worker: OutOfMemoryError: 15.2GB / 16.0GB (0.95)\n"))
        its worker process or its node was lost (OutOfMemoryError: 15.2GB / 16.0GB (0.95))
        >>> print(lost_worker("The actor died unexpectedly before finishing this task."))
        its worker process or its node was lost
    """
    said = re.search(f"^{LOST_WORKER}(.*)$", error_text, re.MULTILINE)
    return LostWorkerError(shortened(said[1], MAX_REASON) if said else "")


def full_disk(error: BaseException, node: str) -> FullDiskError | None:
    """Finds, in an error and in those that it came of, that a disk of this machine is full.

    The storage tells so itself (`UnwritableError`), and then it is full for every machine.

    Args:
        error: What ended a trial.
        node: Name of this machine.

    Returns:
        The error to record, with the given one as its cause; None if that was not it.

    Examples:
        >>> print(full_disk(OSError(errno.ENOSPC, "No space left on device"), "gpu-1"))
        a disk of node gpu-1 is full ([Errno 28] No space left on device): free room there.
    """
    chain = list(_chain(error))
    found = next((each for each in chain if _tells_no_room(each)), None)
    if found is None or any(isinstance(each, UnwritableError) for each in chain):
        return None
    full = FullDiskError(f"a disk of node {node} is full ({one_line(found)}): free room there.")
    full.__cause__ = error
    return full


def allowed_retries(failure: Failure, max_retries: int) -> int:
    """Returns how often a trial that failed so is tried again by itself."""
    retries = {Failure.UNKNOWN: max_retries, Failure.OUT_OF_MEMORY: 1, Failure.LOST: MAX_LOST}
    retries[Failure.STALLED] = MAX_STALLED
    return retries.get(failure, 0)


class EqualFailures:
    """Trials that failed alike, one after the other."""

    def __init__(self) -> None:
        """Knows of none."""
        self._signature: tuple[str, str] | None = None
        self._uids: set[str] = set()

    def add(self, uid: str, signature: tuple[str, str]) -> int:
        """Notes a failure; returns how many trials in a row failed like it, itself included."""
        if signature != self._signature:
            self._signature, self._uids = signature, set()
        self._uids.add(uid)
        return len(self._uids)

    def clear(self) -> None:
        """Forgets them, because a trial came to its end."""
        self._uids.clear()


def _failure(kind: str) -> Failure:
    known = {
        NonFiniteLossError.__name__: Failure.DIVERGED,
        OUT_OF_MEMORY_ERROR: Failure.OUT_OF_MEMORY,
        LostWorkerError.__name__: Failure.LOST,
        StalledTrialError.__name__: Failure.STALLED,
        UnavailableError.__name__: Failure.SHARED,
        UnwritableError.__name__: Failure.SHARED,
        UnreachableError.__name__: Failure.UNKNOWN,
        FullDiskError.__name__: Failure.UNKNOWN,
    }
    return known.get(kind, Failure.USER if kind in _names(SweepError) else Failure.UNKNOWN)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what it was raised from or while handling, the deepest last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tells_no_room(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    return any(text in str(error) for text in _NO_ROOM_TEXTS)


def _names(error: type[Exception]) -> set[str]:
    return {error.__name__}.union(*map(_names, error.__subclasses__()))
