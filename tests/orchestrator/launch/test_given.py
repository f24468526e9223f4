"""A sweep of a white box that is given, on real local Ray: launched, read, launched again and reproduced."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from search_spaces.datasets import dataset_spec
from trainables.data.augment import evaluation_batch
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_SECONDS = 300
SEEN = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
"""What the network is trained with; timm would say otherwise of its architecture."""


def command(storage: Path, *arguments: str) -> str:
    line = [sys.executable, "-c", "from orchestrator.cli.main import main; main()", *arguments]
    done = subprocess.run(
        [*line, "--storage", str(storage)], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A network that knows some digits, and the smoke grid of it: one epoch, no search."""
    root = tmp_path_factory.mktemp("given")
    torch.manual_seed(0)
    data, network = load_dataset(dataset_spec("digits", test_images=60)), create_backbone("test_resnet", 10)
    images_BCHW = evaluation_batch(data.splits["train"].images_BCHW, data.view)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for places_B in torch.randperm(len(images_BCHW)).split(64):
        loss = F.cross_entropy(network(images_BCHW[places_B]), data.splits["train"].labels_B[places_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), root / "network.safetensors")
    test = data.splits["test"]
    with torch.no_grad():
        right_B = network.eval()(evaluation_batch(test.images_BCHW, data.view)).argmax(dim=-1) == test.labels_B
    small = ("--train-images", "150", "--test-images", "60", "--set", "pair.epochs=1", "--search-trials", "0")
    uri = f"timm:test_resnet@{root / 'network.safetensors'}"
    launch = ("launch", "--grid", "smoke", "--white-box", uri, *SEEN, *small)
    storage = root / "storage"
    printed = command(storage, *launch)
    return {"storage": storage, "launch": launch, "printed": printed, "accuracy": right_B.double().mean().item()}


def test_parity_is_measured_against_the_network_that_is_given(story: dict[str, Any]) -> None:
    pairs = json.loads(command(story["storage"], "report", "--json"))["pairs"]
    assert [pair["goal"] for pair in pairs] == ["robust", "detrimental"]
    for pair in pairs:
        assert pair["accuracy_white_box"] == pytest.approx(story["accuracy"], abs=1e-6)
        assert pair["parity_gap"] == pytest.approx(story["accuracy"] - pair["accuracy_fp"], abs=1e-6)
        assert pair["average_bits"] == pytest.approx(82 / 15)
    assert story["accuracy"] > 0.3


def test_store_and_mlflow_agree_and_name_the_network(story: dict[str, Any]) -> None:
    assert json.loads(command(story["storage"], "status", "--json"))["counts"] == {"pair": {"done": 2}}
    mlflow.set_tracking_uri(f"sqlite:///{story['storage'].absolute()}/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    pairs = [run for run in runs if "dptq.uid" in run.data.tags]
    assert len(pairs) == 2
    for run in pairs:
        assert "dptq.parents" not in run.data.tags
        assert run.data.tags["dptq.architecture"].startswith("test_resnet-")
        assert "network.safetensors" in run.data.params["white_box"]


def test_the_report_has_the_white_box_in_table_1(story: dict[str, Any]) -> None:
    (folder,) = (story["storage"] / "sweeps").iterdir()
    table = (folder / "table1.csv").read_text()
    assert table.count("test_resnet-") == 1
    assert "test_resnet-" in (folder / "report.html").read_text()


def test_another_launch_and_a_resume_find_all_done_and_a_pair_is_reproduced(story: dict[str, Any]) -> None:
    assert "2 cached, 0 to run" in command(story["storage"], *story["launch"])
    assert "2 cached, 0 to run" in command(story["storage"], "resume")
    (uid, *_) = (pair["uid"] for pair in json.loads(command(story["storage"], "report", "--json"))["pairs"])
    printed = command(story["storage"], "reproduce", uid)
    assert "reproduced bit by bit: 0 metrics and 0 tensors differ" in printed
