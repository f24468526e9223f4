"""How far a sweep is, in one word and one count: the same for log, `status`, `ls`, reports, MLflow and `--json`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import Folder
from orchestrator.store.leases.sweeps import is_owned
from orchestrator.store.states import State
from orchestrator.store.sweep import STOP


class SweepState(StrEnum):
    """How far a sweep is."""

    PLANNED = "planned"
    """No trial has begun."""
    RUNNING = "running"
    """A launch or analyses are at work on it."""
    STOPPED = "stopped"
    """A user or a cap ended its launch in order before its trials had ended."""
    COMPLETE = "complete"
    """All trials that it needs are done."""
    COMPLETE_WITH_FAILURES = "complete with failures"
    """All trials that it needs have ended, some with an error."""
    INCOMPLETE = "incomplete"
    """Trials have still to end, and nothing works on them: a launch died, or ended since trials failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """The trials of a plan."""

    planned: int
    """All, those that a search skips too."""
    done: int
    """Ended as they should: finished or pruned."""
    failed: int
    """Ended with an error, of whichever kind."""
    skipped: int
    """Not needed by their searches, as far as is known."""

    @property
    def needed(self) -> int:
        """All but those that are skipped."""
        return self.planned - self.skipped

    @property
    def left(self) -> int:
        """Those that have still to end."""
        return self.needed - self.done - self.failed

    @property
    def text(self) -> str:
        """What people read, e.g. `27 of 32 trials done, 5 failed, 14 skipped`."""
        others = {"failed": self.failed, "skipped": self.skipped}
        return f"{self.done} of {self.needed} trials done" + _listed(others)

    @property
    def ends(self) -> str:
        """How many came to which end, e.g. `27 done, 0 failed, 14 skipped, 5 left`."""
        return f"{self.done} done, {self.failed} failed" + _listed({"skipped": self.skipped, "left": self.left})


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The state of a sweep and its count."""

    state: SweepState
    count: Count

    @property
    def text(self) -> str:
        """What people read, e.g. `stopped: 3 of 12 trials done`."""
        return f"{self.state}: {self.count.text}"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do, and nothing failed."""
        return self.state is SweepState.COMPLETE

    def as_json(self) -> dict[str, str | int]:
        """Returns the state and all numbers by the names that every `--json` uses."""
        count = asdict(self.count) | {"needed": self.count.needed}
        return {"state": str(self.state), **{f"num_{name}": count[name] for name in _NUMBERS}}

    def as_tags(self) -> dict[str, str]:
        """Returns the same as tags of MLflow's parent run."""
        facts = self.as_json()
        numbers = {f"dptq.trials_{name}": str(facts[f"num_{name}"]) for name in _NUMBERS}
        return {"dptq.state": str(facts["state"])} | numbers


_NUMBERS = ("planned", "needed", "done", "failed", "skipped")


def count_of(states: Mapping[str, State]) -> Count:
    """Counts the trials of a plan by their states, by uid."""
    counts = Counter(states.values())
    return Count(
        planned=counts.total(),
        done=sum(number for state, number in counts.items() if state.ended_well),
        failed=sum(number for state, number in counts.items() if state.is_failed),
        skipped=counts[State.SKIPPED],
    )


def standing_of(snapshot: Snapshot, folder: Folder, *, is_running: bool | None = None) -> Standing:
    """Returns how far a sweep is.

    Args:
        snapshot: Of the sweep.
        folder: Of the sweep.
        is_running: Whether a driver is at work, for who knows; None asks the folder.
    """
    count = count_of(snapshot.states)
    if is_owned(folder) if is_running is None else is_running:
        state = SweepState.RUNNING
    elif not count.left:
        state = SweepState.COMPLETE_WITH_FAILURES if count.failed else SweepState.COMPLETE
    elif folder.exists(STOP):
        state = SweepState.STOPPED
    else:
        has_begun = snapshot.findings.begun or any(each.has_begun for each in snapshot.states.values())
        state = SweepState.INCOMPLETE if has_begun else SweepState.PLANNED
    return Standing(state=state, count=count)


def _listed(numbers: Mapping[str, int]) -> str:
    return "".join(f", {number} {name}" for name, number in numbers.items() if number)
