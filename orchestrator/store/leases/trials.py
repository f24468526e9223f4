"""Which attempt works on a trial, of all sweeps that share it.

Who starts a trial takes its lease first: lease.json names the attempt by a token, its sweep and its driver. The lease
is held as long as that driver owns its sweep and shows so, and, once a worker has begun, as long as that shows so too.
One that stands still is taken over: by the clock of whoever looks, so that clocks are never compared.

On a file system leases change under a lock of the storage, on an object store by conditional writes: of two that come
at once one has it. There a lease that was given back stays, and says so.
"""

import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.store.folder import LEASE, Folder
from orchestrator.store.leases.conditional import ConditionalFolder
from orchestrator.store.leases.contended import ContendedFile, read_content
from orchestrator.store.leases.fenced import FencedFolder
from orchestrator.store.leases.renamed import RenamedFolder, attempt_path, beat_path, close_attempt
from orchestrator.store.leases.standstill import Standstill
from orchestrator.store.leases.sweeps import Pace, is_alive, read_owner
from orchestrator.store.store import Store

LOCK = ".leases.lock"
LOCK_SECONDS = 10.0
"""Longest wait for another process that changes a lease."""


class Lease(BaseModel):
    """Content of a lease.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: str
    """Its token."""
    sweep: str
    driver: str
    """Id of the driver, as in the sweep's driver.json."""
    host: str = ""
    pid: int = 0
    beat: int = 0
    """On an object store, a number that its worker changes as long as it works."""

    def __str__(self) -> str:
        """Who has it, for people."""
        return f"sweep {self.sweep} (process {self.pid} on {self.host})"


class Leases:
    """Takes the leases of trials for one driver."""

    def __init__(self, store: Store, *, sweep: str, driver: str | None = None, pace: Pace = Pace()) -> None:  # noqa: B008
        """Takes leases for the driver of a sweep.

        Args:
            store: Where the trials are.
            sweep: Name of the sweep, which the driver owns.
            driver: Its id in the sweep's driver.json; without it others may take its leases over at once.
            pace: When a lease counts as still.
        """
        self._store, self._sweep = store, sweep
        self._driver = driver or uuid.uuid4().hex
        self._standstill = Standstill(pace.dead_seconds)

    def take(self, trial: Folder) -> FencedFolder | Lease:
        """Takes the lease of a trial; returns the folder by which the attempt changes it, or the lease in the way."""
        with self._changing() as may_change:
            file = ContendedFile(trial, LEASE)
            lease = Lease(
                attempt=uuid.uuid4().hex,
                sweep=self._sweep,
                driver=self._driver,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
            # Of a new trial nobody needs to ask: the lease is created only if there is none.
            if trial.bucket and file.replace(lease.model_dump()):
                return fenced(trial, lease.attempt)
            former = _lease_of(file.read())
            if not may_change:
                return former or _UNKNOWN
            if former and self._is_held(trial, former):
                return former
            if former and (path := trial.local_path):
                close_attempt(path, former.attempt)
            if path := trial.local_path:
                (path / attempt_path(lease.attempt)).mkdir(parents=True, exist_ok=True)
            if not file.replace(lease.model_dump()):
                return _lease_of(file.read()) or _UNKNOWN
        return fenced(trial, lease.attempt)

    def release(self, folder: FencedFolder) -> None:
        """Gives the lease of an attempt back, if it has it still."""
        with self._changing() as may_change:
            file = ContendedFile(folder, LEASE)
            # Again, for on an object store a beat may come between.
            while may_change and (lease := _lease_of(file.read())) and lease.attempt == folder.attempt:
                if path := folder.local_path:
                    close_attempt(path, folder.attempt)
                if file.release(lease.model_dump()):
                    return

    def holder(self, trial: Folder) -> Lease | None:
        """Returns the lease of a trial that another sweep works on; None if it is free to take."""
        lease = read_lease(trial)
        return lease if lease and self._is_held(trial, lease) else None

    def _is_held(self, trial: Folder, lease: Lease) -> bool:
        if lease.sweep == self._sweep:
            return False  # whose driver this is: former ones are dead
        owner = read_owner(self._store.sweep(lease.sweep))
        if not owner or owner.get("id") != lease.driver:
            return False
        if lease.host == socket.gethostname() and not is_alive(lease.pid):
            return False
        if self._standstill.is_still(f"driver {lease.driver}", owner):
            return False
        # There is none before a worker has begun.
        beat = lease.beat or None if trial.bucket else trial.read_bytes(beat_path(lease.attempt))
        return beat is None or not self._standstill.is_still(f"attempt {lease.attempt}", beat)

    @contextmanager
    def _changing(self) -> Iterator[bool]:
        """Keeps others from changing leases meanwhile; yields False if they do not let go."""
        if (root := self._store.root.local_path) is None:
            yield True
            return
        lock = FileLock(root / LOCK, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def fenced(trial: Folder, attempt: str) -> FencedFolder:
    """Returns a trial's folder as an attempt may change it that was given the trial's lease."""
    return ConditionalFolder(trial, attempt) if trial.bucket else RenamedFolder(trial, attempt)


def read_lease(trial: Folder) -> Lease | None:
    """Returns the lease of a trial, whoever has it and whether it stands still or not; None if nobody has it."""
    return _lease_of(read_content(trial, LEASE))


_UNKNOWN = Lease(attempt="", sweep="unknown", driver="")
"""In place of a lease that changes faster than it can be read."""


def _lease_of(content: Mapping[str, Any] | None) -> Lease | None:
    try:
        return None if content is None else Lease.model_validate(content)
    except ValidationError:
        return None
