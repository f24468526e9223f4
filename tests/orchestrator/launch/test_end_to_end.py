"""A whole sweep on real local Ray, MLflow (sqlite) and Optuna: killed in the middle, launched again, then finished."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pyarrow.parquet as pq
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.store.folder import RESULT
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.tracking.pages import STANDS_TAG
from tests.browser import document_of, document_with
from tests.orchestrator.opened import opened
from tests.orchestrator.patients import kill_driver
from tests.waiting import wait_until
from trainables.stage_runner import ParentCheckpoint, Trial, TrialSpec, checkpoint_bytes
from trainables.training_loop import finish

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_SECONDS = 240


def environment(storage: Path) -> dict[str, str]:
    """A home directory of its own, to see what is left there."""
    home = storage.parent / "home"
    home.mkdir(exist_ok=True)
    return os.environ | {"HOME": str(home)}


def command(storage: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from orchestrator.cli.main import main; main()",
        *arguments,
        "--storage",
        str(storage),
    ]


def run(storage: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(storage, *arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        env=environment(storage),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Story:
    """What happened to one storage folder."""

    storage: Path
    done_before_kill: dict[str, int] = field(default_factory=dict)
    """Modification time of every result that was there when the driver was killed."""
    interrupted: list[Path] = field(default_factory=list)
    rows_before_kill: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    second_launch: str = ""
    third_launch: str = ""
    third_seconds: float = 0.0

    def results(self) -> dict[str, Path]:
        stages = ("teacher", "distill", "pair")
        return {path.parent.name: path for stage in stages for path in self.storage.glob(f"{stage}/*/{RESULT}")}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(tmp_path_factory.mktemp("sweep") / "storage")
    # Output goes to a file: Ray's processes would keep a pipe open after their driver is gone.
    with (story.storage.parent / "first.log").open("w") as log:
        driver = subprocess.Popen(
            command(story.storage, "launch", "--grid", "smoke"), stdout=log, stderr=log, env=environment(story.storage)
        )
        saved = lambda: list(story.storage.glob("pair/*/resume/state.safetensors"))  # noqa: E731
        interrupted = wait_until(saved, Path(log.name).read_text, process=driver, seconds=TIMEOUT_SECONDS)
        kill_driver(driver)
    story.done_before_kill = {uid: path.stat().st_mtime_ns for uid, path in story.results().items()}
    story.interrupted = [path.parent.parent for path in interrupted if path.exists()]
    story.rows_before_kill = {trial: pq.read_table(trial / "epochs.parquet").to_pylist() for trial in story.interrupted}
    story.second_launch = run(story.storage, "launch", "--grid", "smoke")
    start = time.monotonic()
    story.third_launch = run(story.storage, "launch", "--grid", "smoke")
    story.third_seconds = time.monotonic() - start
    return story


def plan_of(story: Story) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads(run(story.storage, "plan", "--grid", "smoke", "--json"))["nodes"]
    return nodes


def test_launch_after_a_kill_finishes_the_plan(story: Story) -> None:
    # Of the two trials that the searched cell may take one is paid for: the recipe as published.
    assert [node["state"] for node in plan_of(story)] == ["done"] * 5 + ["skipped"]
    assert "5 of 5 trials done" in run(story.storage, "status")


def test_no_finished_trial_ran_twice(story: Story) -> None:
    assert story.done_before_kill, "teacher and white box were done before the kill"
    now = {uid: path.stat().st_mtime_ns for uid, path in story.results().items()}
    assert {uid: now[uid] for uid in story.done_before_kill} == story.done_before_kill


def test_interrupted_trial_went_on_from_its_last_epoch(story: Story) -> None:
    assert story.interrupted
    for trial, before in story.rows_before_kill.items():
        after = pq.read_table(trial / "epochs.parquet").to_pylist()
        assert [row["epoch"] for row in after] == [1, 2]
        # The same row, time stamp included: the epoch was not run again.
        assert after[: len(before)] == before
        assert not (trial / "resume" / "state.safetensors").exists()


def test_interrupted_trial_ends_with_the_result_of_an_undisturbed_one(story: Story) -> None:
    assert story.interrupted
    for trial in story.interrupted:
        planned = json.loads((trial / "recipe.json").read_text())
        parent = story.results()[planned["parents"][0]].parent
        running = Trial(
            TrialSpec(stage="pair", recipe=planned["recipe"], dataset=planned["dataset"], seed=planned["seed"]),
            use_gpu=False,
        )
        checkpoint = ParentCheckpoint(
            architecture=planned["recipe"]["architecture"],
            content=(parent / "checkpoint.safetensors").read_bytes(),
            source=str(parent),
            data_sha256=running.data_sha256,
        )
        result = finish(running.start(parent=checkpoint, resume=None))
        assert result.metrics == json.loads((trial / RESULT).read_text())["metrics"]
        assert checkpoint_bytes(result) == (trial / "checkpoint.safetensors").read_bytes()


def test_what_workers_took_outside_of_epochs_was_kept(story: Story) -> None:
    """Their start-up alone: they import torch and timm, and load the data."""
    assert 3600 * Sweep(Store(str(story.storage)), "smoke").outside_epochs().cpu_hours > 1


def test_plan_store_optuna_and_mlflow_agree(story: Story) -> None:
    planned = {node["uid"] for node in plan_of(story) if node["state"] != "skipped"}
    assert "plan = store = Optuna = MLflow: 5 done, 0 failed, 1 skipped" in story.second_launch
    assert story.results().keys() == planned

    client = mlflow.MlflowClient(f"sqlite:///{story.storage}/mlflow.db")
    experiment = client.get_experiment_by_name("smoke")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "dptq.uid" in run.data.tags]
    assert sorted(run.data.tags["dptq.uid"] for run in children) == sorted(planned)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == len(children) + 1
    for run in children:
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert names >= {"recipe.json", "predictions.parquet"}
        assert run.data.tags["dptq.checkpoint"].endswith(f"{run.data.tags['dptq.uid']}/checkpoint.safetensors")

    journal = JournalStorage(JournalFileBackend(str(story.storage / "sweeps" / "smoke" / "studies.log")))
    (study,) = optuna.study.get_all_study_summaries(journal)
    trials = optuna.load_study(study_name=study.study_name, storage=journal).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert [trial.user_attrs["origin"] for trial in trials] == ["recipe", "as-published"]


def test_third_launch_finds_everything_done_at_once(story: Story) -> None:
    assert "5 cached, 0 to run, 1 skipped" in story.third_launch
    assert "Ray is up" not in story.third_launch
    assert story.third_seconds < 60, "a launch without work must not start a cluster"


def test_report_gives_fractions_on_the_test_split(story: Story) -> None:
    pairs = json.loads(run(story.storage, "report", "--json"))["pairs"]
    assert len(pairs) == 3
    for pair in pairs:
        metrics = json.loads(story.results()[pair["uid"]].read_text())["metrics"]
        assert pair["accuracy_fp"] == metrics["test/accuracy_fp"]
        assert pair["accuracy_delta"] == metrics["test/accuracy_delta"]
        assert {pair["goal"] for pair in pairs} == {"robust", "detrimental"}
        assert (pair["architecture"], pair["option_set"], pair["budget"], pair["seed"]) == ("test_resnet", "I", 82, 0)
    folder = story.storage / "sweeps" / "smoke"
    assert {"report.html", "report.md", "table1.csv", "table1.parquet"} <= {path.name for path in folder.iterdir()}


@pytest.mark.browser
def test_what_ui_opens_shows_bars_verdicts_and_descriptions(story: Story, browser: str, tmp_path: Path) -> None:
    report = (story.storage / "sweeps/smoke/report.html").read_text()
    # Its pairs, trained for two epochs, differ by chance.
    assert "No detrimental pair is catastrophic (0 of 1" in report
    assert f"dptq-sweep ui smoke --compare --storage {story.storage}" in html.unescape(report)
    runs = mlflow.MlflowClient(f"sqlite:///{story.storage}/mlflow.db").search_runs(["1"], "tags.`dptq.goal` LIKE '%'")
    chosen = [run for run in runs if STANDS_TAG in run.data.tags]
    names = {run.info.run_name for run in chosen}
    with opened(story.storage, "smoke", "--compare") as pages:
        charts = document_with('<g class="point">', browser, pages["charts of all pairs"], tmp_path / "charts")
        compared = document_of(browser, pages["robust beside detrimental"], tmp_path / "compared")
        run = next(run for run in chosen if run.data.tags["dptq.goal"] == "detrimental")
        address = pages["charts of all pairs"].partition("?")[0] + f"/{run.info.run_id}?workflowType=machine_learning"
        described = document_of(browser, address, tmp_path / "described")
    assert "test/accuracy_delta" in charts
    assert charts.count('<g class="point">') >= len(names) == 2, "bars"
    for page in (charts, compared):
        assert all(name in page for name in names)
    assert {run.data.tags["dptq.verdict"] for run in chosen} <= set(re.findall(r"[a-z][a-z, ]+", compared))
    assert f"Trial <code>{run.data.tags['dptq.uid']}</code>" in described


def test_nothing_is_left_in_the_home_directory(story: Story) -> None:
    assert list((story.storage.parent / "home").rglob("*")) == []


def test_every_image_of_every_pair_met_the_budget_exactly(story: Story) -> None:
    paths = list(story.storage.glob("pair/*/predictions.parquet"))
    assert len(paths) == sum(path.parent.parent.name == "pair" for path in story.results().values()) > 0
    for path in paths:
        bit_widths = pq.read_table(path)["bit_width"].to_pylist()
        assert {sum(row) for row in bit_widths} == {82}


@dataclass
class Analysed:
    """What happened to a copy of a finished sweep that was analysed."""

    storage: Path
    done_before_kill: dict[Path, int]
    second: str
    third: str

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.storage}/other.db"


@pytest.fixture(scope="module")
def analysed(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """The sweep analysed into a new MLflow database: killed in the middle, analysed again, and once more."""
    storage = tmp_path_factory.mktemp("analysed") / "storage"
    shutil.copytree(story.storage, storage)
    quick = ("twins.max_passes=10", "twins.num_attacked=10", "adverse_inputs.max_images=20")
    analyze = ("analyze", "smoke", "--tracking-uri", f"sqlite:///{storage}/other.db")
    analyze += tuple(word for setting in quick for word in ("--set", setting))
    with (storage.parent / "first.log").open("w") as log:
        driver = subprocess.Popen(command(storage, *analyze), stdout=log, stderr=log, env=environment(storage))
        patterns = ("analysis/*/resume/rows.parquet", f"analysis/*/{RESULT}")
        is_half_done = lambda: all(any(storage.glob(pattern)) for pattern in patterns)  # noqa: E731
        wait_until(is_half_done, Path(log.name).read_text, process=driver, seconds=TIMEOUT_SECONDS)
        kill_driver(driver)
    done = {path: path.stat().st_mtime_ns for path in storage.glob(f"analysis/*/{RESULT}")}
    return Analysed(storage, done, second=run(storage, *analyze), third=run(storage, *analyze))


def test_analysis_after_a_kill_keeps_what_is_done_and_finishes_the_rest(analysed: Analysed) -> None:
    assert {path: path.stat().st_mtime_ns for path in analysed.done_before_kill} == analysed.done_before_kill
    assert len(list(analysed.storage.glob(f"analysis/*/{RESULT}"))) == 19
    assert not list(analysed.storage.glob("analysis/*/resume/rows.parquet"))
    assert "19 analyses, 19 done already" in analysed.third


def test_half_done_analysis_has_every_row_once(analysed: Analysed) -> None:
    tables = [pq.read_table(path / "rows.parquet") for path in analysed.storage.glob("analysis/*")]
    layers = [table.to_pandas() for table in tables if "mode" in table.column_names]
    assert len(layers) == 2
    for table in layers:
        keys = table[["split", "mode", "site"]]
        assert len(keys) == len(keys.drop_duplicates()) == 2 * 4 * 15


def test_mlflow_has_a_run_with_curves_for_every_analysis(analysed: Analysed) -> None:
    client = mlflow.MlflowClient(analysed.tracking_uri)
    experiment = client.get_experiment_by_name("smoke")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_analysis = [run for run in runs if "dptq.analysis" in run.data.tags]
    assert len(by_analysis) == 19
    layers = next(run for run in by_analysis if run.data.tags["dptq.analysis"] == "layers")
    curve = client.get_metric_history(layers.info.run_id, "layers/before/accuracy")
    assert sorted(point.step for point in curve) == list(range(15))
    assert {artifact.path for artifact in client.list_artifacts(layers.info.run_id)} >= {"rows.parquet", "result.json"}
