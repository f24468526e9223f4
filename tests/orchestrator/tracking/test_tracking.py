"""MLflow ends up equal to the store: live, after an outage or a crash, however often it is replayed."""

import logging
import math
import multiprocessing
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.plan import Node, Origin, Plan, build_plan
from orchestrator.store.folder import CHECKPOINT, EPOCHS, ERROR, PREDICTIONS, RECIPE, RESULT, Folder, sha256
from orchestrator.store.records import TrialRecord
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.tracking.backend import Location, locate, ui_command
from orchestrator.tracking.client import Experiment, KnownRun
from orchestrator.tracking.experiments import Owner
from orchestrator.tracking.names import run_names
from orchestrator.tracking.points import Point, epoch_points, metric_key
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.writing import SweepContent
from search_spaces.errors import ConfigError, TrackingError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import as_text
from tests.orchestrator.buckets import memory_bucket
from tests.orchestrator.made_up import pair_metrics
from tests.servers import free_port, starting, wait_for_server
from tests.waiting import wait_until

SWEEP = "sweep-1"
START_MS = 1_700_000_000_000
CUDA_ERROR = RuntimeError(
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
SEARCH = {"keep_searching": True, "start_points": ("recipe",)}


@pytest.fixture
def store(tmp_path: Path, database: Path) -> Store:
    store = Store(str(tmp_path / "a storage"))
    shutil.copy(database, tmp_path / "a storage" / "mlflow.db")
    return store


@pytest.fixture
def tracker(store: Store) -> Tracker:
    return Tracker(None, store, SWEEP)


def rows(num_epochs: int = 3) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "seconds": 2.0,
            "timestamp_ms": START_MS + 2000 * (epoch + 1),
            "train/loss": 1.0 / (epoch + 1),
            "validation/accuracy_fp": 0.5 + 0.1 * epoch,
        }
        for epoch in range(num_epochs)
    ]


def record_of(node: Node, **changes: object) -> TrialRecord:
    return TrialRecord(
        uid=node.uid,
        stage=node.stage,
        name=node.name,
        recipe=node.recipe.model_dump(mode="json") | changes,
        dataset=node.dataset.model_dump(mode="json"),
        seed=node.seed,
        parents=node.parents,
        cell_id=node.cell_id,
        trial_number=node.trial_number,
    )


def write_begun(store: Store, node: Node, epochs: list[dict[str, Any]] | None = None, **changes: object) -> None:
    folder = store.trial(node.stage, node.uid)
    folder.write_json(RECIPE, record_of(node, **changes).as_json())
    folder.write_table(EPOCHS, pa.Table.from_pylist(rows() if epochs is None else epochs))


def write_done(store: Store, node: Node, epochs: list[dict[str, Any]] | None = None, **changes: object) -> None:
    write_begun(store, node, epochs, **changes)
    folder = store.trial(node.stage, node.uid)
    folder.write_bytes(CHECKPOINT, b"tensors")
    folder.write_table(PREDICTIONS, pa.table({"label": [1, 2]}))
    result = {
        "schema": 1,
        "uid": node.uid,
        "metrics": {"test/accuracy_fp": 0.75},
        "files": {CHECKPOINT: sha256(b"tensors")},
        "seconds": 6.5,
    }
    folder.write_json(RESULT, result)


def write_failed(store: Store, node: Node, text: str) -> None:
    write_begun(store, node)
    store.trial(node.stage, node.uid).write_bytes(ERROR, text.encode())


def client_of(store: Store) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{store.root.local_path}/mlflow.db")


def all_runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name(SWEEP)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def children(client: MlflowClient) -> dict[str, Run]:
    """The runs of trials by uid; fails if one uid has two."""
    runs = [run for run in all_runs(client) if "dptq.uid" in run.data.tags]
    by_uid = {run.data.tags["dptq.uid"]: run for run in runs}
    assert len(by_uid) == len(runs)
    return by_uid


def parent_of(client: MlflowClient) -> Run:
    (parent,) = [run for run in all_runs(client) if run.data.tags.get("dptq.stage") == "sweep"]
    return parent


def history(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, int, float]]]:
    return {
        key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
    }


def artifact_names(client: MlflowClient, run: Run, path: str | None = None) -> list[str]:
    return sorted(item.path for item in client.list_artifacts(run.info.run_id, path))


def test_pruned_trial_is_a_killed_run_that_says_when_it_was_pruned(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[-1]
    write_begun(store, node, rows(2))
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    assert "dptq.pruned_after_epoch" not in children(client_of(store))[node.uid].data.tags
    trial_of(store, node).write_pruned(2)
    again = Tracker(None, store, SWEEP)
    again.open(plan, {})
    assert again.close("FINISHED") == []
    run = children(client_of(store))[node.uid]
    assert run.info.status == "KILLED"
    assert run.data.tags["dptq.pruned_after_epoch"] == "2"
    assert run.data.tags["dptq.origin"] == "searched"
    assert len(history(client_of(store), run)["train/loss"]) == 2


def test_one_run_per_uid_over_launches_with_params_tags_metrics_and_artifacts(
    store: Store, tracker: Tracker, plan: Plan
) -> None:
    for node in plan.nodes:
        write_done(store, node)
    tracker.open(plan, {"mlflow.source.git.commit": "abc"})
    assert tracker.close("FINISHED") == []
    again = Tracker(None, store, SWEEP)
    again.open(plan, {"mlflow.source.git.commit": "abc"})
    assert again.close("FINISHED") == []

    client = client_of(store)
    runs, parent, node = children(client), parent_of(client), plan.nodes[-1]
    run = runs[node.uid]
    assert node.cell
    assert set(runs) == set(plan.by_uid())
    assert {run.info.status for run in [*runs.values(), parent]} == {"FINISHED"}
    assert run.info.run_name == run_names(plan)[node.uid]
    recipe = {name: as_text(value) for name, value in node.recipe.model_dump(mode="json").items()}
    assert run.data.params == {**recipe, "seed": "0", "dataset": "digits"}
    expected = {
        "mlflow.parentRunId": parent.info.run_id,
        "dptq.stage": "pair",
        "dptq.sweep": SWEEP,
        "dptq.cell": node.cell.cell_id,
        "dptq.trial_number": str(node.trial_number),
        "dptq.goal": "detrimental",
        "dptq.architecture": "test_resnet",
        "dptq.option_set": "I",
        "dptq.budget": str(node.cell.recipe.budget),
        "mlflow.source.git.commit": "abc",
    }
    assert expected.items() <= run.data.tags.items()
    points = history(client, run)
    assert points["train/loss"] == [(row["epoch"], row["timestamp_ms"], row["train/loss"]) for row in rows()]
    assert points["test/accuracy_fp"] == [(0, START_MS + 6000, 0.75)], "a bar, at step 0"
    assert set(points) == {
        "train/loss",
        "train/validation_accuracy_fp",
        "train/epoch_seconds",
        "test/accuracy_fp",
        "trial_seconds",
    }
    assert (run.info.start_time, run.info.end_time) == (START_MS, START_MS + 6000)
    assert artifact_names(client, run) == sorted([RECIPE, RESULT, PREDICTIONS, EPOCHS])
    checkpoint = trial_of(store, node).folder
    content = checkpoint.read_bytes(CHECKPOINT)
    assert content is not None
    named = {"dptq.checkpoint": f"{checkpoint.root}/{CHECKPOINT}", "dptq.checkpoint_sha256": sha256(content)}
    assert named.items() <= run.data.tags.items(), "by reference, not as a copy"


def test_metrics_of_the_sweep_lie_on_the_parent_run_once_however_often_it_is_closed(
    store: Store, tracker: Tracker, plan: Plan
) -> None:
    points = [Point("cells/detrimental_accuracy_delta_mean", -0.5, START_MS, 4)]
    for each in (tracker, Tracker(None, store, SWEEP)):
        each.open(plan, {})
        each.sweep_content(SweepContent(points=points))
        assert each.close("FINISHED") == []
    client = client_of(store)
    assert history(client, parent_of(client)) == {points[0].key: [(4, START_MS, -0.5)]}


def test_artifacts_lie_in_the_storage_folder_copies_of_checkpoints_too_where_they_are_wanted(
    store: Store, tracker: Tracker, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPTQ_COPY_CHECKPOINTS", "1")
    node = plan.nodes[0]
    write_done(store, node)
    tracker.open(plan, {})
    tracker.close("FINISHED")
    run = children(client_of(store))[node.uid]
    assert store.root.local_path
    assert (store.root.local_path / "mlflow-artifacts" / run.info.run_id / "artifacts" / CHECKPOINT).is_file()


def test_relaunch_of_a_finished_sweep_takes_less_than_three_seconds(store: Store, tracker: Tracker, plan: Plan) -> None:
    for node in plan.nodes:
        write_done(store, node)
    tracker.open(plan, {})
    tracker.close("FINISHED")
    before = {uid: run.to_dictionary() for uid, run in children(client_of(store)).items()}
    start = time.perf_counter()
    again = Tracker(None, store, SWEEP)
    again.open(plan, {})
    assert again.close("FINISHED") == []
    assert time.perf_counter() - start < 3
    assert {uid: run.to_dictionary() for uid, run in children(client_of(store)).items()} == before


def test_live_run_becomes_the_same_as_a_replayed_one(store: Store, tracker: Tracker, plan: Plan) -> None:
    live, replayed = plan.nodes[:2]
    tracker.open(plan, {})
    tracker.started(live, record_of(live))
    for row in rows():
        tracker.epoch(live, row)
    write_done(store, live)
    write_done(store, replayed)
    tracker.ended(live)
    assert tracker.close("FINISHED") == []
    client = client_of(store)
    runs = children(client)
    assert history(client, runs[live.uid]) == history(client, runs[replayed.uid])
    assert runs[live.uid].info.status == "FINISHED"
    assert tracker.close("FINISHED") == []
    assert history(client, children(client)[live.uid]) == history(client, runs[live.uid])


def test_metrics_are_visible_while_the_trial_runs(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[0]
    tracker.open(plan, {})
    tracker.started(node, record_of(node))
    for row in rows(2):
        tracker.epoch(node, row)
    client = client_of(store)
    wait_until(lambda: (run := children(client).get(node.uid)) and len(history(client, run).get("train/loss", ())) == 2)
    run = children(client)[node.uid]
    assert run.info.status == "RUNNING"
    assert parent_of(client).info.status == "RUNNING"
    # The trial never wrote its folder: it is not running any more, and there is nothing to replay.
    assert tracker.close("KILLED") == []
    assert children(client)[node.uid].info.status == "KILLED"
    assert parent_of(client).info.status == "KILLED"


def test_failed_trial_has_its_error_and_a_retry_reuses_its_run(store: Store, tracker: Tracker, plan: Plan) -> None:
    node, client = plan.nodes[0], client_of(store)
    write_begun(store, node)
    trial_of(store, node).write_error(CUDA_ERROR)
    tracker.open(plan, {})
    tracker.ended(node)
    assert tracker.close("FAILED") == []
    failed = children(client)[node.uid]
    assert failed.info.status == "FAILED"
    headline = trial_of(store, node).headline()
    assert headline is not None
    assert failed.data.tags["dptq.error"] == headline.line
    assert headline.line == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert artifact_names(client, failed) == sorted([RECIPE, EPOCHS, ERROR])

    again = Tracker(None, store, SWEEP)
    again.open(plan, {})
    again.started(node, record_of(node))
    write_done(store, node)
    again.ended(node)
    assert again.close("FINISHED") == []
    retried = children(client)[node.uid]
    assert (retried.info.run_id, retried.info.status) == (failed.info.run_id, "FINISHED")
    assert "dptq.error" not in retried.data.tags


def test_error_that_a_new_try_removes_while_it_is_logged_is_no_outage(
    store: Store, plan: Plan, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node, log_files = plan.nodes[0], Experiment.log_files

    def begin_again(self: Experiment, run: KnownRun, folder: Folder, names: Sequence[str]) -> None:
        folder.delete(ERROR)
        log_files(self, run, folder, names)

    write_begun(store, node)
    trial_of(store, node).write_error(CUDA_ERROR)
    monkeypatch.setattr(Experiment, "log_files", begin_again)
    tracker.open(plan, {})
    tracker.close("FAILED")
    assert "MLflow is behind" not in caplog.text
    client = client_of(store)
    assert artifact_names(client, children(client)[node.uid]) == sorted([RECIPE, EPOCHS])


def test_long_error_is_cut(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[0]
    write_failed(store, node, "x" * 20_000)
    tracker.open(plan, {})
    assert tracker.close("FAILED") == []
    assert children(client_of(store))[node.uid].data.tags["dptq.error"] == "x" * 5000


def test_interrupted_trial_is_killed_not_running(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[0]
    write_begun(store, node, rows(1))
    tracker.open(plan, {})
    tracker.started(node, record_of(node))
    assert tracker.close("KILLED") == []
    assert children(client_of(store))[node.uid].info.status == "KILLED"
    write_done(store, node)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    assert children(client_of(store))[node.uid].info.status == "FINISHED"


def test_run_left_running_by_a_dead_driver_is_ended_even_outside_the_plan(
    store: Store, tracker: Tracker, plan: Plan
) -> None:
    inside, outside = plan.nodes[0], plan.nodes[-1]
    tracker.open(plan, {})
    tracker.started(inside, record_of(inside))
    tracker.started(outside, record_of(outside))
    tracker.close("KILLED")
    client = client_of(store)
    for run in all_runs(client):
        client.update_run(run.info.run_id, status="RUNNING")
    smaller = Tracker(None, store, SWEEP)
    smaller.open(Plan(plan.grid, plan.nodes[:-1], ()), {})
    assert smaller.close("FINISHED") == []
    runs = children(client)
    assert {runs[inside.uid].info.status, runs[outside.uid].info.status} == {"KILLED"}


def test_trial_whose_study_was_started_anew_gets_a_run_with_its_new_point(
    store: Store, tracker: Tracker, plan: Plan
) -> None:
    node = plan.nodes[-1]
    write_failed(store, node, "boom")
    tracker.open(plan, {})
    tracker.close("FAILED")
    write_done(store, node, margin=0.2)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    run = children(client_of(store))[node.uid]
    assert (run.data.params["margin"], run.info.status) == ("0.2", "FINISHED")


@pytest.mark.parametrize(
    ("origin", "written", "expected"),
    [(Origin.AS_PUBLISHED, "recipe", "as-published"), (Origin.SEARCHED, "tpe", "tpe")],
)
def test_origin_of_a_point_is_the_plans_where_no_study_chose_it(
    store: Store, tracker: Tracker, origin: Origin, written: str, expected: str
) -> None:
    plan = build_plan(build_grid("quick", Choices(), lambda architecture: 15), lambda architecture: 15)
    node = next(node for node in plan.nodes if node.origin is origin)
    # A recipe as published that another sweep began is the recipe of that sweep's own grid.
    trial_of(store, node).write_recipe(node, None, point_from=written)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    assert children(client_of(store))[node.uid].data.tags["dptq.point_from"] == expected


def test_runs_of_detrimental_pairs_say_verdict_and_claim(store: Store, tracker: Tracker) -> None:
    plan = build_plan(build_grid("quick", Choices(), lambda architecture: 15), lambda architecture: 15)
    robust, counted, uncounted = (
        next(node for node in plan.nodes if node.name.endswith(name))
        for name in ("A/robust/seed0", "A/detrimental/seed0", "B/detrimental/seed0")
    )
    for node, num_images in ((robust, 1000), (counted, 1000), (uncounted, None)):
        metrics = pair_metrics(test=(0.005, 0.5), num_test_images=num_images)
        trial_of(store, node).write_recipe(node, None)
        trial_of(store, node).write_result(metrics, {}, seconds=1, data_sha256="")
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    tags = {uid: run.data.tags for uid, run in children(client_of(store)).items()}
    assert tags[counted.uid]["dptq.verdict"] == "catastrophic"
    assert tags[counted.uid]["dptq.claim"].startswith("parity within noise: needs ")
    assert all("dptq.claim" not in tags[node.uid] for node in (robust, uncounted))


def test_nan_and_infinite_metrics_are_kept_and_replayed_once(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[0]
    epochs = rows(2)
    epochs[0] |= {"train/loss": math.nan, "train/norm": math.inf}
    write_done(store, node, epochs)
    tracker.open(plan, {})
    tracker.started(node, record_of(node))
    for row in epochs:
        tracker.epoch(node, row)
    tracker.ended(node)
    assert tracker.close("FINISHED") == []
    client = client_of(store)
    points = history(client, children(client)[node.uid])
    assert len(points["train/loss"]) == 2
    assert math.isnan(points["train/loss"][0][2])
    # MLflow's databases cannot hold infinity; it stores the largest float.
    assert [value for *_, value in points["train/norm"]] == [sys.float_info.max]


def test_many_metrics_epochs_and_long_params_fit_mlflow_s_limits(store: Store, tracker: Tracker, plan: Plan) -> None:
    node = plan.nodes[0]
    epochs = [row | {f"site/{site}": 0.5 for site in range(60)} for row in rows(40)]
    write_done(store, node, epochs, augmentations=[], architecture="a" * 7000, **{f"p{i}": None for i in range(150)})
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    client = client_of(store)
    run = children(client)[node.uid]
    assert sum(len(points) for points in history(client, run).values()) == 40 * 63 + 2
    assert (run.data.params["architecture"], run.data.params["augmentations"]) == ("a" * 6000, "")
    assert len(run.data.params) > 150


def test_reports_are_artifacts_of_the_parent_run(store: Store, tracker: Tracker, plan: Plan) -> None:
    for name in ("table1.md", "driver.lock", "driver.json"):
        store.root.folder("report").write_bytes(name, b"| |")
    tracker.open(plan, {})
    tracker.sweep_artifacts(store.root.folder("report"))
    assert tracker.close("FINISHED") == []
    client = client_of(store)
    assert artifact_names(client, parent_of(client), "report") == ["report/table1.md"]


def test_folder_that_cannot_be_read_is_behind_and_holds_up_nobody(
    store: Store, tracker: Tracker, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = plan.nodes[:2]
    write_done(store, broken)
    store.trial(broken.stage, broken.uid).write_bytes(RECIPE, b"{")
    write_done(store, whole)
    tracker.open(plan, {})
    with caplog.at_level(logging.WARNING, "orchestrator.tracking.tracker"):
        tracker.ended(broken)
        assert tracker.close("FINISHED") == [run_names(plan)[broken.uid]]
    assert children(client_of(store))[whole.uid].info.status == "FINISHED"
    assert len(caplog.records) == 1


def test_trials_on_object_storage_are_replayed_through_a_temporary_folder(
    tmp_path: Path, database: Path, plan: Plan
) -> None:
    remote = Store(str(tmp_path), create=False)
    remote.root = memory_bucket()
    shutil.copy(database, tmp_path / "mlflow.db")
    node = plan.nodes[0]
    write_done(remote, node)
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", remote, SWEEP)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert PREDICTIONS in artifact_names(client, children(client)[node.uid])


def test_storage_that_is_not_local_needs_a_tracking_uri(tmp_path: Path) -> None:
    remote = Store(str(tmp_path), create=False)
    remote.root = memory_bucket()
    with pytest.raises(ConfigError, match="with --tracking-uri, the http"):
        Tracker(None, remote, SWEEP)


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "./mlruns", "/tmp/mlruns"])
def test_file_store_is_refused_with_the_cure(store: Store, uri: str) -> None:
    with pytest.raises(ConfigError, match=r"is a file store.*Use sqlite:///"):
        Tracker(uri, store, SWEEP)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "databricks", "postgresql://ann:p@secret@host/db"])
def test_other_uris_are_refused_without_credentials(store: Store, uri: str) -> None:
    with pytest.raises(ConfigError, match=r"Use sqlite:///") as caught:
        Tracker(uri, store, SWEEP)
    assert "secret" not in str(caught.value)


def test_relative_database_is_made_absolute(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Tracker("sqlite:///runs.db", store, SWEEP).location.address == f"sqlite:///{tmp_path}/runs.db"


@pytest.mark.parametrize("name", ["a%20b", "a?b", "100%", "a#b c", "ü'é\"", "a:b&c=d+e"])
def test_runs_lie_in_the_storage_whatever_letters_its_name_has(
    name: str, tmp_path: Path, database: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(str(tmp_path / "storages" / name))
    shutil.copy(database, tmp_path / "storages" / name / "mlflow.db")
    node = plan.nodes[0]
    write_done(store, node)
    tracker = Tracker(None, store, SWEEP)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []
    assert [path.name for path in tmp_path.iterdir()] == ["storages"]
    assert [path.name for path in (tmp_path / "storages").iterdir()] == [name]
    assert any(path.name == RESULT for path in (tmp_path / "storages" / name / "mlflow-artifacts").rglob("*"))
    # What is shown of it means the same when it is typed.
    assert locate(tracker.location.address, store) == tracker.location


def test_unreachable_server_is_one_line_at_once_without_credentials(store: Store, plan: Plan) -> None:
    port = free_port()
    tracker = Tracker(f"http://ann:secret@127.0.0.1:{port}", store, SWEEP)
    start = time.perf_counter()
    with pytest.raises(TrackingError) as caught:
        tracker.open(plan, {})
    assert time.perf_counter() - start < 10
    assert str(caught.value) == (
        f"cannot reach the MLflow server at http://127.0.0.1:{port} (connection refused). Start it with "
        "`mlflow server`, or leave out --tracking-uri to use a local database."
    )
    assert tracker.location.address == f"http://127.0.0.1:{port}"
    with pytest.raises(TrackingError, match="connection refused"):
        tracker.check()


def test_server_that_never_answers_is_given_up_soon(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.backend.CHECK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", store, SWEEP)
        with pytest.raises(TrackingError, match=r"\(no answer within 0.2 s\)"):
            tracker.open(plan, {})
        assert tracker.close("FAILED") == [SWEEP]


def test_server_that_is_not_mlflow_is_one_line_without_credentials(store: Store, plan: Plan) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        "/nonexistent",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_server(process, port, lambda: "the server does not start")
            with pytest.raises(TrackingError) as caught:
                Tracker(f"http://ann:secret@127.0.0.1:{port}", store, SWEEP).open(plan, {})
        finally:
            process.terminate()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_file_that_is_no_database_is_one_line_at_once(store: Store, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database" * 100)
    start = time.perf_counter()
    with pytest.raises(TrackingError, match=r"cannot open .*notes.db \(file is not a database\)"):
        Tracker(f"sqlite:///{tmp_path}/notes.db", store, SWEEP).open(plan, {})
    assert time.perf_counter() - start < 3


def test_ui_command_serves_the_database_of_the_storage(store: Store) -> None:
    command = ui_command(None, store, port=5123)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert f"sqlite:///{store.root.local_path}/mlflow.db" in command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5123"


def test_ui_of_a_server_names_its_url_without_credentials(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"open http://host:5000$"):
        ui_command("http://ann:secret@host:5000", store)


@pytest.mark.parametrize("name", ["a[0]", "/a", "a//b", "../a", "a" * 300, "loss (train)"])
def test_metric_names_become_legal_and_stay_different(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    key = metric_key(name)
    _validate_metric_name(key)  # type: ignore[no-untyped-call]
    assert len({key, metric_key(name + "!"), metric_key("a_0_"), metric_key("a")}) == 4


def test_cell_without_a_value_is_no_point() -> None:
    assert epoch_points({"epoch": 0, "seconds": None, "timestamp_ms": 1, "a": None, "b": 2}) == [("train/b", 2.0, 1, 0)]


def test_a_request_that_crosses_with_the_end_of_an_idle_connection_is_sent_again(
    tracker: Tracker, plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = plan.nodes[0]
    tracker.open(plan, {})
    tracker.started(node, record_of(node))
    log, num_lost = Experiment.log, 0

    def lose_the_first(experiment: Experiment, run: KnownRun, **content: Any) -> None:
        nonlocal num_lost
        if content.get("points") and not num_lost:
            num_lost += 1
            raise ConnectionError("Remote end closed connection without response")
        log(experiment, run, **content)

    monkeypatch.setattr(Experiment, "log", lose_the_first)
    tracker.epoch(node, rows()[0])
    tracker._drain()
    client = MlflowClient(tracking_uri=tracker.location.uri)
    assert len(history(client, children(client)[node.uid])["train/loss"]) == num_lost == 1
    assert caplog.records == []


def test_epochs_of_an_outage_go_out_with_the_first_one_behind_it(
    tracker: Tracker, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = plan.nodes[0]
    tracker.open(plan, {})
    tracker.started(node, record_of(node))
    tracker._drain()
    with monkeypatch.context() as outage:
        outage.setattr(Experiment, "log", be_away)
        outage.setattr("orchestrator.tracking.tracker.check", be_away)
        for row in rows()[:2]:
            tracker.epoch(node, row)
        serve_all(tracker)
    client = MlflowClient(tracking_uri=tracker.location.uri)
    assert not history(client, children(client)[node.uid])
    tracker._retry_at = 0.0
    tracker.epoch(node, rows()[2])
    serve_all(tracker)
    assert [step for step, _, _ in history(client, children(client)[node.uid])["train/loss"]] == [0, 1, 2]


def be_away(*_: object, **__: object) -> None:
    raise TrackingError("cannot reach the MLflow server")


def serve_all(tracker: Tracker) -> None:
    """Does here what the thread of an open tracker does."""
    tracker._delivery._queue.put(None)
    tracker._delivery._run()


@pytest.fixture
def server(tmp_path: Path, database: Path) -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    """Starts a real MLflow server, again and again on one port and database; gives its URL and a kill."""
    shutil.copy(database, tmp_path / "server.db")
    places = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    places += ["--artifacts-destination", str(tmp_path / "server-artifacts")]
    with starting("mlflow", "server", "--workers", "1", "--host", "127.0.0.1", *places, port_option="--port") as start:
        yield start


@pytest.mark.slow
def test_outage_of_a_server_fails_nothing_and_loses_nothing(
    server: Callable[[], tuple[str, Callable[[], None]]],
    tmp_path: Path,
    plan: Plan,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = Store(str(tmp_path / "storage"))
    before, during, failed = plan.nodes[:3]
    url, kill = server()
    tracker = Tracker(url.replace("http://", "http://ann:secret@"), store, SWEEP)
    tracker.open(plan, {})
    nan_first = [rows()[0] | {"train/loss": math.nan, "train/norm": math.inf}, *rows()[1:]]
    write_done(store, before, nan_first, augmentations=[])
    tracker.started(before, record_of(before, augmentations=[]))
    tracker.epoch(before, nan_first[0])
    tracker.ended(before)
    tracker.started(during, record_of(during))
    tracker.epoch(during, rows()[0])
    client = MlflowClient(tracking_uri=url)
    # Not all the time: the one worker that is asked here has the tracker to serve.
    wait_until(lambda: during.uid in children(client), pause_seconds=0.5)
    kill()

    start = time.perf_counter()
    for row in rows()[1:]:
        tracker.epoch(during, row)
    write_done(store, during)
    tracker.ended(during)
    write_failed(store, failed, "boom")
    tracker.ended(failed)
    with caplog.at_level(logging.WARNING, "orchestrator.tracking.tracker"):
        assert tracker.close("FINISHED") == [*(run_names(plan)[node.uid] for node in (during, failed)), SWEEP]
    assert time.perf_counter() - start < 10

    url, _ = server()
    for _ in range(2):
        assert tracker.close("FINISHED") == []
        runs = children(client)
        statuses = [runs[node.uid].info.status for node in (before, during, failed)]
        assert statuses == ["FINISHED", "FINISHED", "FAILED"]
        assert parent_of(client).info.status == "FINISHED"
        assert sorted(len(points) for points in history(client, runs[during.uid]).values()) == [1, 1, 3, 3, 3]
        points = history(client, runs[before.uid])
        assert len(points["train/loss"]) == 3
        assert math.isnan(points["train/loss"][0][2])
        assert points["train/norm"][0][2] == sys.float_info.max
        assert artifact_names(client, runs[during.uid]) == sorted([RECIPE, RESULT, PREDICTIONS, EPOCHS])
    assert runs[before.uid].data.params["augmentations"] == ""
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "MLflow is behind" in warning
    assert f"cannot reach the MLflow server at {url} (connection re" in warning
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")


def test_first_launches_of_two_sweeps_make_the_database_one_after_the_other(tmp_path: Path) -> None:
    location = Location(f"sqlite:///{tmp_path}/new.db", tmp_path / "new.db")
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(2)

    def launch(name: str) -> None:
        together.wait()
        Experiment(location, Owner(storage="a1", sweep=name))

    launches = [fork.Process(target=launch, args=(name,)) for name in ("c", "d")]
    for each in launches:
        each.start()
    for each in launches:
        each.join()
    assert [each.exitcode for each in launches] == [0, 0]
    names = {each.name for each in MlflowClient(tracking_uri=location.uri).search_experiments()}
    assert {"c", "d"} <= names
