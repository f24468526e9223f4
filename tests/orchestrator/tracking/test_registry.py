"""`export --to mlflow`: what lies in MLflow's registry, what a real server answers, and what is refused."""

import io
import json
import os
import sys
import urllib.error
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient, pyfunc
from mlflow.entities.model_registry import ModelVersion
from safetensors.torch import save_file

from orchestrator.cli.main import main
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.pairs import verdict
from orchestrator.store.folder import PREDICTIONS
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.tracking.models.registered import check_name, model_name
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.trial import run_trial
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.objective import accuracies_of
from search_spaces.stages.registry import Stage
from tests.servers import free_port, starting
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST
from trainables.data.loading import load_dataset
from trainables.data.view import View
from trainables.models.backbones import create_backbone

SWEEP = "mine"
SERVED_IMAGES = 40


def typed(*line: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(list(line))
    return int(exit_info.value.code or 0)


def plan_of() -> Plan:
    """The smoke grid with a tiny teacher, so that a stage takes a second."""
    grid = build_grid("smoke", Choices(), lambda _: 15)
    return build_plan(
        vary(grid, teacher=vary(grid.teacher, architecture="test_resnet").model_dump()), lambda architecture: 15
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A storage with a teacher, a white box and a detrimental pair that were really trained, and nothing in MLflow."""
    store = Store(str(tmp_path_factory.mktemp("trained") / "storage"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setattr("ray.tune.report", lambda metrics: None)
        environment.setattr("ray.get_gpu_ids", list)
        for node in (*plan_of().nodes[:2], pair_node()):
            trial_of(store, node).write_recipe(node, None)
            place = {"storage": store.uri, "stage": str(node.stage), "uid": node.uid, "data_dir": None}
            run_trial(place | {"stop_file": "sweeps/mine/stop"})
            assert trial_of(store, node).result(), trial_of(store, node).error()
    return store


def pair_node() -> Node:
    pairs = [node for node in plan_of().nodes if node.stage is Stage.PAIR]
    return next(node for node in pairs if node.cell and node.cell.goal is Goal.DETRIMENTAL)


@pytest.fixture(scope="module")
def location(trained: Store) -> str:
    """MLflow with a run for every trial, as a launch leaves it."""
    tracker = Tracker(None, trained, SWEEP)
    tracker.open(plan_of(), {})
    assert tracker.close("FINISHED") == []
    return tracker.location.uri


@pytest.fixture(scope="module")
def registered_pair(trained: Store, location: str) -> ModelVersion:
    return registered(trained, location, pair_node().uid[:9])


def registered(store: Store, uri: str, *line: str) -> ModelVersion:
    """Exports, and returns the version that the printed line names."""
    printed, problems = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(problems):
        assert typed("export", *line, "--to", "mlflow", "--storage", store.uri, "--tracking-uri", uri) == 0
    assert problems.getvalue() == ""
    (shown,) = printed.getvalue().splitlines()
    name, version = shown.removeprefix("registered models:/").partition(": ")[0].split("/")
    serve = f"mlflow models serve -m models:/{name}/{version} --env-manager local"
    assert shown.endswith(f": MLFLOW_TRACKING_URI={uri} {serve}")
    return MlflowClient(uri, registry_uri=uri).get_model_version(name, version)


def test_a_pair_is_registered_with_its_verdict_on_the_run_of_its_trial(
    trained: Store, location: str, registered_pair: ModelVersion
) -> None:
    node, version = pair_node(), registered_pair
    client = MlflowClient(location, registry_uri=location)
    assert (version.name, version.version) == (f"dptq-test_resnet-detrimental-{node.uid[:8]}", 1)
    assert node.cell is not None
    result = trial_of(trained, node).result()
    assert result is not None
    accuracies = accuracies_of(result.metrics, "test")
    expected = {
        "dptq.uid": node.uid,
        "dptq.trial": node.name,
        "dptq.stage": "pair",
        "dptq.verdict": str(verdict(**accuracies)),
        "dptq.cell": node.cell.cell_id,
        "dptq.goal": "detrimental",
        "dptq.architecture": "test_resnet",
        "dptq.dataset": "digits",
        "dptq.seed": str(node.seed),
        "dptq.budget": str(node.cell.recipe.budget),
        "dptq.bit_widths": " ".join(map(str, node.cell.recipe.bit_widths)),
        "dptq.source": f"trial:{node.uid}",
    }
    assert expected.items() <= version.tags.items()
    assert len(version.tags["dptq.sha256"]) == 64
    for name, accuracy in accuracies.items():
        assert float(version.tags[f"dptq.{name}"]) == pytest.approx(accuracy, abs=1e-6)
    headline = version.description.splitlines()[0]
    assert headline.startswith(f"**{verdict(**accuracies)}** (detrimental pair)")
    assert f"{100 * accuracies['accuracy_q']:.1f} % quantized with {node.cell.recipe.budget} bits" in headline

    run = client.get_run(version.run_id)
    assert run.data.tags["dptq.uid"] == node.uid
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.status, model.name, model.experiment_id) == ("READY", version.name, run.info.experiment_id)
    assert model.tags["dptq.verdict"] == version.tags["dptq.verdict"]


def test_nothing_of_a_model_is_pickled_and_its_code_is_a_file(
    registered_pair: ModelVersion,
) -> None:
    folder = Path(registered_pair.source.removeprefix("file://"))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
        "served_model.py",
        *(f"artifacts/network/{name}" for name in ("network.onnx", "policy.onnx", "served.json")),
    }
    described = (folder / "MLmodel").read_text()
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in described
    assert "python_model" not in described
    assert "dptq" not in (folder / "requirements.txt").read_text()
    metadata = json.loads((folder / "artifacts/network/served.json").read_text())
    assert metadata["class_names"] == [str(digit) for digit in range(10)]
    view = View(32, 32)
    assert (metadata["image_size"], metadata["mean"], metadata["std"]) == ([32, 32], [*view.mean], [*view.std])
    assert yaml.safe_load(described)["metadata"] == {
        name: value for name, value in metadata.items() if name not in ("form", "files")
    }


def test_a_network_without_a_policy_is_registered_on_a_run_of_its_own_and_runs_at_the_bits_of_a_request(
    trained: Store, location: str, tmp_path: Path
) -> None:
    weights = tmp_path / "n.safetensors"
    network = create_backbone("test_resnet", 10).eval()
    save_file(network.state_dict(), weights)
    version = registered(trained, location, f"timm:test_resnet@{weights}", "--image-size", "32")
    assert version.name == f"dptq-test_resnet-{version.tags['dptq.sha256'][:8]}"
    client = MlflowClient(location, registry_uri=location)
    run = client.get_run(version.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "exports"
    assert (run.info.status, run.data.tags["dptq.source"]) == ("FINISHED", version.tags["dptq.source"])
    model = pyfunc.load_model(version.source)
    images = torch.randn(3, 3, 32, 32)
    answer = model.predict({"images": images.numpy()})
    assert np.array_equal(answer["bit_widths"], np.zeros((3, 15)))
    expected = network(images).softmax(1).detach().numpy()
    assert np.allclose(answer["probabilities"], expected, atol=1e-5)
    coarse = model.predict({"images": images.numpy()}, params={"bit_width": 2})
    assert np.array_equal(coarse["bit_widths"], np.full((3, 15), 2))
    assert np.abs(coarse["probabilities"] - expected).max() > 1e-3


def test_a_white_box_is_registered_with_its_accuracy(trained: Store, location: str) -> None:
    node = next(each for each in plan_of().nodes if each.stage is Stage.DISTILL)
    version = registered(trained, location, node.uid)
    assert version.name == f"dptq-test_resnet-distill-{node.uid[:8]}"
    result = trial_of(trained, node).result()
    assert result is not None
    assert float(version.tags["dptq.accuracy"]) == pytest.approx(result.metrics["test/accuracy"], abs=1e-6)
    assert "dptq.verdict" not in version.tags
    assert version.description.startswith(f"Test accuracy {100 * result.metrics['test/accuracy']:.1f} %")


def ask(url: str, images: np.ndarray, **params: Any) -> dict[str, Any]:
    content = {"inputs": {"images": images.tolist()}} | ({"params": params} if params else {})
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return {name: np.array(values) for name, values in json.load(answer)["predictions"].items()}


@pytest.mark.slow
def test_a_new_version_by_a_server_of_mlflow_is_served_and_answers_as_the_predictions_of_the_trial_say(
    trained: Store, location: str, registered_pair: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = pair_node()
    places = ["--backend-store-uri", location, "--artifacts-destination", str(tmp_path / "artifacts")]
    # `mlflow models serve` starts uvicorn by its name.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with starting("mlflow", "server", "--workers", "1", *places, port_option="--port") as start:
        uri, _ = start()
        version = registered(trained, uri, node.name)
        assert (version.name, version.version) == (registered_pair.name, "2")
        assert (version.run_id, version.tags) == (registered_pair.run_id, registered_pair.tags)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        serve = ["models", "serve", "-m", f"models:/{version.name}/2", "--env-manager", "local"]
        with starting("mlflow", *serve, port_option="--port") as start_serving:
            url, _ = start_serving()
            check_answers(url, node, trial_of(trained, node))


def check_answers(url: str, node: Node, trial: TrialFolder) -> None:
    data = load_dataset(node.dataset)
    images = evaluation_batch(data.splits[TEST].images_BCHW[:SERVED_IMAGES], data.view).numpy()
    table = trial.folder.read_table(PREDICTIONS)
    assert table is not None
    rows = table.to_pandas().query("split == 'test'").head(SERVED_IMAGES)
    assert rows["image_id"].tolist() == data.splits[TEST].image_ids_B[:SERVED_IMAGES].tolist()

    quantized, full = ask(url, images), ask(url, images, full_precision=True)
    labels = rows["label"].to_numpy()
    for answer, column in ((quantized, "q"), (full, "fp")):
        assert answer["predicted"].tolist() == rows[f"prediction_{column}"].tolist()
        assert np.allclose(margins(answer["probabilities"], labels), rows[f"margin_{column}"], atol=1e-4)
    assert np.array_equal(quantized["bit_widths"], np.stack(rows["bit_width"].tolist()))
    assert not full["bit_widths"].any()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url, images[:, :, :16])
    assert refused.value.code == 400


def margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability of the label minus that of the best other class."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    return probabilities[np.arange(len(labels)), labels] - others.max(1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("UID -o n.onnx", 2, "-o names a file, and --to mlflow writes none"),
        ("UID --integer", 2, "--integer is for --to onnx only"),
        ("UID --exclude conv", 2, "--exclude names nodes that --integer would quantize"),
        ("UID --name a/b", 1, "--name 'a/b' is no name of a model: it begins with a letter or a digit"),
        ("UID --tracking-uri http://127.0.0.1:PORT", 1, "cannot reach the MLflow server at http://127.0.0.1:PORT"),
        ("UID --tracking-uri ftp://somewhere", 1, "tracking URI 'ftp://somewhere' is of a kind"),
        ("0123abcd", 1, "no trial '0123abcd'|unknown trial '0123abcd'"),
        ("WAITING", 1, "is not done: launch or resume its sweep first."),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    options: str, code: int, message: str, trained: Store, location: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting, port = plan_of().nodes[-1], str(free_port())
    trial_of(trained, waiting).write_recipe(waiting, None)
    client = MlflowClient(location, registry_uri=location)
    before = [(each.name, each.latest_versions[0].version) for each in client.search_registered_models()]
    line = options.replace("UID", pair_node().uid).replace("WAITING", waiting.uid).replace("PORT", port)
    assert typed("export", *line.split(), "--to", "mlflow", "--storage", trained.uri) == code
    printed = capsys.readouterr()
    (shown,) = printed.err.splitlines()
    assert any(each.replace("PORT", port) in shown for each in message.split("|")), shown
    assert printed.out == ""
    assert before == [(each.name, each.latest_versions[0].version) for each in client.search_registered_models()]


@pytest.mark.parametrize("name", ["", "a b", "a/1", "a:1", "a@prod", ".hidden", "-x", "ä", "x\n", "a" * 101, "../up"])
def test_names_that_a_uri_or_a_path_could_not_hold_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a model"):
        check_name(name)


def test_a_name_that_is_made_can_be_given() -> None:
    facts = {"architecture": "hf_hub:somebody/" + "long" * 40, "goal": None, "sha256": "f" * 64}
    check_name(model_name(facts, None))
    check_name("a" * 100)
    check_name("dptq-vit_tiny.augreg-1")
