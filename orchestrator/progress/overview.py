"""How far a sweep is: counts, running trials, the best pair so far and the time that is left.

The launch feeds it with events, `status` fills it from the store; both show the same thing.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from orchestrator.plan import Node, Origin, Plan, Stage
from orchestrator.search.trial_budget import Findings, read_states, settle
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.store.usage import Usage
from search_spaces.cells import Cell
from search_spaces.names import Goal
from search_spaces.objective import accuracies_of, detrimental_objective, parity_violation
from search_spaces.recipes import TrainingRecipe

RUNNING = "running"
# An epoch of a stage in units of a distillation's, as measured on digits; used until the stage has been seen.
RELATIVE_COST = {Stage.TEACHER: 2.0, Stage.DISTILL: 1.0, Stage.PAIR: 3.0}


@dataclass(frozen=True, slots=True)
class BestPair:
    """The pair that the search likes best, on the validation split."""

    name: str
    drop: float
    parity_gap: float
    objective: float
    is_feasible: bool

    def beats(self, other: "BestPair | None") -> bool:
        """Tells whether a search prefers this pair: parity first, then the objective."""
        return other is None or (self.is_feasible, self.objective) > (other.is_feasible, other.objective)


@dataclass(slots=True)
class Overview:
    """The state of every trial of a plan."""

    plan: Plan
    states: dict[str, State]
    """By uid; what the store says."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Finished epochs of the trials that run now, by uid."""
    epoch_seconds: dict[Stage, list[float]] = field(default_factory=dict)
    best: BestPair | None = None
    best_by_cell: dict[str, BestPair] = field(default_factory=dict)
    """By cell_id; a robust cell is not searched, its only trial is its best."""
    headlines: dict[str, str] = field(default_factory=dict)
    """First line of the error of every failed trial, by uid."""
    usage: Usage = field(default_factory=Usage)
    findings: Findings = field(default_factory=Findings)
    """What the searches found, which decides what they spare."""

    def started(self, node: Node) -> None:
        """Notes that a trial runs."""
        self.epochs.setdefault(node.uid, 0)
        self.findings.begun.add(node.uid)

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """Notes a finished epoch."""
        self.epochs[node.uid] = int(row["epoch"])
        self.epoch_seconds.setdefault(node.stage, []).append(row["seconds"])
        self.usage.add_row(row)

    def ended(self, node: Node, store: Store) -> None:
        """Reads how a trial ended, and what that spares others."""
        folder = trial_of(store, node)
        self.epochs.pop(node.uid, None)
        self.states[node.uid] = folder.state()
        if node.cell and node.cell.search_trials:
            self.findings.look(node, folder, self.states[node.uid])
            self.states = settle(self.plan, self.states, self.findings)
        self.read_end(node, folder)

    def read_end(self, node: Node, folder: TrialFolder) -> None:
        """Reads the error or the result of a trial that ended, whatever its state means to others."""
        self.headlines.pop(node.uid, None)
        if error := folder.error():
            self.headlines[node.uid] = error.splitlines()[0]
        result = folder.result()
        if result and node.cell and node.origin is not Origin.CONFIRMED:
            self._consider(node, node.cell, result["metrics"])

    def counts(self) -> dict[Stage, dict[str, int]]:
        """Returns for every stage the number of trials in each state; running ones are counted as such."""
        counts: dict[Stage, Counter[str]] = {stage: Counter() for stage in Stage}
        for node in self.plan.nodes:
            counts[node.stage][RUNNING if node.uid in self.epochs else self.states[node.uid]] += 1
        return {stage: dict(counter) for stage, counter in counts.items()}

    def num_done(self) -> int:
        """Returns the number of trials that ended well: finished, or pruned."""
        return sum(state in (State.DONE, State.PRUNED) for state in self.states.values())

    def num_needed(self) -> int:
        """Returns the number of trials that a launch runs as far as is known: all but those that a search spares."""
        return sum(state is not State.SPARED for state in self.states.values())

    def num_left(self) -> int:
        """Returns the number of trials that have yet to end well; where a search diverged at a point, that is known."""
        known = [node for node in self.plan.nodes if node.is_of_search and self.states[node.uid] is State.DIVERGED]
        return self.num_needed() - self.num_done() - len(known)

    def eta_seconds(self, num_parallel: int) -> float | None:
        """Estimates the time left from the epochs seen so far, None before the first.

        Shared stages run before their children, so the estimate is a little short while they do.
        """
        unit = self._unit_seconds()
        if unit is None:
            return None
        left = 0.0
        for node in self.plan.nodes:
            if self.states[node.uid] in (State.DONE, State.DIVERGED, State.PRUNED, State.SPARED):
                continue
            assert isinstance(node.recipe, TrainingRecipe)
            left += (node.recipe.epochs - self.epochs.get(node.uid, 0)) * unit[node.stage]
        return left / max(1, num_parallel)

    def trial_eta_seconds(self, uid: str) -> float | None:
        """Estimates the time that a running trial has left, None before the first epoch of any."""
        unit, node = self._unit_seconds(), self.plan.node(uid)
        assert isinstance(node.recipe, TrainingRecipe)
        return None if unit is None else (node.recipe.epochs - self.epochs[uid]) * unit[node.stage]

    def _unit_seconds(self) -> dict[Stage, float] | None:
        """Seconds per epoch of every stage: the median of the latest ones, or a guess from the stages seen."""
        # The median, because a worker's first epoch compiles kernels and takes several times as long.
        seen = {stage: median(rows[-20:]) for stage, rows in self.epoch_seconds.items() if rows}
        if not seen:
            return None
        base = sum(seconds / RELATIVE_COST[stage] for stage, seconds in seen.items()) / len(seen)
        return {stage: seen.get(stage, base * RELATIVE_COST[stage]) for stage in Stage}

    def _consider(self, node: Node, cell: Cell, metrics: dict[str, float]) -> None:
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


def overview_from_store(plan: Plan, store: Store, *, has_driver: bool) -> Overview:
    """Fills an overview from the store alone.

    Args:
        plan: The sweep's plan.
        store: Where its trials are.
        has_driver: Whether a launch is at work; if not, trials with saved epochs are interrupted, not running.
    """
    states, findings = read_states(store, plan)
    overview = Overview(plan, settle(plan, states, findings), findings=findings)
    for node in plan.nodes:
        state, folder = overview.states[node.uid], trial_of(store, node)
        if state in (State.WAITING, State.SPARED):
            if has_driver and folder.recipe() is not None:
                overview.started(node)
            continue
        rows = folder.epochs()
        overview.epoch_seconds.setdefault(node.stage, []).extend(row["seconds"] for row in rows)
        for row in rows:
            overview.usage.add_row(row)
        if state is State.INTERRUPTED and has_driver and rows:
            overview.epochs[node.uid] = int(rows[-1]["epoch"])
        elif state is not State.INTERRUPTED:
            overview.read_end(node, folder)
    return overview


def summary(plan: Plan, states: dict[str, State]) -> str:
    """Returns the totals of a plan in one line."""
    counts = ", ".join(f"{count} {stage}" for stage, count in plan.stage_counts().items())
    num_done = sum(state in (State.DONE, State.PRUNED) for state in states.values())
    num_spared = sum(state is State.SPARED for state in states.values())
    spared = f", {num_spared} spared" if num_spared else ""
    refused = f"; {len(plan.refused)} cells refused" if plan.refused else ""
    num_left = len(plan.nodes) - num_done - num_spared
    return f"{len(plan.nodes)} trials ({counts}): {num_done} cached, {num_left} to run{spared}{refused}"
