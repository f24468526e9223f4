"""An analysis as a Ray worker runs it, without a cluster: unit by unit, from where it stopped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analyses.tasks import AnalysisTask, checksums_of, tasks_of
from orchestrator.plan import Plan, build_plan
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.workers import analysis as analysis_worker
from orchestrator.workers import trial as trial_worker
from search_spaces.analyses import Analysis, Corruptions, CrossPolicy, Layers
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary
from search_spaces.stages.registry import Stage
from tests.waiting import wait_until
from trainables.analyses.trained_pair import Subject, Unit

STOP_FILE = "sweeps/mine/stop"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    """A store with a white box, a robust and a detrimental pair of one epoch."""
    patch = pytest.MonkeyPatch()
    patch.setattr("ray.tune.report", lambda report: None)
    patch.setattr("ray.get_gpu_ids", list)
    grid = build_grid("smoke", Choices(), lambda _: 15)
    teacher = vary(grid.teacher, architecture="test_resnet")
    cells = [cell.model_copy(update={"search_trials": 0, "recipe": vary(cell.recipe, epochs=1)}) for cell in grid.cells]
    plan = build_plan(grid.model_copy(update={"teacher": teacher, "cells": tuple(cells)}), lambda _: 15)
    store = Store(str(tmp_path_factory.mktemp("trained")))
    for node in plan.nodes:
        trial_of(store, node).write_recipe(node, None)
        config = {
            "storage": store.uri,
            "stage": str(node.stage),
            "uid": node.uid,
            "data_dir": None,
            "stop_file": "stop",
        }
        trial_worker.run_trial(config | {"stop_file": "stop"})
    patch.undo()
    return store, plan


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", list)


def task_of(trained: tuple[Store, Plan], analysis: Analysis) -> tuple[AnalysisTask, AnalysisFolder]:
    store, plan = trained
    tasks, missing = tasks_of(pair_records(Snapshot(plan, store)), [analysis], checksums_of(Snapshot(plan, store)))
    assert not missing
    folder = AnalysisFolder(store, tasks[-1].uid)
    folder.write_task(tasks[-1].name, tasks[-1].analysis, tasks[-1].subject_uids)
    return tasks[-1], folder


def run(trained: tuple[Store, Plan], uid: str) -> list[int]:
    return list(analysis_worker.run_analysis(config_of(trained, uid)))


def config_of(trained: tuple[Store, Plan], uid: str) -> dict[str, Any]:
    return {"storage": trained[0].uri, "uid": uid, "data_dir": None, "stop_file": STOP_FILE}


def test_interrupted_analysis_goes_on_with_the_units_it_lacks(
    trained: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def units(analysis: Analysis, subjects: Sequence[Subject]) -> list[Unit]:
        def rows(key: str) -> list[dict[str, Any]]:
            computed.append(key)
            if key == "c" and computed.count("c") == 1:
                raise RuntimeError("the power failed")
            return [{"key": key}]

        return [Unit(key=key, num_images=10, rows=lambda key=key: rows(key)) for key in "abcd"]

    monkeypatch.setattr(analysis_worker, "units_of", units)
    task, folder = task_of(trained, Layers(max_images=1))
    assert run(trained, task.uid) == [0, 10, 10]
    assert folder.state() is State.FAILED
    assert (folder.error() or "").startswith("RuntimeError: the power failed")
    assert run(trained, task.uid) == [20, 10, 10]
    assert folder.state() is State.DONE
    assert computed == ["a", "b", "c", "c", "d"]
    assert folder.rows()["key"].to_pylist() == ["a", "b", "c", "d"]


def test_real_analysis_of_two_pairs_runs_from_the_store_alone(
    trained: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, folder = task_of(trained, CrossPolicy(num_draws=2))
    num_images = run(trained, task.uid)
    assert folder.state() is State.DONE, folder.error()
    rows = folder.rows().to_pandas()
    store = trained[0]
    own = rows[(rows["network"] == "detrimental") & (rows["policy"] == "detrimental")].iloc[0]
    result = store.trial(Stage.PAIR, task.subjects[1].uid).read_json("result.json")
    assert result is not None
    assert own["accuracy_q"] == pytest.approx(result["metrics"]["test/accuracy_q"])
    monkeypatch.setattr(Subject, "seconds_per_image", lambda subject: 0.125)
    estimated = analysis_worker.estimate({"storage": store.uri, "uids": [task.uid], "data_dir": None})
    assert estimated == ({task.uid: sum(num_images)}, 0.125)


def test_damaged_checkpoint_fails_the_analysis_by_name(trained: tuple[Store, Plan]) -> None:
    task, folder = task_of(trained, CrossPolicy(num_draws=3))
    pair = trained[0].trial(Stage.PAIR, task.subjects[0].uid)
    content = pair.read_bytes(CHECKPOINT)
    assert content is not None
    try:
        pair.write_bytes(CHECKPOINT, content[:-1])
        assert run(trained, task.uid) == []
    finally:
        pair.write_bytes(CHECKPOINT, content)
    assert folder.state() is State.FAILED
    assert f"{task.subjects[0].uid}/{CHECKPOINT} is damaged" in (folder.error() or "")


def test_stopped_analysis_keeps_its_units_and_goes_on_from_there(trained: tuple[Store, Plan]) -> None:
    store = trained[0]
    task, folder = task_of(trained, Corruptions(num_degrees=1))
    computing = analysis_worker.run_analysis(config_of(trained, task.uid))
    before = [next(computing), next(computing)]
    store.root.write_bytes(STOP_FILE, b"")
    assert list(computing) == []
    assert folder.state() is State.INTERRUPTED
    # One that waited for a place meanwhile ends before it begins, and leaves no error.
    assert run(trained, task.uid) == []
    assert folder.error() is None
    store.root.delete(STOP_FILE)
    after = run(trained, task.uid)
    assert after[0] == sum(before)
    assert folder.state() is State.DONE


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_stopped_analyses_end_in_order_and_the_next_call_goes_on(trained: tuple[Store, Plan], tmp_path: Path) -> None:
    store, plan = trained
    sweep = Sweep(store, "mine")
    sweep.save_plan(plan)
    sweep.save_launch(LaunchOptions())
    analyses = ("--only", "corruptions", "--only", "layers", "--set", "corruptions.num_degrees=2")
    command = [sys.executable, "-m", "orchestrator", "analyze", "mine", *analyses, "--storage", store.uri]
    environment = os.environ | {"RAY_TMPDIR": tempfile.mkdtemp(prefix="stop-")}
    log = tmp_path / "log"
    # Output goes to a file: Ray's processes would keep a pipe open after their driver is gone.
    with log.open("w") as file:
        driver = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        parts = store.root.local_path or Path()
        saved = lambda: list(parts.glob("analysis/*/resume/rows.parquet"))  # noqa: E731
        begun = wait_until(saved, log.read_text, process=driver, seconds=200)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(120) == 0, log.read_text()
    finally:
        driver.kill()
        shutil.rmtree(environment["RAY_TMPDIR"], ignore_errors=True)
    said = log.read_text()
    assert "stopping: running trials finish their epoch, analyses their unit" in said
    assert f"analyses are not done; go on with: dptq-sweep analyze mine --storage {store.uri}" in said
    assert "failed" not in said
    assert begun[0].exists()
    sweep.folder.delete("stop")
    again = run(trained, begun[0].parent.parent.name)
    assert again[0] > 0
    assert AnalysisFolder(store, begun[0].parent.parent.name).state() is State.DONE
