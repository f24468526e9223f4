"""Verifications: what the networks of trials answered in a runtime, as reports and MLflow tell it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import Node
from orchestrator.results.trials import Trial
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from orchestrator.store.verification import read_verification
from search_spaces.errors import StorageError
from trainables.deployment.record import Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What came of a verification."""

    found: Verification | None
    """None where there is nothing to tell but why."""
    why_not: str = ""
    """One line."""
    dataset: str = ""
    """What it ran on, for people."""
    verified_ms: int = 0
    """When it did, in milliseconds since 1970."""

    @property
    def verdict(self) -> str:
        """What breaks the network, in the words of `verify --json`; `not run` without an answer."""
        return self.found.verdict if self.found else "not run"

    @property
    def reason(self) -> str:
        """One sentence on the verdict."""
        return self.found.reason if self.found else self.why_not

    @property
    def accuracies(self) -> dict[str, float]:
        """Accuracies of the runs by the names of MLflow's metrics, fractions."""
        if self.found is None:
            return {}
        runs = {"simulated": self.found.simulated, "exported": self.found.exported, "int8": self.found.int8}
        runs |= {"torchao": self.found.torchao} if self.found.torchao else {}
        return {f"runtime/accuracy_{name}": run.accuracy for name, run in runs.items()}


def read_verified(trial: TrialFolder) -> Verified | None:
    """Returns the latest verification of a trial, None if there is none; a damaged one says so."""
    try:
        record = read_verification(trial)
        if record is None:
            return None
        facts: dict[str, Any] = (record.found or {}).get("of", {})
        found = None if record.found is None else Verification.from_json(record.found)
    except (StorageError, ValueError) as damage:
        return Verified(found=None, why_not=str(damage))
    dataset = str(facts.get("dataset", ""))
    return Verified(found=found, why_not=record.error, dataset=dataset, verified_ms=record.verified_ms)


VerifiedTrials = Sequence[tuple[Node, Verified]]
"""Trials of a sweep that were verified."""


def verified_trials(trials: Iterable[Trial]) -> VerifiedTrials:
    """Returns the trials that are done and were verified, in the given order."""
    done = (trial for trial in trials if trial.state is State.DONE)
    return [(trial.node, each) for trial in done if (each := read_verified(trial.folder))]
