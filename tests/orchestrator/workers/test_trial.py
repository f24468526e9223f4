"""A trial as Ray runs it, without a cluster: what it writes when it ends, fails or goes on."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.store.folder import CHECKPOINT, RESUME
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.store.usage import GPU_SECONDS
from orchestrator.workers import trial as trial_worker
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import vary

STOP_FILE = "sweeps/mine/stop"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The smoke grid with a tiny teacher, so that a stage takes a second."""
    grid: Grid = build_grid("smoke", Choices(), lambda _: 15)
    teacher = vary(grid.teacher, architecture="test_resnet")
    return build_plan(vary(grid, teacher=teacher.model_dump()), lambda _: 15)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trial tells Tune; outside a cluster there is nobody to tell."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", told.append)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    return told


def run(store: Store, node: Node, *, data_dir: str | None = None) -> TrialFolder:
    folder = trial_of(store, node)
    if folder.recipe() is None:
        folder.write_recipe(node, None)
    place = {"storage": store.uri, "stage": str(node.stage), "uid": node.uid, "data_dir": data_dir}
    trial_worker.run_trial(place | {"stop_file": STOP_FILE})
    return folder


def test_chain_of_trials_runs_from_the_store_alone(store: Store, plan: Plan, reports: list[dict[str, Any]]) -> None:
    teacher, distill, *pairs = plan.nodes
    for node in (teacher, distill, pairs[0]):
        folder = run(store, node)
        assert folder.state() is State.DONE, folder.error()
        assert [row["epoch"] for row in folder.epochs()] == list(range(1, node.recipe.model_dump()["epochs"] + 1))
        assert not folder.folder.exists(RESUME)
        result = folder.result()
        assert result is not None
        assert result.seconds == pytest.approx(sum(row["seconds"] for row in folder.epochs()))
    assert [report["row"]["epoch"] for report in reports] == [1, 1, 1, 2]


def test_curable_error_is_recorded_and_not_raised(store: Store, plan: Plan, reports: list[dict[str, Any]]) -> None:
    teacher, distill = plan.nodes[:2]
    run(store, teacher).folder.write_bytes(CHECKPOINT, b"cut short")
    folder = run(store, distill)
    assert folder.state() is State.FAILED
    error = folder.error()
    assert error is not None
    assert error.startswith("StorageError: ")
    assert "is damaged" in error.splitlines()[0]
    assert "Traceback" in error


def test_unknown_error_is_recorded_and_raised_to_end_its_process(
    store: Store, plan: Plan, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(metrics: dict[str, Any]) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("ray.tune.report", explode)
    with pytest.raises(RuntimeError, match="out of luck"):
        run(store, plan.nodes[0])
    folder = trial_of(store, plan.nodes[0])
    assert folder.state() is State.FAILED
    monkeypatch.undo()
    monkeypatch.setattr("ray.tune.report", lambda metrics: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    assert run(store, plan.nodes[0]).state() is State.DONE


def test_full_gpu_is_recorded_and_raised_to_free_its_memory(
    store: Store, plan: Plan, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(metrics: dict[str, Any]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ray.tune.report", fill)
    with pytest.raises(torch.OutOfMemoryError):
        run(store, plan.nodes[0])
    assert trial_of(store, plan.nodes[0]).state() is State.OUT_OF_MEMORY


def test_stopped_trial_saves_its_epoch_and_goes_on_from_there(
    store: Store, plan: Plan, reports: list[dict[str, Any]]
) -> None:
    teacher, distill, pair = plan.nodes[:3]
    store.root.write_bytes(STOP_FILE, b"")
    # A trial in its last epoch ends as ever.
    assert [run(store, node).state() for node in (teacher, distill)] == [State.DONE, State.DONE]
    folder = run(store, pair)
    assert folder.state() is State.INTERRUPTED
    assert [row["epoch"] for row in folder.epochs()] == [1]
    store.root.delete(STOP_FILE)
    assert run(store, pair).state() is State.DONE
    assert [report["row"]["epoch"] for report in reports] == [1, 1, 1, 2]


def test_trial_that_is_done_is_left_alone(store: Store, plan: Plan, reports: list[dict[str, Any]]) -> None:
    folder = run(store, plan.nodes[0])
    before = folder.result()
    assert run(store, plan.nodes[0]).result() == before
    assert len(reports) == 1


def test_diverged_trial_is_recorded_as_such(
    store: Store, plan: Plan, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trainables.stages.teacher.F.cross_entropy", lambda logits, *_, **__: logits.sum() * float("nan")
    )
    folder = run(store, plan.nodes[0])
    assert folder.state() is State.DIVERGED
    assert "the loss became nan in epoch 1 of 1" in (folder.error() or "")


def test_torn_resume_state_is_named(store: Store, plan: Plan, reports: list[dict[str, Any]]) -> None:
    trial_of(store, plan.nodes[0]).folder.write_bytes(RESUME, b"torn")
    error = run(store, plan.nodes[0]).error()
    assert error is not None
    assert f"{plan.nodes[0].uid}/{RESUME} is no complete safetensors file" in error.splitlines()[0]


def test_child_refuses_a_parent_trained_on_other_data(
    store: Store, plan: Plan, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(store, plan.nodes[0])
    result = folder.folder.read_json("result.json")
    assert result is not None
    folder.folder.write_json("result.json", result | {"data_sha256": "0" * 64})
    error = run(store, plan.nodes[1]).error()
    assert error is not None
    assert "was trained on other data (000000000000)" in error.splitlines()[0]


@pytest.mark.parametrize(("gpu_ids", "share"), [([], 0.0), ([0], 0.25)])
def test_epochs_count_the_share_of_a_gpu_that_the_trial_holds(
    store: Store,
    plan: Plan,
    reports: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    gpu_ids: list[int],
    share: float,
) -> None:
    resources = SimpleNamespace(required_resources={"CPU": 1.0, "GPU": 0.25})
    monkeypatch.setattr("ray.get_gpu_ids", lambda: gpu_ids)
    monkeypatch.setattr("ray.tune.get_context", lambda: SimpleNamespace(get_trial_resources=lambda: resources))
    # A GPU that Ray counts and this machine may not have: the training itself stays on the CPU.
    on_cpu = partial(trial_worker.open_trial, use_gpu=False)
    monkeypatch.setattr("orchestrator.workers.trial.open_trial", on_cpu)
    (row,) = run(store, plan.nodes[0]).epochs()
    assert row.get(GPU_SECONDS, 0.0) == pytest.approx(share * row["seconds"])


def test_missing_data_says_what_to_do(store: Store, tmp_path: Path, reports: list[dict[str, Any]]) -> None:
    grid = build_grid("smoke", Choices(dataset="oxford-iiit-pet"), lambda _: 15)
    node = build_plan(grid, lambda _: 15).nodes[0]
    error = run(store, node, data_dir=str(tmp_path)).error()
    assert error is not None
    assert error.startswith("UnavailableError: dataset oxford-iiit-pet is not in")
