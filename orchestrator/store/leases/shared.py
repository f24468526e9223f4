"""Trials and analyses that sweeps of the storage share: one of them works on it, the others wait for it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.leases.trials import Lease, Leases
from orchestrator.store.places.listed import ListedFolder
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder

LOOK_SECONDS = 2.0
"""Between two looks at trials that others work on."""


class Work(Protocol):
    """A trial or an analysis."""

    @property
    def stage(self) -> str:
        """Folder of the storage that it lies in."""

    @property
    def uid(self) -> str:
        """Name of its own folder in there."""

    @property
    def name(self) -> str:
        """Its name for people."""


class SharedTrials:
    """The trials or analyses that a driver has taken, and those that it waits for because another sweep has."""

    def __init__(self, store: Store, leases: Leases, say: Callable[[str], None]) -> None:
        """Has taken nothing yet; `say` takes a line about every wait."""
        self._store, self._leases, self._say = store, leases, say
        self._taken: dict[str, FencedFolder] = {}
        self._awaited: dict[str, tuple[Work, Lease]] = {}
        self._next_look = 0.0

    @property
    def awaited(self) -> Mapping[str, tuple[Work, Lease]]:
        """Trials that other sweeps work on, and who does, by uid."""
        return self._awaited

    def take(self, node: Work) -> bool:
        """Takes a trial for one attempt; False, and a line, while another sweep has it."""
        taken = self._leases.take(self._store.trial(node.stage, node.uid))
        if isinstance(taken, FencedFolder):
            self._taken[node.uid] = taken
            return True
        self._awaited[node.uid] = node, taken
        self._say(f"waiting for {node.name} ({node.uid}): {taken} works on it")
        return False

    def look(self) -> None:
        """Looks now and then at trials that others work on, and waits no more for those that they have let go of."""
        if not self._awaited or time.monotonic() < self._next_look:
            return
        for uid, (node, lease) in list(self._awaited.items()):
            now = self._leases.holder(self._store.trial(node.stage, uid))
            if now is None:
                del self._awaited[uid]
            elif now != lease:
                self._awaited[uid] = node, now
        self._next_look = time.monotonic() + LOOK_SECONDS

    def folder(self, node: Work) -> TrialFolder:
        """Returns the folder of a trial that was taken, as its attempt may change it."""
        return TrialFolder(self._store, node.stage, node.uid, self._taken[node.uid])

    def as_known(self, node: Work) -> ListedFolder:
        """Returns the folder of a trial that was taken as it is now, to be read only."""
        return self._taken[node.uid].as_known()

    def check(self, node: Work) -> None:
        """Makes sure that a trial that was taken is still this launch's.

        Raises:
            LostLeaseError: It is not.
        """
        self._taken[node.uid].check()

    def has_lost(self, node: Work) -> bool:
        """Tells whether something that was taken is no more this launch's."""
        try:
            self.check(node)
        except LostLeaseError:
            return True
        return False

    def hand_over(self, node: Work) -> str:
        """Returns the token by which a worker changes a trial that was taken, from now on."""
        self._taken[node.uid].hand_over()
        return self._taken[node.uid].attempt

    @contextmanager
    def giving_back(self, node: Work) -> Iterator[None]:
        """Lets go of a trial that was taken, at the end of a `with` block."""
        try:
            yield
        finally:
            self._leases.release(self._taken.pop(node.uid))
