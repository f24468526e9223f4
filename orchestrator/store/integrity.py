"""Is what the store calls done really there? Asked before a launch builds on it."""

from dataclasses import dataclass

from orchestrator.plan import Node, Plan
from orchestrator.store.folder import RESULT
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from search_spaces.errors import StorageError


@dataclass(frozen=True, slots=True)
class Damage:
    """A finished trial that cannot be trusted."""

    node: Node
    reason: str


def find_damage(plan: Plan, store: Store, *, verify: bool) -> list[Damage]:
    """Looks at every finished trial of a plan.

    Args:
        plan: The sweep's plan.
        store: Where its trials are.
        verify: Read all files and compare their checksums; otherwise only results are read, and files looked for.
    """
    found = []
    for node in plan.nodes:
        try:
            _check(trial_of(store, node), verify=verify)
        except StorageError as error:
            found.append(Damage(node, str(error)))
    return found


def _check(trial: TrialFolder, *, verify: bool) -> None:
    trial.recipe()  # reads it, if there is one
    result = trial.result()
    if result is None:
        return
    names = trial.folder.names()
    for name in result.files:
        if name not in names:
            raise StorageError(f"{trial.folder.root}/{name} is missing, and {RESULT} names it.")
        if verify:
            trial.read_checked(name)
