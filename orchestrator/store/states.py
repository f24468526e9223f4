"""How far a trial is: one enumeration for the launch, `status`, the report and MLflow."""

from enum import StrEnum


class State(StrEnum):
    """How far a trial is, in the order in which reports name the states; most are told from its folder alone."""

    DONE = "done"
    RUNNING = "running"
    """Told by a launch that is at work, not by a folder."""
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"
    """Failed because a GPU was too full; may fit where it has one for itself."""
    DIVERGED = "diverged"
    """Failed with a non-finite loss, which would only fail again."""
    INTERRUPTED = "interrupted"
    """Some epochs are saved, or it is running right now."""
    BLOCKED = "blocked"
    """Never started, because a trial it needs failed; told by `orchestrator.results.trials`, not by a folder."""
    WAITING = "waiting"
    PRUNED = "pruned"
    """Ended at a part of its epochs, because trials of its study that ran as long were better."""
    SKIPPED = "skipped"
    """A trial that its search does not need; told by `orchestrator.search.trial_budget`, not by a folder."""

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error, of whichever kind."""
        return self in (State.FAILED, State.OUT_OF_MEMORY, State.DIVERGED)

    @property
    def ended_well(self) -> bool:
        """Whether it ended as it should: finished, or pruned."""
        return self in (State.DONE, State.PRUNED)

    @property
    def is_final(self) -> bool:
        """Whether it ended, well or badly; its folder changes no more unless it is tried again."""
        return self.ended_well or self.is_failed

    @property
    def has_begun(self) -> bool:
        """Whether it left anything that counts: it runs, or ran at some time."""
        return self not in (State.WAITING, State.BLOCKED, State.SKIPPED)

    @property
    def is_open(self) -> bool:
        """Whether it is still to end: it runs, waits, or goes on some day."""
        return not (self.is_final or self is State.SKIPPED)

    @property
    def needs_work(self) -> bool:
        """Whether it keeps its sweep from being finished."""
        return self.is_open or self.is_failed
