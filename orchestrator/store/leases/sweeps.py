"""Keeps two drivers off one sweep: a file lock where the storage is a folder, and an owner with a heartbeat everywhere.

The system frees the file lock of a process that dies, but knows nothing of other machines, and object storage has none.
So the owner also writes `driver.json` every few seconds, with a number that grows. A driver that finds the file of
another machine watches it for a while: if the number stands still, the other one is dead. Clocks are never compared.

On an object store every write of `driver.json` names the version that it replaces: of drivers that come at the same
time one goes on, however long their writes take, and a beat that arrives after a takeover changes nothing. On a folder
that other machines mount, whose locks may not reach here, the last one to write within `settle_seconds` goes on.

A driver that the storage hears nothing of for `dead_seconds` may lose its sweep, and ends as soon as it sees that.
"""

import fcntl
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.store.folder import Folder
from orchestrator.store.leases.contended import ContendedFile, read_content
from orchestrator.store.leases.standstill import Standstill
from search_spaces.errors import ConfigError, StorageError, UnreachableError

LOCK = "driver.lock"
OWNER = "driver.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a heart beats, and when it counts as still."""

    beat_seconds: float = 5.0
    dead_seconds: float = 60.0
    settle_seconds: float = 2.0
    """After a takeover, time in which another driver that took over too shows itself."""


@dataclass(frozen=True, slots=True)
class Owned:
    """What a process owns, for people."""

    name: str
    """Such as `sweep quick`."""
    hint: str
    """What to do while another process owns it."""

    def refusal(self, owner: dict[str, Any] | None) -> ConfigError:
        """Returns what to raise while another process owns it."""
        return ConfigError(f"{self.name} is being run by another process ({name_of(owner)}): {self.hint}")


@contextmanager
def driver_lock(
    folder: Folder, owned: Owned, say: Callable[[str], None], *, pace: Pace, on_loss: Callable[[], None]
) -> Iterator[None]:
    """Owns a sweep, or what else has a folder, for the duration of a `with` block.

    See `orchestrator.store.sweep.Sweep.driver`; `on_loss` is called from a thread.
    """
    with ExitStack() as stack:
        if local := folder.local_path:
            try:
                stack.enter_context(FileLock(local / LOCK, timeout=0))
            except Timeout:
                raise owned.refusal(read_owner(folder)) from None
        me = _Heart(folder, pace, on_loss)
        if (other := me.read()) is not None:
            _wait_until_dead(me.read, folder, owned, other, say, pace)
        if not me.beat():
            raise owned.refusal(me.read())
        if local and other and other.get("host") != socket.gethostname():
            # Of two drivers that came at the same time, the last one to write has it.
            time.sleep(pace.settle_seconds)
            current = read_owner(folder)
            if current and current.get("id") != me.id:
                raise owned.refusal(current)
        if other is not None:
            say(f"taking {owned.name} over from {name_of(other)}, which ended without a word")
        stack.callback(me.stop)
        me.start()
        yield


def is_owned(folder: Folder, standstill: Standstill | None = None, *, pace: Pace = Pace()) -> bool:  # frozen
    """Tells whether a driver works on the sweep.

    One on another machine is watched until its heart beats, for two beats and a half at most; clocks are not compared.
    Whoever asks again and again gives a `standstill`, and has an answer at once: it works until it stands still.
    """
    owner = read_owner(folder)
    if owner is None:
        return False
    if owner.get("host") == socket.gethostname():
        return _holds_file_lock(folder) if folder.local_path else is_alive(owner.get("pid"))
    if standstill:
        return not standstill.is_still(folder.path, owner)
    deadline = time.monotonic() + 2.5 * pace.beat_seconds
    while time.monotonic() < deadline:
        time.sleep(pace.beat_seconds / 10)
        if (current := read_owner(folder)) != owner:
            return current is not None
    return False


def read_owner(folder: Folder) -> dict[str, Any] | None:
    """Returns who owns the sweep; None without an owner, an empty one if the file cannot be read."""
    return read_content(folder, OWNER)


def _wait_until_dead(
    read: Callable[[], dict[str, Any] | None],
    folder: Folder,
    owned: Owned,
    other: dict[str, Any],
    say: Callable[[str], None],
    pace: Pace,
) -> None:
    """Returns once an owner is known to be dead, and refuses while it lives."""
    if other.get("host") == socket.gethostname() and (folder.local_path or not is_alive(other.get("pid"))):
        # On this machine the file lock has answered already, or the process is gone.
        return
    say(f"{owned.name} belongs to {name_of(other)}: watching for {pace.dead_seconds:g} s whether it is alive")
    deadline = time.monotonic() + pace.dead_seconds
    while time.monotonic() < deadline:
        time.sleep(pace.beat_seconds / 2)
        current = read()
        if current is None:
            return
        if current != other:
            raise owned.refusal(current)


class _Heart:
    """Writes the owner's file again and again, from a thread."""

    def __init__(self, folder: Folder, pace: Pace, on_loss: Callable[[], None]) -> None:
        self.id = uuid.uuid4().hex
        self._file, self._pace, self._on_loss = ContendedFile(folder, OWNER), pace, on_loss
        self._asks = folder.is_on_object_store
        self.read = self._file.read
        self._number = 0
        self._started_at = time.time()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def beat(self) -> bool:
        """Writes the file, and tells whether it could: on an object store only in place of what was seen last."""
        self._number += 1
        return self._file.replace(self._owner | {"beat": self._number, "beat_at": time.time()})

    @property
    def _owner(self) -> dict[str, Any]:
        return {"id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "started_at": self._started_at}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        # Where the storage cannot be written, the file stays, and the next driver finds its owner dead.
        with suppress(StorageError, UnreachableError):
            if self._is_mine():
                self._file.release(self._owner)

    def _run(self) -> None:
        while not self._is_over.wait(self._pace.beat_seconds):
            try:
                # On an object store a beat asks and shows in one: it is refused if another driver wrote.
                is_lost = not (self.beat() or self._is_mine()) if self._asks else not (self._is_mine() and self.beat())
                if is_lost:
                    self._on_loss()
                    return
            except (UnreachableError, StorageError):
                # The storage is away or full: the trials will say so, and the next beat may get through.
                continue

    def _is_mine(self) -> bool:
        owner = self.read()
        return owner is None or owner.get("id") in (None, self.id)


def exit_after_loss() -> None:
    """Ends this process at once, as if killed: another driver owns the sweep, and only the store counts."""
    print("Error: another driver has taken this sweep over; this one ends.", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)


def _holds_file_lock(folder: Folder) -> bool:
    path = folder.local_path
    assert path is not None
    # Opened for reading only: who looks need not be the user who may write.
    try:
        with (path / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def is_known_dead(owner: dict[str, Any]) -> bool:
    """Tells whether an owner was a process of this machine that is gone; of others that takes watching."""
    return owner.get("host") == socket.gethostname() and not is_alive(owner.get("pid"))


def is_alive(pid: object) -> bool:
    """Tells whether a process of this machine runs."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process
    return True


def name_of(owner: dict[str, Any] | None) -> str:
    """Returns who an owner is, for people."""
    return f"process {owner.get('pid')} on {owner.get('host')}" if owner else "an unknown process"
