"""Keeps launches and `gc` apart, those of sweeps included that nobody has heard of yet.

`gc` says that it is at work before it looks which sweeps there are; a launch owns its sweep before it looks whether
`gc` is at work. So one of them sees the other, whichever comes first: `gc` refuses, and a launch waits.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.store.leases.standstill import Standstill
from orchestrator.store.leases.sweeps import (
    Owned,
    Pace,
    driver_lock,
    exit_after_loss,
    is_known_dead,
    name_of,
    read_owner,
)
from orchestrator.store.store import Store

GC = ".gc"
"""Folder of a storage whose owner removes things from it."""
LOOK_SECONDS = 1.0


@contextmanager
def collecting(store: Store, *, pace: Pace = Pace()) -> Iterator[None]:  # noqa: B008  # frozen
    """Says for the duration of a `with` block that things are removed from a storage.

    Raises:
        ConfigError: Another process does so.
    """
    owned = Owned(f"gc of {store.uri}", "wait for it.")
    with driver_lock(store.root.folder(GC), owned, lambda line: None, pace=pace, on_loss=exit_after_loss):
        try:
            yield
        finally:
            # Before the lock is released: what another `gc` says later stays.
            store.root.delete_folder(GC)


def wait_for_collection(store: Store, say: Callable[[str], None], *, pace: Pace) -> None:
    """Returns once nobody removes anything from a storage; `say` takes a line if that takes time."""
    folder, standstill, has_said = store.root.folder(GC), Standstill(pace.dead_seconds), False
    while (owner := read_owner(folder)) is not None:
        if is_known_dead(owner) or standstill.is_still("gc", owner):
            return
        if not has_said:
            say(f"waiting for `dptq-sweep gc` of {store.uri} ({name_of(owner)})")
            has_said = True
        time.sleep(LOOK_SECONDS)
