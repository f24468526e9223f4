"""What people see of a sweep in MLflow: names, few metrics, verdicts, descriptions, tables, addresses of pages."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from orchestrator.plan import Plan, build_plan
from orchestrator.results.pairs import PairRecord, pair_records, verdict
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import read_trials
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from orchestrator.tracking.analysis_runs import analysis_points
from orchestrator.tracking.names import LETTERS, run_names
from orchestrator.tracking.pages import VIEW_TAG, comparison_page
from orchestrator.tracking.points import epoch_points, final_points
from orchestrator.tracking.sweep_content import CELLS, cells_table, chosen_pairs, sweep_content
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.entry_points import num_sites
from search_spaces.analyses import ANALYSES
from search_spaces.grids.build import Choices, build_grid
from search_spaces.objective import accuracies_of
from search_spaces.paper import NUM_SITES
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics
from trainables.assessment.parts import METRICS

MOST_KEYS = 60
TWINS = ("own", "common", "shuffled", "uniform", "int8", "static_ranges", "per_channel", "worst_static")
REPAIRS = ("plain", "channel_ranges", "quantile_ranges", "equalization", "spared_sites", "least_bits")
SWEEP = "shown"
GOLDEN = Path(__file__).parents[2] / "golden" / "storage"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(build_grid("quick", Choices(seeds=(0, 1)), lambda _: 15), lambda _: 15)


@pytest.fixture(scope="module")
def written(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every pair is done; those of the second seed drop more. One has predictions."""
    store = Store(str(tmp_path_factory.mktemp("shown") / "storage"))
    for place, node in enumerate(node for node in plan.nodes if node.cell and node.trial_number == 0):
        assert node.cell
        is_detrimental = node.cell.goal == "detrimental"
        drop = 0.5 + 0.1 * node.seed if is_detrimental else 0.01 * node.seed
        trial = trial_of(store, node)
        trial.write_recipe(node, None)
        row = {"epoch": 1, "seconds": 2.0, "timestamp_ms": 1_700_000_000_000 + place, "train/loss": 0.5}
        trial.write_epoch([row | pair_metrics(0.0, drop)], b"")
        metrics = pair_metrics(0.0, drop, test=(0.002, drop), num_test_images=1000)
        trial.write_result(metrics, {}, seconds=1.0, data_sha256="c0ffee" * 10)
    return store


@pytest.fixture(scope="module")
def client(written: Store, plan: Plan) -> MlflowClient:
    publish(written, plan)
    return MlflowClient(tracking_uri=f"sqlite:///{written.root.local_path}/mlflow.db")


def publish(store: Store, plan: Plan) -> None:
    tracker = Tracker(None, store, SWEEP, draw=lambda trial: b"a picture")
    tracker.open(plan, {})
    tracker.sweep_content(sweep_content(read_trials(Snapshot(plan, store)), "**The headline.**"))
    assert tracker.close("FINISHED") == []


def runs_of(client: MlflowClient, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    experiment = client.get_experiment_by_name(SWEEP)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], run_view_type=view))


def by_name(client: MlflowClient) -> dict[str, Run]:
    return {run.info.run_name: run for run in runs_of(client)}


def records(store: Store, plan: Plan) -> list[PairRecord]:
    return pair_records(Snapshot(plan, store))


@pytest.mark.parametrize(
    ("grid", "choices"),
    [
        ("quick", Choices()),
        ("full", Choices()),
        ("full", Choices(seeds=(0, 1, 2))),
        ("full", Choices(search={"trials": 12, "confirm_seeds": 3})),
    ],
)
def test_names_of_runs_differ_within_the_letters_that_mlflow_shows(grid: str, choices: Choices) -> None:
    sites = lambda architecture: NUM_SITES.get(architecture, 15)  # noqa: E731
    names = run_names(build_plan(build_grid(grid, choices, sites), sites))
    (most, count), *_ = Counter(name[:LETTERS] for name in names.values()).most_common(1)
    assert count == 1, most
    if grid == "quick":
        assert "A60 detrimental s0 · test_resnet" in names.values()


def test_an_experiment_with_everything_has_at_most_sixty_metrics(tiny: dict[str, pd.DataFrame]) -> None:
    store = Store(str(GOLDEN), create=False)
    plan = Sweep(store, "golden").load_plan(num_sites)
    trials = read_trials(Snapshot(plan, store))
    keys = {point.key for point in sweep_content(trials, "").points}
    for trial in trials:
        keys |= {point.key for row in trial.folder.epochs() for point in epoch_points(row, trial.node.stage)}
        if result := trial.folder.result():
            keys |= {point.key for point in final_points(result, 0)}
    # What a pair that is made today has, too, and tables with all that the analyses measure.
    keys |= {f"runtime/accuracy_{name}" for name in ("simulated", "exported", "int8", "torchao")}
    today = {name: 0.5 for name in pair_metrics() if name.startswith("validation/")} | {"validation/num_images": 1.0}
    keys |= {point.key for point in epoch_points(today | {"epoch": 1, "timestamp_ms": 1, "gpu_seconds": 1.0})}
    tables = tiny | {
        "twins": pd.DataFrame({"twin": TWINS, "accuracy_q": 0.5}),
        "repairs": pd.DataFrame({"repair": REPAIRS, "value": 1.0, "allocation": "policy", "drop": 0.1}),
        "indicators": pd.DataFrame(
            {name: [0.1] for name in ("margin_mean", "corruption_loss", "kurtosis_max", "other")}
        ),
    }
    assert set(tables) >= set(ANALYSES)
    keys |= {point.key for name, table in tables.items() for point in analysis_points(ANALYSES[name], table, 0)}
    assert len(keys) <= MOST_KEYS, sorted(keys)
    assert {"test/accuracy_delta", "train/validation_accuracy_q", "layers/before/accuracy"} <= keys


def test_an_assessment_charts_two_figures_of_a_rung() -> None:
    rungs = ("fp", "int8", "uniform", "random", "static", "random_each", "per_image", "policy", "companions")
    row = {"epoch": 1, "timestamp_ms": 0, "accuracy": 0.9, "drop": 0.1, "flips": 0.1, "passes_per_image": 3.0}
    keys = {point.key for point in epoch_points(row, Stage.ASSESS)}
    assert "assess/drop" in keys
    keys |= {
        point.key for point in final_points(result_of({f"{rung}/{name}": 0.1 for rung in rungs for name in METRICS}), 0)
    }
    assert {key.partition("/")[2] for key in keys if key.startswith("int8/")} == {"accuracy", "drop", "flips"}
    assert len(keys) <= MOST_KEYS


def result_of(metrics: dict[str, float]) -> Any:
    from orchestrator.store.records import TrialResult

    return TrialResult(uid="u", metrics=metrics, files={}, seconds=1.0)


def test_a_comparison_begins_with_the_change_of_accuracy_and_ends_with_seconds() -> None:
    row = {"epoch": 1, "timestamp_ms": 0, "seconds": 2.0, "train/loss": 0.5, "learning_rate": 0.1}
    keys = [point.key for point in epoch_points(row | pair_metrics())]
    assert keys[0] == "train/validation_accuracy_delta"
    assert keys[-2:] == ["train/epoch_seconds", "train/learning_rate"]
    assert final_points(result_of(pair_metrics()), 0)[0].key == "test/accuracy_delta"
    assert {point.step for point in final_points(result_of(pair_metrics()), 0)} == {0}


def test_a_pair_s_run_says_verdict_hit_data_and_what_it_is(client: MlflowClient, written: Store, plan: Plan) -> None:
    runs = by_name(client)
    pair, robust = runs["A60 detrimental s1 · test_resnet"], runs["A60 robust s0 · test_resnet"]
    metrics = pair_metrics(0.0, 0.6, test=(0.002, 0.6))
    told = str(verdict(**accuracies_of(metrics, "test")))
    assert (pair.data.tags["dptq.verdict"], pair.data.tags["dptq.hit"]) == (told, "true")
    assert "dptq.hit" not in robust.data.tags
    assert robust.data.tags["dptq.verdict"] != told
    note = pair.data.tags["mlflow.note.content"]
    assert note.startswith(f"**{told}** (detrimental pair): test accuracy 86.8 % at full precision")
    assert f"dptq-sweep reproduce {pair.data.tags['dptq.uid']}" in note
    (data,) = pair.inputs.dataset_inputs
    assert (data.dataset.name, json.loads(data.dataset.profile)["sha256"]) == ("mnist-5k", "c0ffee" * 10)
    assert "preview.png" in {item.path for item in client.list_artifacts(pair.info.run_id)}


def test_the_parent_says_headline_table_and_cells_over_seeds(client: MlflowClient, written: Store, plan: Plan) -> None:
    parent = by_name(client)[SWEEP]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**The headline.**")
    assert f"/runs/{parent.info.run_id}/artifacts/{SWEEP}/report.html" in note
    assert CELLS in parent.data.tags["mlflow.loggedArtifacts"]
    table = cells_table(chosen_pairs(records(written, plan)))
    for row in table.to_dict("records"):
        deltas = [
            pair.accuracy_delta
            for pair in records(written, plan)
            if (pair.budget, pair.goal) == (row["budget"], row["goal"]) and pair.trial_number == 0
        ]
        assert row["num_seeds"] == len(deltas) == 2
        assert row["accuracy_delta_mean"] == pytest.approx(sum(deltas) / len(deltas))
        assert (row["accuracy_delta_lowest"], row["accuracy_delta_highest"]) == (min(deltas), max(deltas))
    key = "cells/detrimental_accuracy_delta_lowest"
    history = sorted((m.step, m.value) for m in client.get_metric_history(parent.info.run_id, key))
    assert history == [(place, pytest.approx(-0.6)) for place in range(3)]


def test_pairs_that_stand_for_their_cells_are_the_view_robust_beside_detrimental(
    client: MlflowClient, written: Store, plan: Plan
) -> None:
    experiment = client.get_experiment_by_name(SWEEP)
    assert experiment is not None
    view = json.loads(experiment.tags[VIEW_TAG])
    found = client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=[f"{view['orderByKey']} ASC"])
    goals = [run.data.tags["dptq.goal"] for run in found if run.data.tags["dptq.budget"] == "60"]
    assert len(found) == 12
    assert set(zip(goals[::2], goals[1::2], strict=True)) == {("detrimental", "detrimental"), ("robust", "robust")}
    assert len(view["selectedColumns"]) <= 40
    chosen = [pair.goal for pair in chosen_pairs(records(written, plan))]
    assert [str(goal) for goal in chosen] == ["robust", "detrimental"] * 6


def test_a_description_that_somebody_wrote_in_mlflow_stays(client: MlflowClient, written: Store, plan: Plan) -> None:
    runs = by_name(client)
    client.set_tag(runs[SWEEP].info.run_id, "mlflow.note.content", "mine")
    publish(written, plan)
    assert by_name(client)[SWEEP].data.tags["mlflow.note.content"] == "mine"


def test_runs_with_the_metrics_of_an_earlier_version_are_replaced_not_mixed(
    client: MlflowClient, written: Store, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    old = {run.info.run_id: run for run in runs_of(client)}
    for run_id in old:
        client.log_metric(run_id, "epoch_seconds", 3.0)
        client.delete_tag(run_id, "dptq.layout")
    publish(written, plan)
    new = runs_of(client)
    assert len(new) == len(old)
    assert not {run.info.run_id for run in new} & old.keys()
    assert not [run for run in new if "epoch_seconds" in run.data.metrics]
    assert {run.info.run_id for run in runs_of(client, ViewType.DELETED_ONLY)} == old.keys()
    assert {run.data.tags["dptq.layout"] for run in new} == {"2"}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"MLflow: {len(old)} runs of 'shown' have the metrics of another version")


def test_a_comparison_has_an_end_and_no_credentials() -> None:
    page = comparison_page("http://host:5000", "7", [f"{number:032x}" for number in range(100)])
    assert page.count("%2C") == 59
    assert len(page) < 4000
