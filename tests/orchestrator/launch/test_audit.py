"""Whoever contradicts the store is named, and who agrees is not."""

from pathlib import Path

import pytest

from orchestrator.launch.ending.audit import compare
from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import open_journal
from orchestrator.search.study import CellStudy
from orchestrator.store.folder import CHECKPOINT, PRUNED, RESULT
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
PLAN: Plan = build_plan(build_grid("smoke", Choices(search=SEARCH), lambda _: 15), lambda _: 15)
SEARCHED = [node for node in PLAN.nodes if node.cell and node.cell.search_trials]


@pytest.fixture
def studies(store: Store, tmp_path: Path) -> dict[str, CellStudy]:
    """A sweep that went through: every trial done and told."""
    cell = SEARCHED[0].cell
    assert cell is not None
    studies = {cell.cell_id: CellStudy(cell, open_journal(tmp_path / "studies.log"), PLAN.grid.search)}
    frontier = Frontier(Snapshot(PLAN, store), studies, data_dir=None, stop_file="sweeps/mine/stop")
    for number in range(len(PLAN.nodes)):
        config = frontier.suggest(str(number))
        assert isinstance(config, dict)
        trial = trial_of(store, PLAN.node(config["uid"]))
        trial.write_result(pair_metrics(), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
        frontier.on_trial_complete(str(number))
    return studies


ALL_FINISHED = [(node.uid, "FINISHED") for node in PLAN.nodes]


def test_agreement_is_one_line_with_the_counts(store: Store, studies: dict[str, CellStudy]) -> None:
    agreement = compare(Snapshot(PLAN, store), studies, ALL_FINISHED)
    assert agreement.disagreements == ()
    assert agreement.line() == "plan = store = Optuna = MLflow: 5 done, 0 failed"


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        (ALL_FINISHED[1:], "nothing"),
        ([*ALL_FINISHED, ALL_FINISHED[0]], "FINISHED and FINISHED"),
        ([(PLAN.nodes[0].uid, "RUNNING"), *ALL_FINISHED[1:]], "RUNNING"),
    ],
    ids=["lacks a run", "has a run twice", "has a run open"],
)
def test_mlflow_that_disagrees_is_named(
    store: Store, studies: dict[str, CellStudy], runs: list[tuple[str, str]], found: str
) -> None:
    expected = f"MLflow has {found} for {PLAN.nodes[0].name}, the store says done"
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == (expected,)


def test_mlflow_that_does_not_answer_is_no_agreement(store: Store, studies: dict[str, CellStudy]) -> None:
    (line,) = compare(Snapshot(PLAN, store), studies, None).disagreements
    assert line.startswith("MLflow does not answer")


def test_study_that_knows_nothing_of_a_finished_trial_is_named(
    store: Store, studies: dict[str, CellStudy], tmp_path: Path
) -> None:
    cell = SEARCHED[0].cell
    assert cell is not None
    empty = {cell.cell_id: CellStudy(cell, open_journal(tmp_path / "other.log"), PLAN.grid.search)}
    expected = tuple(f"Optuna has nothing for {node.name}, the store says done" for node in SEARCHED)
    assert compare(Snapshot(PLAN, store), empty, ALL_FINISHED).disagreements == expected


def test_study_that_holds_a_value_the_store_lost_is_named(store: Store, studies: dict[str, CellStudy]) -> None:
    node = SEARCHED[-1]
    trial_of(store, node).restart()
    runs = [*ALL_FINISHED[:-1], (node.uid, "KILLED")]
    assert SEARCHED[-1] == PLAN.nodes[-1]
    expected = f"Optuna has COMPLETE for {node.name}, the store says waiting"
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == (expected,)


def test_study_that_never_heard_of_a_pruned_trial_is_named(store: Store, studies: dict[str, CellStudy]) -> None:
    node = begin_again(store, studies, SEARCHED[-1])
    trial_of(store, node).write_pruned(1)
    # It holds the trial as RUNNING, for nothing was told.
    runs = [*ALL_FINISHED[:-1], (node.uid, "KILLED")]
    expected = f"Optuna has FAIL and RUNNING for {node.name}, the store says pruned"
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == (expected,)
    study = studies[str(node.cell_id)]
    study.tell(node, trial_of(store, node))
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == ()
    study.point(node, trial_of(store, node))
    expected = f"Optuna has FAIL and PRUNED and RUNNING for {node.name}, the store says pruned"
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == (expected,)


def test_study_without_any_trial_for_a_pruned_one_is_named(store: Store, tmp_path: Path) -> None:
    node = SEARCHED[-1]
    assert node.cell is not None
    trial_of(store, node).write_recipe(node, None)
    trial_of(store, node).write_pruned(1)
    study = CellStudy(node.cell, open_journal(tmp_path / "empty.log"), PLAN.grid.search)
    runs = [(node.uid, "KILLED")]
    expected = f"Optuna has nothing for {node.name}, the store says pruned"
    assert compare(Snapshot(PLAN, store), {node.cell.cell_id: study}, runs).disagreements == (expected,)


@pytest.mark.parametrize("outcome", ["RUNNING", "COMPLETE", "PRUNED"])
def test_study_that_holds_a_diverged_trial_as_anything_but_failed_is_named(
    store: Store, studies: dict[str, CellStudy], outcome: str
) -> None:
    node = begin_again(store, studies, SEARCHED[-1])
    trial, study = trial_of(store, node), studies[str(node.cell_id)]
    if outcome == "PRUNED":
        trial.write_pruned(1)
        study.tell(node, trial)
        trial.folder.delete(PRUNED)
    if outcome == "COMPLETE":
        trial.write_result(pair_metrics(), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
        study.tell(node, trial)
        trial.folder.delete(RESULT)
    trial.write_error(NonFiniteLossError("the loss became nan"))
    runs = [*ALL_FINISHED[:-1], (node.uid, "FAILED")]
    expected = f"Optuna has FAIL and {outcome} for {node.name}, the store says diverged"
    assert compare(Snapshot(PLAN, store), studies, runs).disagreements == (expected,)
    if outcome == "RUNNING":
        study.tell(node, trial)
        assert compare(Snapshot(PLAN, store), studies, runs).disagreements == ()


def begin_again(store: Store, studies: dict[str, CellStudy], node: Node) -> Node:
    """Has a trial failed once and running again, as far as its study knows."""
    assert node.cell is not None
    trial_of(store, node).restart()
    study = studies[node.cell.cell_id] = CellStudy(
        node.cell, open_journal(Path(store.root.path) / "again.log"), PLAN.grid.search
    )
    for other in SEARCHED:
        if other != node:
            study.tell(other, trial_of(store, other))
    study.point(node, trial_of(store, node))
    trial_of(store, node).write_error(NonFiniteLossError("the loss became nan"))
    study.tell(node, trial_of(store, node))
    trial_of(store, node).clear_error()
    study.point(node, trial_of(store, node))
    return node


def test_failures_are_counted_apart(store: Store) -> None:
    trial_of(store, PLAN.nodes[0]).write_error(NonFiniteLossError("the loss became nan"))
    agreement = compare(Snapshot(PLAN, store), {}, [(PLAN.nodes[0].uid, "FAILED")])
    assert agreement.disagreements == ()
    assert agreement.line() == "plan = store = Optuna = MLflow: 0 done, 1 failed, 4 left"
    assert PLAN.nodes[0].stage is Stage.TEACHER
