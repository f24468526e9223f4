"""The attempt at a trial that a worker was handed: what it writes counts while the attempt holds the trial's lease."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError, beating
from orchestrator.store.leases.trials import fenced
from orchestrator.store.places.patience import PATIENCE_SECONDS
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder


def attempt_at(store: Store, config: Mapping[str, Any], stage: str) -> TrialFolder:
    """Returns the folder of a trial, or of an analysis, as the worker changes it that was handed it with a config.

    Its `attempt` is the token by which the driver took the trial's lease; without one nobody else works on the trial.
    """
    store.wait_for(PATIENCE_SECONDS)
    trial = TrialFolder(store, stage, config["uid"])
    if attempt := config.get("attempt"):
        trial.folder = fenced(trial.folder, attempt)
    return trial


@contextmanager
def at_work(trial: TrialFolder) -> Iterator[None]:
    """Shows for the duration of a `with` block that the attempt is at work, and ends the block if it lost the trial."""
    if not isinstance(trial.folder, FencedFolder):
        yield
        return
    # Whoever took the trial over goes on with it, and says what became of it.
    with suppress(LostLeaseError), beating(trial.folder):
        yield
