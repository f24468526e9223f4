"""How long a sweep still takes: a range, since epochs vary and a search that finds its pair ends early."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from cluster.runtime.resources import CPUS_PER_TRIAL
from orchestrator.costs.schedule import Room, TrialTime, list_schedule
from orchestrator.plan import Node, Plan
from orchestrator.store.states import State
from search_spaces.stages.registry import STAGES, Stage

LATEST = 20
"""Epochs of a stage that tell its pace."""
SURE, UNSURE, GUESSED = (0.9, 1.15), (0.7, 1.5), (0.5, 2.0)
"""Factors of a time that many epochs tell, that few tell, and that other stages tell."""
FEW = 3
"""Epochs up to which a stage is unsure."""
_HERE = "here"
"""The one kind of device of a schedule without clusters."""


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """A range of seconds."""

    low: float
    """If every search ends with the trials that run now."""
    high: float
    """If none does."""
    may_end_early: bool = False
    """Whether searches make the difference."""

    @property
    def text(self) -> str:
        """What people read.

        Examples:
            >>> TimeLeft(110.0, 350.0, may_end_early=True).text, TimeLeft(230.0, 250.0).text
            ('2 to 6 min left, the search may end early', 'about 4 min left')
        """
        early = ", the search may end early" if self.may_end_early else ""
        return f"{span_text(self.low, self.high)} left{early}"


def span_text(low: float, high: float) -> str:
    """Writes a range of seconds for people.

    Examples:
        >>> span_text(20, 40), span_text(3600, 9000), span_text(0, 0.2)
        ('20 to 40 s', '1.0 to 2.5 h', 'about 1 s')
    """
    unit, seconds, digits = ("s", 1, 0) if high < 120 else ("min", 60, 0) if high < 7200 else ("h", 3600, 1)
    ends = [f"{max(each / seconds, 0.0 if digits else 1.0):.{digits}f}" for each in (low, high)]
    return f"about {ends[1]} {unit}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} {unit}"


@dataclass(slots=True)
class Pace:
    """What trials took so far."""

    first_seconds: dict[Stage, list[float]] = field(default_factory=dict)
    """Of first epochs, which also compile kernels and fill caches."""
    epoch_seconds: dict[Stage, list[float]] = field(default_factory=dict)
    """Of all others."""
    outside: list[float] = field(default_factory=list)
    """Of ended trials, beside their epochs: start-up, loading, the final evaluation."""
    _began: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When trials that run now began, and what their epochs took."""

    def started(self, uid: str, now: float) -> None:
        """Notes that a trial was handed to a worker."""
        self._began[uid] = now, 0.0

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """Notes an epoch."""
        seen = self.first_seconds if row["epoch"] <= 1 else self.epoch_seconds
        seen.setdefault(node.stage, []).append(float(row["seconds"]))
        if node.uid in self._began:
            began, seconds = self._began[node.uid]
            self._began[node.uid] = began, seconds + float(row["seconds"])

    def ended(self, uid: str, now: float) -> None:
        """Notes the end of a trial."""
        if uid in self._began:
            began, seconds = self._began.pop(uid)
            if seconds:
                self.outside.append(max(0.0, now - began - seconds))

    def unit_seconds(self, stages: Iterable[Stage]) -> dict[Stage, tuple[float, float]] | None:
        """Returns the least and most seconds of an epoch by stage; None before the first of any."""
        known: dict[Stage, tuple[float, tuple[float, float]]] = {}
        for stage in {*self.first_seconds, *self.epoch_seconds}:
            rows = self.epoch_seconds.get(stage, [])
            few = len(rows) < FEW
            known[stage] = median(rows[-LATEST:] or self.first_seconds[stage]), UNSURE if few else SURE
        if not known:
            return None
        base = sum(seconds / STAGES[stage].relative_cost for stage, (seconds, _) in known.items()) / len(known)
        guesses = {stage: (base * STAGES[stage].relative_cost, GUESSED) for stage in stages}
        return {stage: (s * low, s * high) for stage, (s, (low, high)) in {**guesses, **known}.items()}

    def time_left(
        self, plan: Plan, states: Mapping[str, State], epochs: Mapping[str, int], num_parallel: int
    ) -> TimeLeft | None:
        """Estimates the time left; None before the first epoch of any trial.

        Args:
            plan: The sweep's plan.
            states: Of all trials, by uid.
            epochs: Finished epochs of the trials that run now, by uid.
            num_parallel: Trials at a time.
        """
        unit = self.unit_seconds(plan.stages)
        if unit is None:
            return None
        outside = median(self.outside[-LATEST:]) if self.outside else 0.0

        def seconds(node: Node, end: int) -> float:
            to_run = node.recipe.epochs - epochs.get(node.uid, 0)
            return to_run * unit[node.stage][end] + (0.0 if node.uid in epochs else outside)

        left = [node for node in plan.nodes if states[node.uid].is_open]
        # What a search may leave out: all that waits of it, if a running trial is the hit.
        optional = set() if plan.grid.search.keep_searching else {node.uid for node in left if node.is_of_search}
        optional -= set(epochs)
        needed = [node for node in left if node.uid not in optional]
        low = makespan(needed, lambda node: seconds(node, 0), num_parallel)
        return TimeLeft(low, makespan(left, lambda node: seconds(node, 1), num_parallel), bool(optional))


def makespan(nodes: Sequence[Node], seconds: Callable[[Node], float], num_parallel: int) -> float:
    """Returns when the last of some trials ends, if each starts as soon as its parents are done and a place is free.

    Confirmations start after the search of their cell. Nodes are in plan order: parents come first.
    """
    of_search: dict[str | None, list[str]] = {}
    for node in nodes:
        if node.cell and not node.is_confirmation:
            of_search.setdefault(node.cell_id, []).append(node.uid)
    trials = [
        TrialTime(
            uid=node.uid,
            parents=(*node.parents, *(of_search.get(node.cell_id, ()) if node.is_confirmation else ())),
            seconds={_HERE: seconds(node)},
            gpu_share=0.0,
        )
        for node in nodes
    ]
    cpus = CPUS_PER_TRIAL * max(1, num_parallel)
    machine = Room(kind=_HERE, cpus=cpus, gpus=0, start_seconds=0.0, is_permanent=True)
    return list_schedule(trials, [machine]).wall_seconds
