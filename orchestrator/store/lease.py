"""Keeps two drivers off one sweep: a file lock where the storage is a folder, and an owner with a heartbeat everywhere.

The system frees the file lock of a process that dies, but knows nothing of other machines, and object storage has none.
So the owner also writes `driver.json` every few seconds, with a number that grows. A driver that finds the file of
another machine watches it for a while: if the number stands still, the other one is dead. Clocks are never compared.

What that comes to on an object store, where no write can depend on what is there (S3's `If-None-Match` is out of reach
of pyarrow.fs, and nothing can be renamed):

- Of drivers that come at the same time, the last one to write goes on, and the others are refused, if their writes take
  less than `settle_seconds`. What is written shows at once on S3 and Google Cloud Storage.
- If a write hangs for longer than that, two may begin. The one whose name is gone from the file sees it at its next
  beat and ends. Until then both hand out trials: time is wasted, and nothing is lost, since a trial comes to the same
  files, whichever user runs it, and files appear whole.
- A driver that the storage hears nothing of for `dead_seconds` may lose its sweep, and ends as soon as it sees that.
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


@contextmanager
def driver_lock(
    folder: Folder, sweep: str, say: Callable[[str], None], *, pace: Pace, on_loss: Callable[[], None]
) -> Iterator[None]:
    """Owns a sweep for the duration of a `with` block.

    See `orchestrator.store.sweep.Sweep.driver`; `on_loss` is called from a thread.
    """
    with ExitStack() as stack:
        if local := folder.local_path:
            try:
                stack.enter_context(FileLock(local / LOCK, timeout=0))
            except Timeout:
                raise _refusal(sweep, read_owner(folder)) from None
        me = _Heart(folder, pace, on_loss)
        if (other := read_owner(folder)) is not None:
            _wait_until_dead(folder, sweep, other, say, pace)
        me.beat()
        if not local or (other and other.get("host") != socket.gethostname()):
            # Of two drivers that came at the same time, the last one to write has it.
            time.sleep(pace.settle_seconds)
            current = read_owner(folder)
            if current and current.get("id") != me.id:
                raise _refusal(sweep, current)
        if other is not None:
            say(f"taking sweep {sweep} over from {_name(other)}, which ended without a word")
        stack.callback(me.stop)
        me.start()
        yield


def is_owned(folder: Folder) -> bool:
    """Tells whether a driver works on the sweep, as far as that can be told at once.

    Of a driver on another machine its last sign of life counts, by that machine's clock and this one's.
    """
    owner = read_owner(folder)
    if owner is None:
        return False
    if owner.get("host") == socket.gethostname():
        return _holds_file_lock(folder) if folder.local_path else _is_alive(owner.get("pid"))
    return abs(time.time() - owner.get("beat_at", 0)) < Pace().dead_seconds


def read_owner(folder: Folder) -> dict[str, Any] | None:
    """Returns who owns the sweep; None without an owner, an empty one if the file cannot be read."""
    try:
        return folder.read_json(OWNER)
    except StorageError:
        return {}


def _wait_until_dead(folder: Folder, sweep: str, other: dict[str, Any], say: Callable[[str], None], pace: Pace) -> None:
    """Returns once an owner is known to be dead, and refuses while it lives."""
    if other.get("host") == socket.gethostname() and (folder.local_path or not _is_alive(other.get("pid"))):
        # On this machine the file lock has answered already, or the process is gone.
        return
    say(f"sweep {sweep} belongs to {_name(other)}: watching for {pace.dead_seconds:g} s whether it is alive")
    deadline = time.monotonic() + pace.dead_seconds
    while time.monotonic() < deadline:
        time.sleep(pace.beat_seconds / 2)
        current = read_owner(folder)
        if current is None:
            return
        if current != other:
            raise _refusal(sweep, current)


class _Heart:
    """Writes the owner's file again and again, from a thread."""

    def __init__(self, folder: Folder, pace: Pace, on_loss: Callable[[], None]) -> None:
        self.id = uuid.uuid4().hex
        self._folder, self._pace, self._on_loss = folder, pace, on_loss
        self._number = 0
        self._started_at = time.time()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def beat(self) -> None:
        self._number += 1
        owner = {"id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "started_at": self._started_at}
        self._folder.write_json(OWNER, owner | {"beat": self._number, "beat_at": time.time()})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        # Where the storage cannot be written, the file stays, and the next driver finds its owner dead.
        with suppress(StorageError, UnreachableError):
            if self._is_mine():
                self._folder.delete(OWNER)

    def _run(self) -> None:
        while not self._is_over.wait(self._pace.beat_seconds):
            try:
                if not self._is_mine():
                    self._on_loss()
                    return
                self.beat()
            except (UnreachableError, StorageError):
                # The storage is away or full: the trials will say so, and the next beat may get through.
                continue

    def _is_mine(self) -> bool:
        owner = read_owner(self._folder)
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


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process
    return True


def _name(owner: dict[str, Any] | None) -> str:
    return f"process {owner.get('pid')} on {owner.get('host')}" if owner else "an unknown process"


def _refusal(sweep: str, owner: dict[str, Any] | None) -> ConfigError:
    return ConfigError(
        f"sweep {sweep!r} is being run by another process ({_name(owner)}): wait for it, stop it with "
        f"`dptq-sweep stop {sweep}`, or look at it with `dptq-sweep status {sweep}`."
    )
