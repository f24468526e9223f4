"""`assess` on real local Ray: a part that was killed between rungs goes on, and what other tools read is written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import mlflow
import pyarrow.parquet as pq
import pytest
import torch
from mlflow.entities import Run
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.assessments import read_assessments
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT, RESULT, RESUME, VERIFICATION
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers import trial as trial_worker
from search_spaces.datasets import dataset_spec
from search_spaces.errors import NonFiniteLossError
from search_spaces.grids.assess import assess_grid
from search_spaces.grids.build import Choices, build_grid
from search_spaces.grids.trained import TrainingData
from search_spaces.stages.assessment import LADDER_RUNGS, TRAINED_RUNGS, ImageSettings
from search_spaces.stages.companions import HEAVY_COMPANIONS
from trainables.assessment.facts import UNLABELLED, look_at
from trainables.assessment.record import schema
from trainables.checkpoints import to_bytes, with_prefix
from trainables.data.augment import evaluation_batch
from trainables.data.loading import count_trained, load_dataset
from trainables.models.backbones import create_backbone
from trainables.models.links import find_links, rescale
from trainables.stages.classifier import MODEL

pytestmark = [pytest.mark.ray, pytest.mark.slow]
BUDGET, DRAWS, TEST_IMAGES = 60, 3, 90
SEEN = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}
"""What the network is trained with; timm would say otherwise of its architecture."""
TRAINING = ("pair.epochs=2", "pair.robust.epochs=1", "pair.batch_size=256")
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows most digits, after a few seconds of training."""
    torch.manual_seed(0)
    data, network = load_dataset(dataset_spec("digits")), create_backbone("test_resnet", 10)
    images_BCHW = evaluation_batch(data.splits["train"].images_BCHW, data.view)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(4):
        for places_B in torch.randperm(len(images_BCHW)).split(64):
            loss = F.cross_entropy(network(images_BCHW[places_B]), data.splits["train"].labels_B[places_B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_file(network.state_dict(), path)
    return path


AS_IF_HEAVY = "from search_spaces.stages import assessment; assessment.HEAVY_MACS = 0; "
"""Makes a command measure little, as of a network whose passes are heavy."""


def command(storage: Path, *arguments: str, before: str = "") -> tuple[int, str]:
    line = [sys.executable, "-c", f"{before}from orchestrator.cli.main import main; main()", *arguments]
    done = subprocess.run(
        [*line, "--storage", str(storage)], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def assess_command(storage: Path, uri: str, rules: tuple[str, ...], *more: str) -> tuple[int, str]:
    return command(
        storage,
        *("assess", uri, "--data", "digits", "--budget", str(BUDGET), "--draws", str(DRAWS)),
        *("--test-images", str(TEST_IMAGES), "--mean", SEEN["mean"], "--std", SEEN["std"]),
        *(argument for rule in rules for argument in ("--fail-if", rule)),
        *more,
    )


def plan_of(uri: str, *, train: bool = False) -> Plan:
    settings = ImageSettings.model_validate(SEEN)
    facts = look_at(uri, dataset_spec("digits", test_images=TEST_IMAGES), settings, data_dir=Path("data"))
    data = TrainingData(num_images=count_trained(facts.dataset), class_names=facts.class_names)
    grid = assess_grid(
        facts.model,
        facts.dataset,
        architecture=facts.architecture,
        num_sites=facts.num_sites,
        budgets=[BUDGET],
        draws=DRAWS,
        train=data if train else None,
        overrides=TRAINING if train else (),
    )
    return build_plan(grid, lambda architecture: 15)


class Killed(BaseException):
    """The end of a process, which nothing catches."""


def run_node(store: Store, node: Node, patch: pytest.MonkeyPatch, *, killed_after: int | None = None) -> None:
    """Runs a trial in this process as a worker does; what is killed leaves what was written before."""
    reports: list[dict[str, Any]] = []

    def report(values: dict[str, Any]) -> None:
        reports.append(values)
        if len(reports) == killed_after:
            raise Killed

    patch.setattr("ray.tune.report", report)
    patch.setattr("ray.get_gpu_ids", list)
    trial_of(store, node).write_recipe(node, None)
    config = {"storage": store.uri, "stage": str(node.stage), "uid": node.uid, "data_dir": None, "stop_file": "stop"}
    try:
        trial_worker.run_trial(config)
    except Killed:
        assert killed_after is not None


@pytest.fixture(scope="module")
def story(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A ladder that was killed after two rungs, and the command that finishes the assessment."""
    uri, root = f"timm:test_resnet@{weights}", tmp_path_factory.mktemp("assess")
    plan, patch = plan_of(uri), pytest.MonkeyPatch()
    calm, storage = Store(str(root / "calm")), root / "storage"
    run_node(calm, plan.nodes[0], patch)
    run_node(Store(str(storage)), plan.nodes[0], patch, killed_after=2)
    patch.undo()
    ladder = storage / "assess" / plan.nodes[0].uid
    before = trial_of(Store(str(storage)), plan.nodes[0]).epochs()
    assert (ladder / RESUME).exists()
    files = {"json": root / "assessment.json", "junit": root / "gate.xml"}
    rules = ("fp.accuracy < 50", "random.drop > -100", "uniform.drop > 99")
    code, printed = assess_command(storage, uri, rules, *("--json", str(files["json"]), "--junit", str(files["junit"])))
    return {"plan": plan, "storage": storage, "before": before, "code": code, "printed": printed, "calm": calm} | files


def test_a_rule_that_fails_ends_the_command_with_3_and_everything_agrees(story: dict[str, Any]) -> None:
    assert story["code"] == 3, story["printed"]
    assert "2 done, 0 failed" in story["printed"]
    gate = {each["rule"]: each["outcome"] for each in json.loads(story["json"].read_text())["gate"]}
    assert gate == {"fp.accuracy < 50": "pass", "random.drop > -100": "fail", "uniform.drop > 99": "pass"}
    assert story["junit"].read_text().count("<failure") == 1


def test_what_was_measured_before_the_kill_is_not_measured_again_and_changes_nothing(story: dict[str, Any]) -> None:
    node = story["plan"].nodes[0]
    after = trial_of(Store(str(story["storage"])), node)
    rows = after.epochs()
    assert len(rows) == len(LADDER_RUNGS)
    assert rows[:2] == story["before"]
    undisturbed = trial_of(story["calm"], node)
    results = [trial.result() for trial in (after, undisturbed)]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0].metrics == results[1].metrics
    assert results[0].files["rungs.parquet"] == results[1].files["rungs.parquet"]


def test_the_json_keeps_its_schema_and_is_also_in_the_sweep(story: dict[str, Any]) -> None:
    written = json.loads(story["json"].read_text())
    jsonschema.validate(written, schema())
    assert [(rung["rung"], rung["budget"]) for rung in written["rungs"]] == [
        ("fp", None),
        ("int8", 120),
        *((rung, BUDGET) for rung in LADDER_RUNGS),
    ]
    assert written["rungs"][0]["accuracy"] > 0.8
    assert written["num_images"] == TEST_IMAGES
    assert written["verdict"] == "healthy"
    (folder,) = (story["storage"] / "sweeps").iterdir()
    assert json.loads((folder / "assessment.json").read_text()) == written


def test_the_page_says_the_verdict_first_and_has_ladder_gate_and_sites(story: dict[str, Any]) -> None:
    (folder,) = (story["storage"] / "sweeps").iterdir()
    page = (folder / "report.html").read_text()
    verdict = page.index("test_resnet is healthy")
    assert verdict < page.index("<h2>Gate</h2>") < page.index("<h2>Ladder</h2>") < page.index("<h2>Sites</h2>")
    for name in ("assessment_rungs.csv", "assessment_sites.parquet", "figure_ladder_test_resnet.svg"):
        assert (folder / name).exists()


def test_mlflow_has_a_run_per_part_with_the_figures_of_its_rungs(story: dict[str, Any]) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{story['storage'].absolute()}/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    parts = {run.data.tags["dptq.uid"]: run for run in runs if "dptq.uid" in run.data.tags}
    assert parts.keys() == {node.uid for node in story["plan"].nodes}
    ladder = parts[story["plan"].nodes[0].uid]
    assert {f"{rung}/drop" for rung in LADDER_RUNGS} <= ladder.data.metrics.keys()
    assert len(ladder.data.metrics) <= 60


def test_the_network_runs_in_onnx_runtime_with_the_same_numbers_everywhere(story: dict[str, Any]) -> None:
    written = json.loads(story["json"].read_text())
    (found,) = written["runtime"]
    rungs = {rung["rung"]: rung for rung in written["rungs"]}
    assert (found["rung"], found["budget"], found["num_images"]) == ("int8", 120, TEST_IMAGES)
    assert (found["verdict"], found["nodes"]) == ("neither", [])
    assert found["accuracy_fp"] == pytest.approx(rungs["fp"]["accuracy"])
    assert found["simulated"]["accuracy"] == pytest.approx(rungs["int8"]["accuracy"])
    assert found["simulated"]["drop_low"] == pytest.approx(rungs["int8"]["drop_low"])
    assert found["disagreements"] <= 2
    (folder,) = (story["storage"] / "sweeps").iterdir()
    page = (folder / "report.md").read_text()
    for text in (story["printed"], page):
        assert f"In ONNX Runtime, 8 bits everywhere: {found['reason']}" in text.replace("\n", " ").replace("**", "")
    network = next(node for node in story["plan"].nodes if node.recipe.is_about_network)
    run = run_of(story["storage"], network)
    assert run.data.tags["dptq.runtime_verdict"] == found["verdict"]
    assert run.data.tags["dptq.runtime_reason"] == found["reason"]
    for name in ("simulated", "exported", "int8"):
        assert run.data.metrics[f"runtime/accuracy_{name}"] == found[name]["accuracy"]
    verification = json.loads((story["storage"] / "assess" / network.uid / VERIFICATION).read_text())["found"]
    assert verification["accuracy_simulated"] == found["simulated"]["accuracy"]


def run_of(storage: Path, node: Node) -> Run:
    """The run of a trial, as MLflow has it."""
    mlflow.set_tracking_uri(f"sqlite:///{storage.absolute()}/mlflow.db")
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`dptq.uid` = '{node.uid}'", output_format="list"
    )
    return run


@pytest.fixture(scope="module")
def beside_others(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with --companions at 8 bits per site, the only budget."""
    root = tmp_path_factory.mktemp("companions")
    code, printed = command(
        root / "storage",
        *("assess", f"timm:test_resnet@{weights}", "--data", "digits", "--budget", "120", "--companions"),
        *("--draws", "1", "--max-passes", "1", "--test-images", str(TEST_IMAGES)),
        *("--mean", SEEN["mean"], "--std", SEEN["std"], "--json", str(root / "a.json")),
        before=AS_IF_HEAVY,
    )
    return {"code": code, "printed": printed, "storage": root / "storage", "json": root / "a.json"}


def test_companions_are_a_part_of_their_own_whose_findings_are_on_the_page(beside_others: dict[str, Any]) -> None:
    assert beside_others["code"] == 0, beside_others["printed"]
    assert "3 done, 0 failed" in beside_others["printed"]
    (folder,) = (beside_others["storage"] / "sweeps").iterdir()
    table = pq.read_table(folder / "assessment_companions.parquet").to_pandas()
    assert set(table["budget"]) == {120}
    assert table["companion"].unique().tolist() == ["alone", "batch", "padding", "real", "optimized"]
    assert table["num_images"].eq(HEAVY_COMPANIONS["images"]).all()
    # An image alone has its own range: that is the rung `int8`, on the first of its images.
    node = next(path for path in (beside_others["storage"] / "assess").iterdir() if (path / "sites.parquet").exists())
    rows = pq.read_table(node / "predictions.parquet").slice(0, HEAVY_COMPANIONS["images"]).to_pandas()
    alone = table[table["companion"] == "alone"].iloc[0]
    assert alone["accuracy"] == pytest.approx((rows["prediction_int8"] == rows["label"]).mean())
    page, printed = (folder / "report.html").read_text(), beside_others["printed"].replace("\n", " ")
    assert "<h2>Batch-mates</h2>" in page
    for text in (page, printed):
        assert "At 8 bits per site" in text
        assert "the worst single companion" in text
    assert json.loads(beside_others["json"].read_text())["runtime"][0]["num_images"] == 64


def test_mlflow_has_the_worst_companion(beside_others: dict[str, Any]) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{beside_others['storage'].absolute()}/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    drops = [
        metrics["companions/120b_worst_drop"]
        for run in runs
        if len(metrics := run.data.metrics) and "companions/120b_worst_drop" in metrics
    ]
    (folder,) = (beside_others["storage"] / "sweeps").iterdir()
    table = pq.read_table(folder / "assessment_companions.parquet").to_pandas()
    single = table[table["companion"].isin(("padding", "real", "optimized"))]
    single = single[~single["which"].str.contains("for each")]
    assert drops == [pytest.approx(single["drop"].max())]


@pytest.fixture(scope="module")
def undone(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The network of a trial, with a link that was rescaled to fail, on a folder of images without labels."""
    root = tmp_path_factory.mktemp("undone")
    network = create_backbone("test_resnet", 10)
    network.load_state_dict(load_file(weights))
    link = next(link for link in find_links(network.eval()) if link.kind == "relu")
    rescale(network, link, 3, 2.0**12)
    data = load_dataset(dataset_spec("digits"))
    (root / "images").mkdir()
    for number, image_CHW in enumerate(data.splits["test"].images_BCHW[:150]):
        Image.fromarray(image_CHW.permute(1, 2, 0).numpy()).save(root / "images" / f"{number}.png")
    smoke = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    white_box = next(node for node in smoke.nodes if node.recipe.architecture == "test_resnet")
    trial = trial_of(Store(str(root / "storage")), white_box)
    trial.write_recipe(white_box, None)
    tensors = with_prefix(MODEL, network.state_dict())
    trial.write_result({}, {CHECKPOINT: to_bytes(tensors)}, seconds=1.0, data_sha256=data.sha256())
    code, printed = command(
        root / "storage",
        *("assess", f"trial:{white_box.uid}", "--data", f"folder:{root / 'images'}", "--equalize"),
        *("--budget", str(BUDGET), "--draws", "2", "--max-passes", "3", "--json", str(root / "found.json")),
    )
    return {"code": code, "printed": printed, "json": root / "found.json", "storage": root / "storage"}


def test_a_trial_of_the_storage_is_assessed_by_its_uid_on_images_without_labels(undone: dict[str, Any]) -> None:
    assert undone["code"] == 0, undone["printed"]
    found = json.loads(undone["json"].read_text())
    assert (found["labels"], found["model"]["architecture"], found["num_images"]) == ("none", "test_resnet", 30)
    assert UNLABELLED in undone["printed"]
    assert next(rung for rung in found["rungs"] if rung["rung"] == "fp")["accuracy"] == 1.0


def test_equalize_undoes_a_rescaled_link_before_anything_is_measured(undone: dict[str, Any]) -> None:
    found = json.loads(undone["json"].read_text())
    assert (found["verdict"], found["suspects"]) == ("healthy", [])
    assert next(rung for rung in found["rungs"] if rung["rung"] == "int8")["flips"] <= 0.1
    (folder,) = (undone["storage"] / "sweeps").iterdir()
    assert folder.name.endswith("-equalized")


def test_status_ls_and_report_know_the_assessment(story: dict[str, Any]) -> None:
    code, printed = command(story["storage"], "status", "--json")
    assert code == 0, printed
    assert json.loads(printed)["counts"] == {"assess": {"done": 2}}
    code, printed = command(story["storage"], "report", "--json")
    assert code == 0, printed
    assert json.loads(printed)["assessments"] == [json.loads(story["json"].read_text())]


@pytest.fixture(scope="module")
def trained(story: dict[str, Any], weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same with --train, on a storage that has the parts already, after a pair that was killed half-way."""
    uri, root = f"timm:test_resnet@{weights}", tmp_path_factory.mktemp("trained")
    plan, patch, storage = plan_of(uri, train=True), pytest.MonkeyPatch(), root / "storage"
    store = Store(str(storage))
    shutil.copytree(story["storage"] / "assess", storage / "assess")
    nodes = {node.rung: node for node in plan.nodes if node.rung}
    run_node(store, nodes["pair"], patch, killed_after=1)
    patch.undo()
    before = trial_of(store, nodes["pair"]).epochs()
    settings = tuple(argument for value in TRAINING for argument in ("--set", value))
    rules = ("pair.drop > -100", "policy_robust.drop > 99")
    code, printed = assess_command(storage, uri, rules, "--train", *settings, "--json", str(root / "a.json"))
    written = json.loads((root / "a.json").read_text())
    facts = {"plan": plan, "nodes": nodes, "store": store, "before": before, "written": written}
    return facts | {"code": code, "printed": printed}


def test_training_adds_three_rungs_to_what_was_measured_before(story: dict[str, Any], trained: dict[str, Any]) -> None:
    assert trained["code"] == 3, trained["printed"]
    assert "2 cached, 3 to run" in trained["printed"]
    assert "5 done, 0 failed" in trained["printed"]
    written, untrained = trained["written"], json.loads(story["json"].read_text())
    jsonschema.validate(written, schema())
    measured = len(untrained["rungs"])
    assert written["rungs"][:measured] == untrained["rungs"]
    assert [(rung["rung"], rung["budget"]) for rung in written["rungs"][measured:]] == [
        (rung, BUDGET) for rung in TRAINED_RUNGS
    ]
    assert [written[name] for name in ("verdict", "reasons", "suspects", "missing")] == [
        *(untrained[name] for name in ("verdict", "reasons", "suspects")),
        [],
    ]
    assert [each["outcome"] for each in written["gate"]] == ["fail", "pass"]


def test_figures_of_trained_rungs_are_those_of_their_predictions(trained: dict[str, Any]) -> None:
    rungs = {rung["rung"]: rung for rung in trained["written"]["rungs"]}
    for name, node in trained["nodes"].items():
        path = Path(trained["store"].uri) / "pair" / node.uid / "predictions.parquet"
        rows = [row for row in pq.read_table(path).to_pylist() if row["split"] == "test"]
        assert len(rows) == TEST_IMAGES
        right = {who: sum(row[f"prediction_{who}"] == row["label"] for row in rows) for who in ("white_box", "fp", "q")}
        assert right["white_box"] / len(rows) == pytest.approx(rungs["fp"]["accuracy"])
        assert rungs[name]["accuracy"] == pytest.approx(right["q"] / len(rows))
        assert rungs[name]["drop"] == pytest.approx((right["fp"] - right["q"]) / len(rows))
        flipped = sum(row["prediction_q"] != row["prediction_fp"] for row in rows)
        assert rungs[name]["flips"] == pytest.approx(flipped / len(rows))
        assert {sum(row["bit_width"]) for row in rows} == {BUDGET}
        if name == "pair":
            assert rungs[name]["parity_gap"] == pytest.approx((right["white_box"] - right["fp"]) / len(rows))
        else:
            assert [row["prediction_fp"] for row in rows] == [row["prediction_white_box"] for row in rows]
            assert rungs[name]["parity_gap"] is None


def test_what_was_trained_runs_in_onnx_runtime_at_the_bits_of_its_policy(trained: dict[str, Any]) -> None:
    found = {each["rung"]: each for each in trained["written"]["runtime"]}
    assert list(found) == ["int8", *TRAINED_RUNGS]
    rungs = {rung["rung"]: rung for rung in trained["written"]["rungs"]}
    for name, node in trained["nodes"].items():
        assert (found[name]["budget"], found[name]["num_images"]) == (BUDGET, TEST_IMAGES)
        assert found[name]["simulated"]["accuracy"] == pytest.approx(rungs[name]["accuracy"])
        assert found[name]["disagreements"] <= 2
        assert run_of(Path(trained["store"].uri), node).data.tags["dptq.runtime_verdict"] == found[name]["verdict"]


def test_a_training_that_was_killed_goes_on_with_its_next_epoch(trained: dict[str, Any]) -> None:
    rows = trial_of(trained["store"], trained["nodes"]["pair"]).epochs()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[:1] == trained["before"]


def test_page_and_mlflow_know_the_trained_rungs(trained: dict[str, Any]) -> None:
    (folder,) = (Path(trained["store"].uri) / "sweeps").iterdir()
    page = (folder / "report.html").read_text()
    assert "fine-tuned pair" in page
    assert "parity gap" in page
    assert "Not trained" not in page
    mlflow.set_tracking_uri(f"sqlite:///{Path(trained['store'].uri).absolute()}/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    rungs = {run.data.tags["dptq.uid"]: run.data.tags for run in runs if "dptq.rung" in run.data.tags}
    assert {tags["dptq.rung"]: uid for uid, tags in rungs.items()} == {
        rung: node.uid for rung, node in trained["nodes"].items()
    }
    assert {tags["dptq.budget"] for tags in rungs.values()} == {str(BUDGET)}


def test_a_rung_whose_training_is_not_done_or_failed_is_missing_and_the_rest_stays(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    for stage in ("assess", "pair"):
        shutil.copytree(Path(trained["store"].uri) / stage, storage / stage)
    store, nodes = Store(str(storage)), trained["nodes"]
    for rung in ("policy_robust", "pair"):
        (storage / "pair" / nodes[rung].uid / RESULT).unlink()
    trial_of(store, nodes["pair"]).write_error(NonFiniteLossError("the loss became NaN"))
    (found,) = read_assessments(Snapshot(trained["plan"], store), ["pair.drop > 10", "policy_detrimental.drop > 99"])
    assert found.is_complete
    assert [each.rung for each in found.assessment.missing] == ["policy_robust", "pair"]
    assert found.assessment.missing[1].reason == "diverged: NonFiniteLossError: the loss became NaN"
    assert [rung.rung for rung in found.assessment.rungs if rung.rung in TRAINED_RUNGS] == ["policy_detrimental"]
    assert found.assessment.verdict == trained["written"]["verdict"]
    assert [each.outcome for each in found.assessment.gate] == ["not shown", "pass"]
