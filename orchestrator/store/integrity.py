"""Is what the store calls done really there? Asked before a launch builds on it."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.plan import Node
from orchestrator.store.folder import RESULT
from orchestrator.store.trial import TrialFolder
from orchestrator.store.verification import read_verification
from search_spaces.errors import StorageError


@dataclass(frozen=True, slots=True)
class Damage:
    """A finished trial that cannot be trusted."""

    node: Node
    reason: str


def find_damage(trials: Iterable[tuple[Node, TrialFolder]], *, verify: bool) -> list[Damage]:
    """Looks at every trial that is finished: reads its result and looks for its files.

    With `verify` it reads all files, too, and compares their checksums.
    """
    found = []
    for node, trial in trials:
        try:
            _check(trial, verify=verify)
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
    if verify:
        for name in result.recorded:
            trial.read_checked(name)
        read_verification(trial)
