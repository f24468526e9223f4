"""The last log lines of a failed trial: what is kept of them, who shows them, and that MLflow has them of the store."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
import ray

from cluster.runtime.session import session
from orchestrator.plan import Plan, build_plan
from orchestrator.progress.logs import log_lines
from orchestrator.store.folder import EPOCHS, ERROR, LOG
from orchestrator.store.logs import NUM_LINES, last_lines
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.tracking.runs import read_standing
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers import trial as trial_worker
from search_spaces.grids.build import Choices, build_grid

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
NODE = PLAN.nodes[0]


@pytest.fixture
def folder(store: Store) -> TrialFolder:
    folder = trial_of(store, NODE)
    folder.write_recipe(NODE, None)
    folder.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 0, "train/loss": 0.5}], b"state")
    return folder


def artifacts(store: Store, uid: str) -> dict[str, str]:
    """Text artifacts of a trial's run, by name."""
    client = mlflow.MlflowClient(f"sqlite:///{store.root.local_path}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`dptq.uid` = '{uid}'")
    names = [each.path for each in client.list_artifacts(run.info.run_id)]
    texts = [name for name in names if name.endswith(".txt")]
    return {name: Path(client.download_artifacts(run.info.run_id, name)).read_text() for name in texts}


def test_the_last_hundred_lines_are_kept_epochs_first_and_without_credentials(folder: TrialFolder) -> None:
    assert last_lines(folder, ["see http://ann:secret@host/x"]) == [
        "epoch 1/1  1.0 s  train/loss 0.5",
        "see http://host/x",
    ]
    lines = last_lines(folder, [str(number) for number in range(500)])
    assert lines == [str(number) for number in range(500 - NUM_LINES, 500)]


def test_a_damaged_file_of_epochs_does_not_keep_its_error_from_being_written(folder: TrialFolder) -> None:
    folder.folder.write_bytes(EPOCHS, b"torn")
    (first, last) = last_lines(folder, ["printed"])
    assert "is no Parquet table" in first
    assert last == "printed"


def test_logs_show_every_line_once_and_a_new_start_forgets_them(store: Store, folder: TrialFolder) -> None:
    folder.write_error(RuntimeError("no http://ann:secret@host"), log=last_lines(folder, ["warm", "hot"]))
    shown = list(log_lines(folder, store, follow=False))
    assert shown[1:5] == ["epoch  seconds     loss", "  1/1      1.0      0.5", "warm", "hot"]
    assert shown[5].startswith("RuntimeError: no http://host\n")
    assert "secret" not in "".join(shown)
    folder.clear_error()
    assert {LOG, ERROR}.isdisjoint(folder.folder.names())


def test_a_failure_without_lines_leaves_none_of_the_one_before(folder: TrialFolder) -> None:
    folder.write_error(RuntimeError("x"), log=["old"])
    folder.write_error(RuntimeError("x"))
    assert folder.log() == []


def test_a_run_whose_lines_changed_is_replayed(folder: TrialFolder) -> None:
    marks = set()
    for line in ("one", "two"):
        folder.write_error(RuntimeError("x"), log=[line])
        state = read_standing(folder)
        assert state is not None
        marks.add(state[1])
    assert len(marks) == 2


def fail_in_a_worker(config: dict[str, Any]) -> None:
    """Runs a trial that prints and fails, after another one that printed."""

    def explode(*_: object) -> None:
        print("the fan is loud, see http://ann:secret@host/fan")  # noqa: T201  # what the test is about
        raise MemoryError("out of luck")

    print("of the trial before")  # noqa: T201
    # A copy of the module lives in this worker alone.
    trial_worker._run = explode  # type: ignore[assignment]
    trial_worker.run_trial(config)


@pytest.mark.ray
@pytest.mark.slow
def test_what_a_worker_printed_reaches_the_store_and_a_replay_brings_it_to_mlflow(
    store: Store, folder: TrialFolder
) -> None:
    config = {"storage": store.uri, "stage": str(NODE.stage), "uid": NODE.uid, "data_dir": None, "stop_file": "stop"}
    with session():
        with pytest.raises(ray.exceptions.RayTaskError):
            ray.get(ray.remote(max_retries=0)(fail_in_a_worker).remote(config))
    assert folder.state() is State.FAILED
    expected = ["epoch 1/1  1.0 s  train/loss 0.5", "the fan is loud, see http://host/fan"]
    assert folder.log() == expected
    # Nobody listened while the trial ran, so all that MLflow gets it gets from the store.
    tracker = Tracker(None, store, "mine")
    tracker.open(PLAN, {})
    assert tracker.close("FAILED") == []
    texts = artifacts(store, NODE.uid)
    assert texts[LOG].splitlines() == expected
    assert texts[ERROR].startswith("MemoryError: out of luck")
