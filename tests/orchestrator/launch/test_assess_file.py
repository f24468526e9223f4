"""`assess --reference` from the options to the report: its parts are run in this process as workers run them."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from orchestrator.cli.main import main
from orchestrator.launch.ending.assessments import conclude
from orchestrator.plan import Plan, build_plan
from orchestrator.reports.assessment.page import assessment_files
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import standing_of
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.workers import trial as trial_worker
from orchestrator.workers.entry_points import look_at_quantized_file
from search_spaces.datasets import dataset_spec
from search_spaces.errors import ConfigError
from search_spaces.grids.assess import assess_grid
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from search_spaces.stages.quantized_file import QuantizedFile
from tests.trainables.deployment.digit_networks import depthwise_network
from tests.trainables.runtimes.broken_files import rescaled_depthwise
from tests.trainables.runtimes.onnx_files import export
from tests.trainables.runtimes.quantized_files import S8, quantize
from trainables.assessment.facts import look_at
from trainables.assessment.quantized_file import open_quantized_file
from trainables.assessment.record import schema
from trainables.runtimes.onnxruntime import OnnxNetwork

SEEN = {"image_size": 32, "mean": "0.5,0.5,0.5", "std": "0.25,0.25,0.25"}
RULES = ("file.drop > 5", "int8.drop > 5", "file.flips < 0")
TEST_IMAGES = 120


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    reference = export(rescaled_depthwise(), folder / "model.onnx")
    return quantize(reference, folder / "model.int8.onnx", weight_type=S8), reference


def facts_of(reference: Path) -> NetworkFacts:
    dataset, settings = dataset_spec("digits", test_images=TEST_IMAGES), ImageSettings.model_validate(SEEN)
    return look_at(f"onnx:{reference}", dataset, settings, data_dir=Path("data"))


def plan_of(quantized: Path, reference: Path) -> Plan:
    facts = facts_of(reference)
    grid = assess_grid(
        facts.model,
        facts.dataset,
        architecture=facts.architecture,
        num_sites=facts.num_sites,
        quantized_file=QuantizedFile(model=look_at_quantized_file(f"onnx:{quantized}", facts), largest_drop=0.05),
    )
    return build_plan(grid, lambda architecture: 7)


@pytest.fixture(scope="module")
def story(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root, plan, patch = tmp_path_factory.mktemp("assess"), plan_of(*files), pytest.MonkeyPatch()
    store = Store(str(root / "storage"))
    patch.setattr("ray.tune.report", lambda values: None)
    patch.setattr("ray.get_gpu_ids", list)
    for node in plan.nodes:
        trial_of(store, node).write_recipe(node, None)
        config = {"storage": store.uri, "stage": str(node.stage), "uid": node.uid, "data_dir": None, "stop_file": "s"}
        trial_worker.run_trial(config)
    patch.undo()
    snapshot, console = Snapshot(plan, store), Console(record=True, width=300)
    options = LaunchOptions(fail_if=RULES, json_file=root / "found.json", junit_file=root / "gate.xml")
    code = conclude(snapshot, options, console)
    standing = standing_of(snapshot, Sweep(store, "sweep").folder)
    made = assessment_files(snapshot, "sweep", facts={}, standing=standing, rules=RULES)
    return {"code": code, "printed": console.export_text(), "files": made, "plan": plan, "root": root}


def test_the_parts_are_the_file_and_the_network_without_budgets(story: dict[str, Any]) -> None:
    assert [node.name for node in story["plan"].nodes] == ["assess/model/file", "assess/model/network"]
    assert [node.recipe.epochs for node in story["plan"].nodes] == [3, 5]


def test_rules_on_the_file_decide_the_exit_code_and_the_junit_report(story: dict[str, Any]) -> None:
    assert story["code"] == 3
    found = json.loads((story["root"] / "found.json").read_text())
    outcomes = {each["rule"]: each["outcome"] for each in found["gate"]}
    assert outcomes == {"file.drop > 5": "fail", "int8.drop > 5": "pass", "file.flips < 0": "pass"}
    suite = ElementTree.parse(story["root"] / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")


def test_json_fits_the_published_schema_and_names_the_nodes(story: dict[str, Any]) -> None:
    found = json.loads((story["root"] / "found.json").read_text())
    jsonschema.validate(found, schema())
    file = found["quantized_file"]
    assert (file["is_failing"], file["is_enough"], file["largest_drop"], file["kind"]) == (True, True, 0.05, "dynamic")
    assert "/6/Conv" in file["nodes_to_exclude"]
    assert file["drop_excluded"] <= 0.05
    assert file["uri"].endswith("model.int8.onnx")
    assert found["model"]["uri"].endswith("model.onnx")
    assert [rung["rung"] for rung in found["rungs"]] == ["fp", "int8", "file"]


def test_terminal_and_page_say_what_to_paste(story: dict[str, Any]) -> None:
    found = json.loads((story["root"] / "found.json").read_text())
    line = f"nodes_to_exclude={json.dumps(found['quantized_file']['nodes_to_exclude'])}"
    assert line in story["printed"]
    assert "The file breaks it, not 8 bits as such" in story["printed"]
    assert "quantized file" in story["printed"]
    page = story["files"]["report.md"].decode()
    assert "## Quantized file" in page
    assert "/6/Conv" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "timm:test_resnet"}, "--reference timm:test_resnet is no ONNX file"),
        ({"model": "timm:test_resnet"}, "MODEL timm:test_resnet is no ONNX file"),
        ({"more": ["--train"]}, "--train changes a network"),
        ({"more": ["--equalize"]}, "--equalize changes a network"),
        ({"more": ["--companions"]}, "--companions: onnx:.* runs with a range per image"),
        ({"more": ["--fail-if", "uniform.drop > 2"]}, "has no rung uniform; .*; --budget adds it"),
        ({"model": "reference"}, "is a float model, and --reference goes with a quantized one"),
        ({"reference": "quantized"}, "is quantized already"),
        ({"reference": "missing"}, "is no file"),
        ({"size": "48"}, "cannot run on images of 3x48x48"),
        ({}, None),
    ],
)
def test_what_does_not_go_with_a_reference_is_one_line_before_anything_runs(
    change: dict[str, Any], message: str | None, files: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    names = {"quantized": f"onnx:{files[0]}", "reference": f"onnx:{files[1]}", "missing": f"onnx:{tmp_path}/no.onnx"}
    values = {"model": "quantized", "reference": "reference", "more": [], "size": "32"} | change
    model, reference = (names.get(values[name], values[name]) for name in ("model", "reference"))
    line = [
        "assess",
        model,
        "--reference",
        reference,
        "--data",
        "digits",
        "--image-size",
        values["size"],
        *values["more"],
    ]
    with pytest.raises(SystemExit) as caught:
        main([*line, "--storage", str(tmp_path / "s"), "--dry-run"])
    printed = capsys.readouterr()
    if message is None:
        assert caught.value.code == 0, printed.err
        assert "assess/model/file" in printed.out
        return
    assert caught.value.code != 0
    (error,) = printed.err.strip().splitlines()
    assert re.search(message, error), error
    assert not (tmp_path / "s").exists()


def test_without_a_reference_a_quantized_file_is_refused_with_a_hint_and_rules_on_it_too(
    files: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    for more, message in (([], "as --reference"), (["--fail-if", "file.drop > 1"], "--reference adds it")):
        with pytest.raises(SystemExit):
            main(
                ["assess", f"onnx:{files[0]}", "--data", "digits", "--storage", str(tmp_path / "s"), "--dry-run", *more]
            )
        (error,) = capsys.readouterr().err.strip().splitlines()
        assert message in error


def test_another_file_than_the_plan_was_made_with_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    healthy = export(depthwise_network(), tmp_path / "n.onnx")
    other = quantize(healthy, tmp_path / "q.onnx", weight_type=S8)
    planned = look_at_quantized_file(f"onnx:{files[0]}", facts_of(files[1]))
    settings = QuantizedFile(model=planned.model_copy(update={"uri": f"onnx:{other}"}))
    with pytest.raises(ConfigError, match=r"is another file .* than when the plan was made"):
        open_quantized_file(settings, OnnxNetwork(files[1]))
