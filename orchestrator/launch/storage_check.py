"""Does every machine of a cluster see the storage? Asked before anything is queued."""

import uuid

from cluster.runtime.capacity import Capacity
from cluster.runtime.nodes import ask_every_machine
from orchestrator.store.leases.sweeps import read_owner
from orchestrator.store.places.place import TEMPORARY
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.errors import ConfigError, StorageError, UnreachableError, UnwritableError


def check_storage(sweep: Sweep, capacity: Capacity, *, is_shared: bool) -> None:
    """Makes sure, in a joined Ray cluster, that what one machine writes reaches the others.

    Args:
        sweep: A sweep that this process owns.
        capacity: Of the cluster.
        is_shared: Whether all machines mount the storage folder at its path, as the user says.

    Raises:
        ConfigError: The storage is a folder, the cluster more than this machine, and it was not said to be shared.
        StorageError: Some machine does not see the storage, or cannot write it; says which and why.
    """
    store = sweep.store
    if store.root.local_path:
        if len(capacity.nodes) == 1 and not capacity.may_grow:
            return
        if not is_shared:
            grows = "adds machines as it needs them"
            size = grows if capacity.may_grow else f"has {len(capacity.nodes)} machines"
            raise ConfigError(
                f"storage {store.uri} is a folder of this machine, and the Ray cluster {size}: give --storage "
                "s3://bucket/folder or gs://bucket/folder, or add --shared-storage if all machines mount the folder "
                "at this path (NFS)."
            )
    owner = read_owner(sweep.folder) or {}
    answers = ask_every_machine(look, store.uri, sweep.name, owner.get("id"))
    wrong = [f"{machine}: {answer}" for machine, answer in answers if answer]
    if wrong:
        raise StorageError(
            f"{len(wrong)} of {len(answers)} machines cannot use the storage {store.uri}; "
            f"{wrong[0].rstrip('.')}. Mount it there, or give them access, and launch again."
        )


def look(storage: str, name: str, owner: str | None) -> str | None:
    """Runs on a machine: says what is wrong with the storage of a sweep as it sees it, None for nothing.

    The driver wrote the id of its `owner` into the sweep's folder.
    """
    folder = Sweep(Store(storage, create=False), name).folder
    if owner is None or (read_owner(folder) or {}).get("id") != owner:
        return f"{folder.root} is not the folder that the driver writes"
    probe = f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        folder.write_bytes(probe, b"")
        folder.delete(probe)
    except (UnwritableError, UnreachableError) as error:
        return str(error)
    return None
