"""How far a trial is: one enumeration for the launch, `status`, the report and MLflow."""

from enum import StrEnum


class State(StrEnum):
    """How far a trial is, told from its folder alone."""

    DONE = "done"
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"
    """Failed because a GPU was too full; may fit where it has one for itself."""
    DIVERGED = "diverged"
    """Failed with a non-finite loss, which would only fail again."""
    INTERRUPTED = "interrupted"
    """Some epochs are saved, or it is running right now."""
    WAITING = "waiting"
    PRUNED = "pruned"
    """Ended at a part of its epochs, because trials of its study that ran as long were better."""
    SPARED = "spared"
    """A trial that its search does not need; told by `orchestrator.search.trial_budget`, not by a folder."""


ENDED_BADLY = (State.FAILED, State.OUT_OF_MEMORY, State.DIVERGED)
