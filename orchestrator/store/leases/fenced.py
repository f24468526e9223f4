"""A trial's folder as one attempt at the trial may change it: only while the attempt holds the trial's lease.

How a write and that condition become one step depends on the place: see `orchestrator.store.leases.renamed` for file
systems and `orchestrator.store.leases.conditional` for object stores.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.store.folder import Folder
from orchestrator.store.places.listed import ListedFolder
from search_spaces.errors import StorageError, UnreachableError

BEAT_SECONDS = 5.0


class LostLeaseError(Exception):
    """Another attempt has taken the trial over; nothing of this one counts any more."""


class FencedFolder(Folder, ABC):
    """A trial's folder; what changes it raises `LostLeaseError` once the attempt holds the trial no more."""

    def __init__(self, folder: Folder, attempt: str) -> None:
        """Takes the trial's folder and the token of an attempt, which was given the lease."""
        super().__init__(folder.place, folder.path)
        self.attempt = attempt

    @abstractmethod
    def check(self) -> None:
        """Makes sure that the attempt holds the lease.

        Raises:
            LostLeaseError: It does not.
        """

    @abstractmethod
    def beat(self, number: int) -> None:
        """Shows that a worker is at work.

        Raises:
            LostLeaseError: The attempt does not hold the lease.
        """

    @abstractmethod
    def as_known(self) -> ListedFolder:
        """Returns the folder as it is, to be read only; asks for no more than is not known."""

    @abstractmethod
    def hand_over(self) -> None:
        """Forgets what is known of the folder: from now on another process changes it for the same attempt."""


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
