"""A worker that is killed between any two of its writes costs the running epoch, and its trial ends like any other."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch

from orchestrator.plan import Node, build_plan
from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT, PREDICTIONS, RESULT, RESUME
from orchestrator.store.provenance import facts as provenance
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers import trial as trial_worker
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.recorder import deaths, operations
from trainables.training_loop import EpochReport, StageResult, StageRun

NODE: Node = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15).nodes[0]
EPOCHS = 3
RESULT_PATH = f"{NODE.stage}/{NODE.uid}/{RESULT}"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs that a training without a network went through, in order; its state is the number of the epoch."""
    epochs: list[int] = []

    def start(*, resume: bytes | None, **_: Any) -> StageRun:
        total = 0
        for epoch in range(int(resume or b"0") + 1, EPOCHS + 1):
            epochs.append(epoch)
            total = 10 * epoch
            state = SimpleNamespace(to_bytes=partial(str(epoch).encode))
            yield EpochReport(
                epoch=epoch, num_epochs=EPOCHS, seconds=1.0, metrics={"train/loss": total}, snapshot=lambda s=state: s
            )  # type: ignore[misc]
        columns = {"label": torch.tensor([1]), "split": torch.tensor([0])}
        return StageResult(metrics={"test/accuracy": 0.5}, checkpoint={"weight": torch.ones(2)}, predictions=columns)

    training = SimpleNamespace(device_name="none", data_sha256="d", num_threads=1, start=start)
    monkeypatch.setattr(trial_worker, "open_trial", lambda *_: (training, None))
    monkeypatch.setattr("ray.tune.report", lambda report: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    return epochs


def begin(store: Store) -> None:
    trial_of(store, NODE).write_recipe(NODE, None)


def run(store: Store) -> None:
    config = {"storage": store.uri, "stage": str(NODE.stage), "uid": NODE.uid, "data_dir": None, "stop_file": "stop"}
    trial_worker.run_trial(config)


def begin_and_stop(store: Store) -> None:
    """Leaves a trial that goes on after its first epoch."""
    begin(store)
    store.root.write_bytes("stop", b"")
    run(store)
    store.root.delete("stop")


def begin_and_end(store: Store) -> None:
    begin(store)
    run(store)


def test_worker_writes_its_facts_every_epoch_and_the_result(store: Store, trained: list[int]) -> None:
    begin(store)
    assert operations(store, lambda: run(store)) == [
        "write env.json",
        *(f"write {name}" for _ in range(EPOCHS) for name in ("epochs.parquet", RESUME)),
        *(f"write {name}" for name in (CHECKPOINT, PREDICTIONS, RESULT)),
        "delete resume",
    ]


def test_every_attempt_says_from_which_epoch_on_the_code_was_its_own(
    store: Store, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_with(commit: str) -> None:
        monkeypatch.setattr(provenance, "code_state", lambda: {"git_commit": commit, "git_diff_sha256": None})
        run(store)

    def firsts() -> list[tuple[str, int]]:
        content = trial.folder.read_json(ENVIRONMENT) or {}
        return [(each["git_commit"], each["first_epoch"]) for each in provenance.attempts_of(content)]

    trial = trial_of(store, NODE)
    begin(store)
    store.root.write_bytes("stop", b"")
    run_with("a")
    run_with("b")
    assert firsts() == [("a", 1), ("b", 2)]
    # A row whose epoch was not saved: the worker died between the two.
    trial.folder.write_table("epochs.parquet", pa.Table.from_pylist([*trial.epochs(), trial.epochs()[-1]]))
    store.root.delete("stop")
    run_with("c")
    assert firsts() == [("a", 1), ("b", 2), ("c", 3)]
    result = trial.result()
    assert result is not None
    assert result.code == ("a", "b", "c")


@pytest.mark.parametrize("before", [begin, begin_and_stop], ids=["at first", "later"])
def test_killed_worker_costs_the_running_epoch_and_no_row(
    before: Callable[[Store], None], tmp_path: Path, trained: list[int]
) -> None:
    for store, did in deaths(tmp_path, before, run):
        trial = trial_of(store, NODE)
        is_done = f"write {RESULT_PATH}" in did
        saved = int(trial.folder.read_bytes(RESUME) or 0)
        assert trial.state() is (State.DONE if is_done else State.INTERRUPTED if saved else State.WAITING)
        trained.clear()
        run(store)
        assert trained == ([] if is_done else list(range(saved + 1, EPOCHS + 1))), did
        assert [(row["epoch"], row["train/loss"]) for row in trial.epochs()] == [(1, 10), (2, 20), (3, 30)], did
        result = trial.result()
        assert result is not None
        assert result.seconds == EPOCHS
        assert sorted(result.files) == sorted(name for name in result.files if trial.read_checked(name))


@pytest.mark.parametrize("before", [begin_and_stop, begin_and_end], ids=["interrupted", "done"])
def test_trial_whose_restart_died_ends_like_any_other(
    before: Callable[[Store], None], tmp_path: Path, trained: list[int]
) -> None:
    for store, did in deaths(tmp_path, before, lambda each: trial_of(each, NODE).restart()):
        trial = trial_of(store, NODE)
        assert not did or trial.state() in (State.INTERRUPTED, State.WAITING), did
        run(store)
        assert trial.state() is State.DONE
        assert [row["epoch"] for row in trial.epochs()] == [1, 2, 3], did
