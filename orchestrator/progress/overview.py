"""How far a sweep is: counts, running trials, the best pair so far and the time that is left.

The launch feeds it with events, `status` fills it from the store; both show the same thing.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.plan import Node, Plan
from orchestrator.progress.pace import Pace, TimeLeft
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Count, count_of
from orchestrator.store.states import State
from orchestrator.store.usage import Usage
from search_spaces.grids.cells import Cell
from search_spaces.names import Goal
from search_spaces.objective import accuracies_of, detrimental_objective, parity_violation
from search_spaces.stages.registry import Stage


@dataclass(frozen=True, slots=True)
class BestPair:
    """The pair that the search likes best, on the validation split."""

    name: str
    drop: float
    parity_gap: float
    objective: float
    is_feasible: bool

    @property
    def drop_text(self) -> str:
        """Its drop for people, in percentage points."""
        return f"{round(100 * self.drop, 1) + 0.0} pp"  # the sum turns -0.0 into 0.0

    def beats(self, other: "BestPair | None") -> bool:
        """Tells whether a search prefers this pair: parity first, then the objective."""
        return other is None or (self.is_feasible, self.objective) > (other.is_feasible, other.objective)


@dataclass(slots=True)
class Overview:
    """The state of every trial of a plan."""

    snapshot: Snapshot
    epochs: dict[str, int] = field(default_factory=dict)
    """Finished epochs of the trials that run now, by uid."""
    latest: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Last epoch of the trials that run now, by uid."""
    pace: Pace = field(default_factory=Pace)
    best: BestPair | None = None
    best_by_cell: dict[str, BestPair] = field(default_factory=dict)
    """By cell_id; a robust cell is not searched, its only trial is its best."""
    headlines: dict[str, str] = field(default_factory=dict)
    """First line of the error of every failed trial, by uid."""
    usage: Usage = field(default_factory=Usage)
    """In the epochs in the store."""
    _time_left: dict[int, TimeLeft | None] = field(default_factory=dict)
    """By trials at a time, since the last event: a terminal asks twice a second, and plans have thousands of trials."""

    @property
    def plan(self) -> Plan:
        """The sweep's plan."""
        return self.snapshot.plan

    @property
    def states(self) -> dict[str, State]:
        """The states of all trials, by uid; what the store says."""
        return self.snapshot.states

    def started(self, node: Node) -> None:
        """Notes that a trial runs."""
        self._time_left.clear()
        self.epochs.setdefault(node.uid, 0)
        self.pace.started(node.uid, time.monotonic())

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """Notes a finished epoch."""
        self._time_left.clear()
        self.epochs[node.uid] = int(row["epoch"])
        self.latest[node.uid] = row
        self.pace.epoch(node, row)
        self.usage.add_row(row)

    def ended(self, node: Node) -> None:
        """Reads the error or the result of a trial that ended, of which the snapshot was told."""
        self._time_left.clear()
        folder = self.snapshot.trial(node)
        self.epochs.pop(node.uid, None)
        self.latest.pop(node.uid, None)
        self.pace.ended(node.uid, time.monotonic())
        self.headlines.pop(node.uid, None)
        if headline := folder.headline():
            self.headlines[node.uid] = headline.line
        result = folder.result()
        if result and node.cell and not node.is_confirmation:
            self._consider(node, node.cell, result.metrics)

    def counts(self) -> dict[Stage, Counter[State]]:
        """Returns for every stage the number of trials in each state; running ones are counted as such."""
        counts = {stage: Counter[State]() for stage in self.plan.stages}
        for node in self.plan.nodes:
            counts[node.stage][State.RUNNING if node.uid in self.epochs else self.states[node.uid]] += 1
        return counts

    @property
    def count(self) -> Count:
        """How many trials the sweep needs, and how they ended."""
        return count_of(self.states)

    def num_left(self) -> int:
        """Returns the number of trials that have yet to end well; where a search diverged at a point, that is known."""
        known = [node for node in self.plan.nodes if node.is_of_search and self.states[node.uid] is State.DIVERGED]
        return self.count.left + self.count.failed - len(known)

    def time_left(self, num_parallel: int) -> TimeLeft | None:
        """Estimates the time left from the epochs seen so far, None before the first."""
        if num_parallel not in self._time_left:
            self._time_left[num_parallel] = self.pace.time_left(self.plan, self.states, self.epochs, num_parallel)
        return self._time_left[num_parallel]

    def trial_time_left(self, uid: str) -> TimeLeft | None:
        """Estimates the time that the epochs of a running trial have left, None before the first epoch of any."""
        node, unit = self.plan.node(uid), self.pace.unit_seconds(self.plan.stages)
        to_run = node.recipe.epochs - self.epochs[uid]
        if unit is None:
            return None
        low, high = unit[node.stage]
        return TimeLeft(to_run * low, to_run * high)

    def _consider(self, node: Node, cell: Cell, metrics: Mapping[str, float]) -> None:
        gap = metrics["validation/parity_gap"]
        pair = BestPair(
            name=node.name,
            drop=-metrics["validation/accuracy_delta"],
            parity_gap=gap,
            objective=detrimental_objective(**accuracies_of(metrics, "validation")),
            is_feasible=parity_violation(gap) <= 0,
        )
        if pair.beats(self.best_by_cell.get(cell.cell_id)):
            self.best_by_cell[cell.cell_id] = pair
        if cell.goal is Goal.DETRIMENTAL and pair.beats(self.best):
            self.best = pair


def overview_of(snapshot: Snapshot, *, has_driver: bool) -> Overview:
    """Fills an overview with what a snapshot says; without a driver, trials with saved epochs are interrupted."""
    overview = Overview(snapshot)
    for node in snapshot.plan.nodes:
        state = overview.states[node.uid]
        if not state.has_begun:
            if has_driver and node.uid in snapshot.findings.begun:
                overview.started(node)
            continue
        rows = snapshot.trial(node).epochs()
        for row in rows:
            overview.pace.epoch(node, row)
            overview.usage.add_row(row)
        if state is State.INTERRUPTED and has_driver and rows:
            overview.epochs[node.uid], overview.latest[node.uid] = int(rows[-1]["epoch"]), rows[-1]
        elif state is not State.INTERRUPTED:
            overview.ended(node)
    return overview


def summary(plan: Plan, states: Mapping[str, State]) -> str:
    """Returns the totals of a plan in one line."""
    counts = ", ".join(f"{count} {stage}" for stage, count in plan.stage_counts().items())
    count = count_of(states)
    skipped = f", {count.skipped} skipped" if count.skipped else ""
    refused = f"; {len(plan.refused)} cells refused" if plan.refused else ""
    return (
        f"{count.planned} trials ({counts}): {count.done} cached, {count.needed - count.done} to run{skipped}{refused}"
    )
