"""An analysis as a Ray worker runs it, without a cluster: unit by unit, from where it stopped."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator import ray_analyses, ray_trainables
from orchestrator.analyses.tasks import AnalysisFolder, AnalysisTask, tasks_of
from orchestrator.plan import Plan, Stage, build_plan
from orchestrator.reports.pairs import pair_records
from orchestrator.store import CHECKPOINT, Store
from orchestrator.trials import State, trial_of
from search_spaces.analyses import Analysis, CrossPolicy, Layers
from search_spaces.grids import Choices, build_grid
from search_spaces.recipes import vary
from trainables.analyses.subject import Subject, Unit


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
        ray_trainables.run_trial(config | {"stop_file": "stop"})
    patch.undo()
    return store, plan


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", list)


def task_of(trained: tuple[Store, Plan], analysis: Analysis) -> tuple[AnalysisTask, AnalysisFolder]:
    store, plan = trained
    tasks, missing = tasks_of(pair_records(plan, store), [analysis], store)
    assert not missing
    folder = AnalysisFolder(store, tasks[-1].uid)
    folder.write_task(tasks[-1])
    return tasks[-1], folder


def run(trained: tuple[Store, Plan], uid: str) -> list[int]:
    return list(ray_analyses.run_analysis({"storage": trained[0].uri, "uid": uid, "data_dir": None}))


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

    monkeypatch.setattr(ray_analyses, "units_of", units)
    task, folder = task_of(trained, Layers(max_images=1))
    assert run(trained, task.uid) == [0, 10, 10]
    assert folder.state() is State.FAILED
    assert (folder.error() or "").startswith("RuntimeError: the power failed")
    assert run(trained, task.uid) == [20, 10, 10]
    assert folder.state() is State.DONE
    assert computed == ["a", "b", "c", "c", "d"]
    assert folder.rows()["key"].to_pylist() == ["a", "b", "c", "d"]


def test_real_analysis_of_two_pairs_runs_from_the_store_alone(trained: tuple[Store, Plan]) -> None:
    task, folder = task_of(trained, CrossPolicy(num_draws=2))
    num_images = run(trained, task.uid)
    assert folder.state() is State.DONE, folder.error()
    rows = folder.rows().to_pandas()
    store = trained[0]
    own = rows[(rows["network"] == "detrimental") & (rows["policy"] == "detrimental")].iloc[0]
    result = store.trial(Stage.PAIR, task.subjects[1].uid).read_json("result.json")
    assert result is not None
    assert own["accuracy_q"] == pytest.approx(result["metrics"]["test/accuracy_q"])
    images, seconds = ray_analyses.estimate({"storage": store.uri, "uids": [task.uid], "data_dir": None})
    assert images == {task.uid: sum(num_images)}
    assert 0 < seconds < 1


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
