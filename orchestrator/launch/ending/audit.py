"""Do plan, store, Optuna and MLflow tell the same story? Asked at the end of every launch."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import count_of
from orchestrator.search.study import CellStudy
from orchestrator.store.states import State
from orchestrator.tracking.runs import run_status
from search_spaces.names import Objective
from search_spaces.objective import measures, objective_value


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a launch ended, according to all that keep count."""

    states: Mapping[str, State]
    disagreements: tuple[str, ...]
    """One line for everything that contradicts the store."""

    def line(self) -> str:
        """Returns the counts in one line."""
        return f"plan = store = Optuna = MLflow: {count_of(self.states).ends}"


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
    for node in plan.nodes if mlflow_runs is not None else ():
        state, found = states[node.uid], statuses[node.uid]
        has_none = not found and state in (State.WAITING, State.SKIPPED)
        if not has_none and found != [run_status(state)]:
            lines.append(f"MLflow has {_listed(found)} for {node.name}, the store says {state}")
    searches = plan.searches()
    for cell_id, study in studies.items():
        told = study.told()
        for node in searches[cell_id]:
            found = told.pop(node.uid, [])
            if not _fits(found, states[node.uid], node, snapshot, study.maximizes):
                lines.append(f"Optuna has {_listed(found)} for {node.name}, the store says {states[node.uid]}")
        orphans = [uid for uid, found in told.items() if "RUNNING" in found]
        lines += [f"Optuna has RUNNING for {uid}, which is no trial of {cell_id}" for uid in orphans]
    return Agreement(states, tuple(lines))


def _fits(found: list[str], state: State, node: Node, snapshot: Snapshot, objective: Objective) -> bool:
    """Tells whether the states that a study holds of a node fit the store's; earlier attempts may have failed."""
    counts = Counter(found)
    if state is State.DONE:
        result = snapshot.trial(node).result()
        assert result is not None, f"{node.name} is done without a result"
        metrics = result.metrics
        is_told = measures(objective, metrics) and math.isfinite(objective_value(objective, metrics))
        return counts["COMPLETE"] == is_told and counts["RUNNING"] == 0 and bool(found)
    if state is State.PRUNED:
        return counts["PRUNED"] >= 1 and counts["COMPLETE"] == counts["RUNNING"] == 0
    if state is State.DIVERGED:
        return counts["COMPLETE"] == counts["PRUNED"] == counts["RUNNING"] == 0
    return counts["COMPLETE"] == counts["PRUNED"] == 0 and counts["RUNNING"] <= 1


def _listed(statuses: Sequence[str]) -> str:
    return " and ".join(statuses) or "nothing"
