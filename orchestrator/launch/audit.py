"""Do plan, store, Optuna and MLflow tell the same story? Asked at the end of every launch."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.plan import Node, Origin
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.study import CellStudy
from orchestrator.store.states import State
from orchestrator.tracking.runs import run_status
from search_spaces.objective import accuracies_of, detrimental_objective


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a launch ended, according to all that keep count."""

    states: Mapping[str, State]
    disagreements: tuple[str, ...]
    """One line for everything that contradicts the store."""

    def line(self) -> str:
        """Returns the counts in one line."""
        counts = Counter(self.states.values())
        num_failed = sum(state.is_failed for state in self.states.values())
        numbers = f"{counts[State.DONE]} done, {num_failed} failed"
        num_left = len(self.states) - counts[State.DONE] - num_failed - counts[State.PRUNED] - counts[State.SKIPPED]
        others = {"pruned": counts[State.PRUNED], "skipped": counts[State.SKIPPED], "left": num_left}
        numbers += "".join(f", {count} {name}" for name, count in others.items() if count)
        return f"plan = store = Optuna = MLflow: {numbers}"


def compare(
    snapshot: Snapshot, studies: Mapping[str, CellStudy], mlflow_runs: Sequence[tuple[str, str]] | None
) -> Agreement:
    """Compares everybody with the store.

    Args:
        snapshot: The truth.
        studies: The study of every searched cell, by cell_id.
        mlflow_runs: Uid and status of every run of MLflow; None if it does not answer.
    """
    plan, states = snapshot.plan, snapshot.states
    lines = [] if mlflow_runs is not None else ["MLflow does not answer; the next launch replays what it lacks"]
    statuses: dict[str, list[str]] = defaultdict(list)
    for uid, status in mlflow_runs or ():
        statuses[uid].append(status)
    for node in plan.nodes:
        state = states[node.uid]
        has_none = not statuses[node.uid] and state in (State.WAITING, State.SKIPPED)
        if mlflow_runs is not None and not has_none and statuses[node.uid] != [run_status(state)]:
            lines.append(f"MLflow has {_listed(statuses[node.uid])} for {node.name}, the store says {state}")
    for cell_id, study in studies.items():
        told = study.told()
        for node in plan.nodes:
            if node.cell_id != cell_id or node.origin is Origin.CONFIRMED:
                continue
            found = told.pop(node.uid, [])
            if not _fits(found, states[node.uid], node, snapshot):
                lines.append(f"Optuna has {_listed(found)} for {node.name}, the store says {states[node.uid]}")
        lines += [
            f"Optuna has RUNNING for {uid}, which is no trial of {cell_id}" for uid in told if "RUNNING" in told[uid]
        ]
    return Agreement(states, tuple(lines))


def _fits(found: list[str], state: State, node: Node, snapshot: Snapshot) -> bool:
    """Tells whether the states that a study holds of a node fit the store's; earlier attempts may have failed."""
    counts = Counter(found)
    if state is State.DONE:
        result = snapshot.trial(node).result()
        assert result is not None, f"{node.name} is done without a result"
        is_finite = math.isfinite(detrimental_objective(**accuracies_of(result.metrics, "validation")))
        return counts["COMPLETE"] == is_finite and counts["RUNNING"] == 0 and bool(found)
    if state is State.PRUNED:
        return counts["PRUNED"] >= 1 and counts["COMPLETE"] == counts["RUNNING"] == 0
    if state is State.DIVERGED:
        return counts["COMPLETE"] == counts["PRUNED"] == counts["RUNNING"] == 0
    return counts["COMPLETE"] == counts["PRUNED"] == 0 and counts["RUNNING"] <= 1


def _listed(statuses: Sequence[str]) -> str:
    return " and ".join(statuses) or "nothing"
