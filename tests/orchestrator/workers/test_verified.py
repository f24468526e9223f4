"""What an assessment measured or trained runs in ONNX Runtime in its worker, or one line says why it cannot."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.verifications import read_verified
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers.trial import open_trial
from orchestrator.workers.verified import verify_result
from search_spaces.datasets import dataset_spec
from search_spaces.grids.assess import assess_grid
from search_spaces.grids.trained import TrainingData
from search_spaces.models import model_spec
from search_spaces.stages.assessment import HEAVY, LIGHT
from trainables.checkpoints import with_prefix
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST
from trainables.deployment.export import save
from trainables.models.backbones import create_backbone
from trainables.runtimes.onnx_export import exported_plain
from trainables.stages.pair import POLICY, STUDENT, Pair
from trainables.training_loop import StageResult

DIGITS = tuple("0123456789")
NUM_IMAGES = 24


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "n.safetensors"
    save_file(create_backbone("test_resnet", 10).state_dict(), path)
    return path


def plan_of(weights: Path, kind: str = "timm:test_resnet@", **settings: object) -> Plan:
    grid = assess_grid(
        model_spec(f"{kind}{weights}"),
        dataset_spec("digits"),
        architecture="test_resnet",
        num_sites=15,
        **{"budgets": [60], **settings},  # type: ignore[arg-type]
    )
    return build_plan(grid, lambda _: 15)


def about_network(plan: Plan) -> Node:
    return next(node for node in plan.nodes if node.name.endswith("/network"))


def verified(store: Store, node: Node, result: StageResult) -> None:
    trial = trial_of(store, node)
    trial.write_recipe(node, None)
    running, _ = open_trial(store, trial, None, use_gpu=False)
    verify_result(store, trial, running, result, NUM_IMAGES)


NOTHING = StageResult(metrics={}, checkpoint={}, predictions={})


def test_the_network_of_an_assessment_runs_at_8_bits_on_its_first_test_images(store: Store, weights: Path) -> None:
    node = about_network(plan_of(weights))
    verified(store, node, NOTHING)
    each = read_verified(trial_of(store, node))
    assert each is not None
    assert each.found is not None
    assert (each.verdict, each.dataset, each.found.num_images) == ("neither", "digits at 32 px", NUM_IMAGES)
    running, _ = open_trial(store, trial_of(store, node), None, use_gpu=False)
    split = running.data.splits[TEST]
    network = create_backbone("test_resnet", 10).eval()
    network.load_state_dict(load_file(weights))
    right_B = network(evaluation_batch(split.images_BCHW[:NUM_IMAGES], running.data.view)).argmax(1)
    assert each.found.accuracy_fp == (right_B == split.labels_B[:NUM_IMAGES]).double().mean().item()


def test_an_onnx_file_is_verified_as_the_module_that_it_was_exported_from(
    store: Store, weights: Path, tmp_path: Path
) -> None:
    network = create_backbone("test_resnet", 10).eval()
    network.load_state_dict(load_file(weights))
    path = tmp_path / "n.onnx"
    save(exported_plain(network, (32, 32), outputs="answers"), path, {})
    found = []
    for kind, file in (("timm:test_resnet@", weights), ("onnx:", path)):
        node = about_network(plan_of(file, kind))
        verified(store, node, NOTHING)
        each = read_verified(trial_of(store, node))
        assert each is not None
        assert each.found is not None, each.reason
        found.append(each.found)
    assert found[0].accuracy_fp == found[1].accuracy_fp
    assert found[0].int8.accuracy == found[1].int8.accuracy
    assert found[1].exported.disagreements <= 2


def test_a_pair_runs_at_the_bits_of_the_policy_that_was_just_trained(store: Store, weights: Path) -> None:
    plan = plan_of(weights, train=TrainingData(num_images=1000, class_names=DIGITS))
    node = next(each for each in plan.nodes if each.rung == "pair")
    torch.manual_seed(1)
    pair = Pair(create_backbone("test_resnet", 10).eval(), node.recipe).eval().requires_grad_(False)
    tensors = with_prefix(STUDENT, pair.student.model.state_dict()) | with_prefix(POLICY, pair.policy.state_dict())
    verified(store, node, StageResult(metrics={}, checkpoint=tensors, predictions={}))
    each = read_verified(trial_of(store, node))
    assert each is not None
    assert each.found is not None
    running, _ = open_trial(store, trial_of(store, node), None, use_gpu=False)
    split = running.data.splits[TEST]
    images = evaluation_batch(split.images_BCHW[:NUM_IMAGES], running.data.view)
    right_B = pair.student(images, pair.bit_widths(images)).argmax(1) == split.labels_B[:NUM_IMAGES]
    assert each.found.simulated.accuracy == right_B.double().mean().item()


def test_what_cannot_be_exported_is_one_line_and_no_error(store: Store, weights: Path) -> None:
    node = about_network(plan_of(weights, range_scope="batch"))
    verified(store, node, NOTHING)
    each = read_verified(trial_of(store, node))
    assert each is not None
    assert (each.found, each.verdict) == (None, "not run")
    assert "have no ONNX operator" in each.reason


def test_only_what_is_about_the_network_and_what_is_trained_is_verified(weights: Path) -> None:
    plan = plan_of(weights, train=TrainingData(num_images=1000, class_names=DIGITS), companions=True)
    images = {node.rung or node.name.rpartition("/")[2]: plan.verified_images(node) for node in plan.nodes}
    trained = {"policy_robust": 256, "policy_detrimental": 256, "pair": 256}
    assert images == {"60b": 0, "network": 256, "companions": 0} | trained
    heavy = plan_of(weights, effort=HEAVY)
    assert LIGHT.scanned_images == 4 * HEAVY.scanned_images
    assert heavy.verified_images(about_network(heavy)) == 64
