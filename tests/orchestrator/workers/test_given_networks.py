"""Pairs whose white box is given, as a worker runs them: which networks are opened, and which are refused."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from orchestrator.plan import Node, build_plan
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers import trial as trial_worker
from orchestrator.workers.entry_points import look_at_network, num_sites
from orchestrator.workers.trained import trained_network
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.models import model_spec
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from trainables.checkpoints import from_bytes, strip_prefix
from trainables.models.backbones import create_backbone
from trainables.models.fingerprint import state_sha256
from trainables.models.registry import open_network
from trainables.stages.pair import STUDENT

CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""
QUICKLY = ("pair.epochs=1", "pair.batch_size=32", "pair.augmentations=[]")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.tune.report", lambda metrics: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)


def pair_of(store: Store, uri: str, **choices: Any) -> Node:
    """The robust pair of a network, as `launch` plans it."""

    def look_at(uri: str, dataset: DatasetSpec, settings: ImageSettings, *, is_typed: bool) -> NetworkFacts:
        others = {"labels_file": None, "has_labels": True, "has_same_classes": True, "is_typed": is_typed}
        return look_at_network(uri, dataset, settings, data_dir=Path("data"), storage=store.uri, **others)[0]

    asked = Choices(white_boxes=[uri], train_images=100, test_images=40, overrides=QUICKLY, **choices)
    return build_plan(build_grid("smoke", asked, num_sites, look_at), num_sites).nodes[0]


def run(store: Store, node: Node, *, typed: tuple[str, ...] = ()) -> TrialFolder:
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    config = {"storage": store.uri, "stage": "pair", "uid": node.uid, "data_dir": None, "stop_file": "stop"}
    trial_worker.run_trial(config | {"typed_models": typed})
    return folder


def test_a_network_of_code_is_trained_for_whoever_typed_it_and_never_opened_by_a_uid(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_given.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    uri = "python:nets_given:make"
    node = pair_of(store, uri, budgets=[5])
    assert node.cell is not None
    assert node.cell.architecture.startswith("Sequential-")
    refused = run(store, node)
    assert refused.state() is State.FAILED
    assert "is code, which runs only for those who name it" in (refused.error() or "")
    done = run(store, node, typed=(uri,))
    assert done.state() is State.DONE
    # Its student has the same architecture, and whoever types the uid did not type the code.
    with pytest.raises(ConfigError, match="is code, which runs only for those who name it"):
        open_network(model_spec(node.uid), read_trial=partial(trained_network, store), is_typed=True)


def test_the_student_of_a_white_box_that_is_given_is_a_network_by_its_uid(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pt"
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), path)
    node = pair_of(store, f"torchvision:resnet18@{path}", budgets=[110])
    done = run(store, node)
    assert done.state() is State.DONE, done.error()
    given = open_network(model_spec(node.uid), read_trial=partial(trained_network, store))
    tensors = strip_prefix(STUDENT, from_bytes(done.read_checked("checkpoint.safetensors"), source="test"))
    assert given.sha256 == state_sha256(tensors)


def test_weights_that_changed_since_the_plan_are_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_file(create_backbone("test_resnet", 10).state_dict(), path)
    node = pair_of(store, f"timm:test_resnet@{path}")
    save_file(create_backbone("test_resnet", 10).state_dict(), path)
    assert "has other weights" in (run(store, node).error() or "")


def test_a_trial_of_the_storage_is_a_white_box_with_the_view_of_its_data(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_file(create_backbone("test_resnet", 10).state_dict(), path)
    first = pair_of(store, f"timm:test_resnet@{path}", mean="0.1,0.2,0.3")
    student = run(store, first)
    second = pair_of(store, f"trial:{first.uid}")
    assert second.dataset.mean == (0.1, 0.2, 0.3)
    metrics = [folder.result() for folder in (student, run(store, second))]
    assert metrics[0] is not None
    assert metrics[1] is not None
    assert metrics[1].metrics["test/accuracy_white_box"] == metrics[0].metrics["test/accuracy_fp"]
