"""Who breaks a network: three verdicts by networks that nothing was tuned on, and one that a package ships."""

import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from search_spaces.datasets import dataset_spec
from search_spaces.errors import ConfigError
from tests.trainables.deployment.digit_networks import CPU, depthwise_network, plain_network, test_images
from tests.trainables.runtimes.onnx_files import rescaled, shipped_classifier
from tests.trainables.runtimes.text_images import CLASSES, write_text_images
from trainables.assessment.subject import Images
from trainables.data.images import TEST
from trainables.data.loading import load_dataset
from trainables.deployment.culprits import WHOLE, Part, find_culprits
from trainables.deployment.export import bits_file, plain_file
from trainables.deployment.record import Verification, measured_run, verdict_of
from trainables.deployment.verify import Progress, verify, verify_each
from trainables.models.links import Link, find_links, rescale
from trainables.quant.random_allocation import random_allocations
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnxruntime import OnnxNetwork, open_session
from trainables.runtimes.torchao import IS_INSTALLED

needs_torchao = pytest.mark.skipif(not IS_INSTALLED, reason="torchao is not installed: it is an extra")

MOST_DISAGREEMENTS = 2
"""Images on which simulation and exported file may differ: values at a boundary of two levels."""


def random_network() -> nn.Module:
    return timm.create_model("test_resnet", num_classes=10).eval()


def small_network() -> nn.Module:
    """Two convolutions with random weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers).eval()


def student_of(network: nn.Module) -> QuantizedStudent:
    return QuantizedStudent(copy.deepcopy(network)).eval()


def test_a_healthy_network_is_broken_by_neither_and_its_file_agrees_with_the_simulation():
    steps: list[Progress] = []
    found = verify(student_of(plain_network()), test_images(), on_progress=steps.append)
    assert (found.verdict, found.num_images, found.culprits) == ("neither", 359, None)
    assert found.accuracy_fp > 0.95
    assert found.exported.disagreements <= MOST_DISAGREEMENTS
    assert abs(found.int8.accuracy - found.accuracy_fp) < 0.03
    assert found.exported.largest_difference < found.int8.largest_difference
    by_step = {each.step: (each.done, each.total) for each in steps}
    assert [by_step[step] for step in ("full precision", "simulation", "exported file", "int8")] == [(359, 359)] * 4


@pytest.mark.parametrize("link", [0, 2])
def test_a_rescaled_network_is_broken_by_the_format(link):
    network = copy.deepcopy(plain_network())
    rescale(network, find_links(network)[link], 0, 2.0**12)
    found = verify(student_of(network), test_images())
    assert (found.verdict, found.culprits) == ("format", None)
    assert found.accuracy_fp > 0.95
    assert max(found.simulated.accuracy, found.exported.accuracy, found.int8.accuracy) < 0.5
    assert found.exported.disagreements <= MOST_DISAGREEMENTS


def depthwise_link(network: nn.Module) -> Link:
    """The first link that ends at a depthwise convolution."""
    ends = {name for name, each in network.named_modules() if isinstance(each, nn.Conv2d) and each.groups > 1}
    return next(link for link in find_links(network) if set(link.ends) <= ends)


def test_depthwise_weights_of_one_scale_are_broken_by_the_runtime_at_the_layer_that_has_them():
    healthy = verify(student_of(depthwise_network()), test_images())
    assert healthy.verdict == "neither"
    network = copy.deepcopy(depthwise_network())
    link = depthwise_link(network)
    # A channel whose activation is small and whose weights are large: one scale for all weights leaves the others none.
    rescale(network, link, 0, 2.0**-8)
    found = verify(student_of(network), test_images())
    assert found.verdict == "runtime"
    assert abs(found.accuracy_fp - healthy.accuracy_fp) < 0.01
    assert abs(found.simulated.accuracy - found.accuracy_fp) < 0.02
    assert found.int8.accuracy < 0.5
    assert found.culprits is not None
    (node,) = found.culprits.nodes
    assert (f"{found.culprits.reverted[0].layer}", node) == (link.ends[0], found.culprits.reverted[0].node)
    assert found.culprits.accuracy > found.accuracy_fp - 0.03
    assert found.as_json()["nodes"] == [node]


def test_the_bits_of_a_policy_are_those_that_both_run_with():
    network = student_of(plain_network())
    allocations = iter(random_allocations(359, network.num_sites, range(3, 11), 60, seed=(0,)).split(32))
    drawn: dict[int, torch.Tensor] = {}

    def choose(images_BCHW: torch.Tensor) -> torch.Tensor:
        # By content, as a policy does: the same image gets the same bits.
        key = int(images_BCHW.double().sum().item() * 1e6)
        if key not in drawn:
            drawn[key] = next(allocations)[: len(images_BCHW)]
        return drawn[key]

    found = verify(network, test_images(), choose_bits=choose)
    assert found.exported.disagreements <= MOST_DISAGREEMENTS
    images = test_images()
    with torch.no_grad():
        expected = torch.cat(
            [network(x, choose(x)).argmax(1) for x in (images.read(at, min(at + 32, 359)) for at in range(0, 359, 32))]
        )
    assert found.simulated.accuracy == (expected == images.labels_B).double().mean().item()


def test_several_bits_share_what_bits_do_not_change_and_find_what_each_finds_alone():
    network, images = student_of(small_network()), test_images().first(40)

    def four(images_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images_BCHW), network.num_sites), 4)

    steps: list[Progress] = []
    found = verify_each(network, images, [four, None], on_progress=steps.append)
    assert found == [verify(network, images, choose_bits=four), verify(network, images)]
    assert found[0].int8.largest_difference != found[1].int8.largest_difference
    finished = Counter(each.step for each in steps if each.done == each.total > 0)
    assert {step: finished[step] for step in ("full precision", "simulation", "exported file", "int8")} == {
        "full precision": 1,
        "simulation": 2,
        "exported file": 2,
        "int8": 1,
    }


def test_a_verification_is_the_same_after_a_way_through_json():
    network = copy.deepcopy(depthwise_network())
    rescale(network, depthwise_link(network), 0, 2.0**-8)
    found = verify(student_of(network), test_images().first(100))
    assert found.verdict == "runtime"
    assert Verification.from_json(json.loads(json.dumps(found.as_json()))) == found
    with pytest.raises(ValueError, match="no verification"):
        Verification.from_json({"runs": []})


@needs_torchao
def test_torchao_runs_the_linear_layers_as_its_formula_says():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)]
    module, images = nn.Sequential(*layers).eval(), test_images().first(12)
    found = verify(student_of(module), images)
    assert found.torchao is not None
    assert found.torchao_note.endswith("2 of the 3 layers of this network.")
    with torch.no_grad():
        exact, expected = module(images.all()), with_linear_int8(module)(images.all())
        simulated = student_of(module)(images.all(), torch.full((12, 2), 8))
    assert found.torchao.accuracy == (expected.argmax(1) == images.labels_B).double().mean().item()
    assert found.torchao.largest_difference == pytest.approx((expected - simulated).abs().max().item(), abs=1e-5)
    assert (expected - exact).abs().max() > 1e-3


def with_linear_int8(module: nn.Module) -> nn.Module:
    """Dynamic int8 of Linear layers, written again: inputs symmetric per token, weights symmetric per output."""

    def quantized(x: torch.Tensor) -> torch.Tensor:
        scale = (x.abs().amax(-1, keepdim=True) / 127.5).clamp(min=1e-12)
        return (x / scale).round().clamp(-128, 127) * scale

    copied = copy.deepcopy(module)
    for layer in copied.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = quantized(layer.weight.data)
            layer.register_forward_pre_hook(lambda _, inputs: (quantized(inputs[0]),))
    return copied


@needs_torchao
def test_a_network_without_linear_layers_is_one_line_of_torchao_and_no_run():
    found = verify(student_of(small_network()), test_images().first(5))
    assert found.torchao is None
    assert found.torchao_note.endswith("0 of the 2 layers of this network.")
    assert [run["name"] for run in found.as_json()["runs"]][-1] == "int8 of ONNX Runtime"


def test_a_network_is_verified_without_torchao(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainables.runtimes.torchao.IS_INSTALLED", False)
    found = verify(student_of(small_network()), test_images().first(8))
    assert (found.torchao, found.torchao_note, found.as_json()["torchao"]) == (None, "", None)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Images:
    folder = write_text_images(tmp_path_factory.mktemp("words"), 120)
    files = sorted(folder.glob("*/*.png"))
    images_BHWC = torch.from_numpy(np.stack([np.array(Image.open(file)) for file in files]))
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float() / 255
    labels_B = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    return Images.of_tensors((images_BCHW - 0.5) / 0.5, labels_B, CPU)


def test_a_shipped_classifier_is_broken_by_neither_and_with_a_rescaled_link_by_the_format(tmp_path, words):
    as_shipped = verify(OnnxNetwork(shipped_classifier()), words)
    places = {"norm": "BatchNormalization@5", "layer": "Conv@8", "channel": 3, "factor": 2.0**12}
    changed = verify(OnnxNetwork(rescaled(shipped_classifier(), tmp_path / "n.onnx", **places)), words)
    assert as_shipped.verdict == "neither", as_shipped.reason
    assert changed.verdict == "format", changed.reason
    assert as_shipped.accuracy_fp == changed.accuracy_fp > 0.9
    assert as_shipped.exported.disagreements <= MOST_DISAGREEMENTS


def photographs(shared_data: Path) -> Images:
    if not (shared_data / "cifar10" / "test.parquet").is_file():
        pytest.skip("CIFAR-10 is not on this machine")
    data = load_dataset(dataset_spec("cifar10", train_images=20, test_images=200), shared_data)
    return Images.of_split(data.splits[TEST], data.view, torch.arange(10))


def test_simulation_and_file_agree_on_real_photographs_whatever_the_weights(shared_data: Path):
    torch.manual_seed(0)
    found = verify(student_of(timm.create_model("resnet18", num_classes=10).eval()), photographs(shared_data))
    assert found.num_images == 200
    assert found.exported.disagreements <= MOST_DISAGREEMENTS


def test_a_transformer_and_its_file_differ_no_more_than_by_the_last_bit_of_a_pixel(shared_data: Path):
    """Attention spreads a level that was rounded otherwise over all tokens: the simulation is as far from itself."""
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=32, patch_size=4).eval()
    student = student_of(network.requires_grad_(False))
    images = photographs(shared_data)
    bits = torch.full((len(images), student.num_sites), 8)
    session = open_session(bits_file(student, (32, 32)), name="test")
    with torch.inference_mode():
        x = images.all()
        simulated, other = student(x, bits), student(torch.nextafter(x, torch.full_like(x, torch.inf)), bits)
        made = torch.from_numpy(session.run(None, {"images": x.numpy(), "bit_width_BL": bits.int().numpy()})[0])
    assert (made - simulated).norm() < 2 * (other - simulated).norm()
    changed_B = made.argmax(1) != simulated.argmax(1)
    of_itself = (other.argmax(1) != simulated.argmax(1)).sum()
    assert changed_B.sum() <= of_itself + MOST_DISAGREEMENTS
    best_B2 = simulated.topk(2).values
    assert (best_B2[:, 0] - best_B2[:, 1])[changed_B].max() < 0.1 * simulated.std()


def test_no_images_are_one_line():
    none = Images.of_tensors(torch.zeros(0, 3, 32, 32), torch.zeros(0), CPU)
    with pytest.raises(ConfigError, match="no image to verify on"):
        verify(student_of(random_network()), none)


@pytest.mark.parametrize(
    ("simulation_fails", "runtime_fails", "verdict"),
    [(True, True, "format"), (False, True, "runtime"), (False, False, "neither"), (True, False, "neither")],
)
def test_a_verdict_needs_the_runtime_to_fail(simulation_fails, runtime_fails, verdict):
    assert verdict_of(simulation_fails, runtime_fails) == verdict


def test_a_run_counts_pairs_and_shows_the_images_at_a_boundary():
    full = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    simulated = full.copy()
    run = full.copy()
    run[0] = [0.4, 0.5, 0, 0]
    simulated[0] = [0.5, 0.49, 0, 0]
    found = measured_run("r", run, labels_B=np.array([0, 1, 2, 3, 0, 0]), full_BK=full, simulated_BK=simulated)
    assert (found.accuracy, found.drop, found.disagreements) == (4 / 6, 1 / 6, 1)
    (shown,) = found.disagreeing
    assert (shown.image, shown.simulated, shown.runtime, round(shown.margin, 6)) == (0, 0, 1, 0.01)
    assert not found.fails


class Counted:
    """Stands for a runtime in which a network fails unless both of two nodes are at full precision."""

    def __init__(self, needed: set[str]) -> None:
        self.needed = needed

    def of_model(self, step: str, model: onnx.ModelProto, count: int | None = None, part: Part = WHOLE) -> np.ndarray:
        left = {node.name.removesuffix("_quant") for node in model.graph.node if node.op_type == "ConvInteger"}
        is_well = not self.needed & left
        logits_BK = np.zeros((100, 2), np.float32)
        logits_BK[:, 0] = len(self.needed & left)
        logits_BK[:, 1] = 0.5 if is_well else 0.0
        return logits_BK[:count]


def test_nodes_that_break_a_network_together_are_all_named_and_no_other():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3 if not place else 4, 4, 1) for place in range(5)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    plain = plain_file(QuantizedStudent(network).eval(), (4, 4))
    convolutions = [node.name for node in plain.graph.node if node.op_type == "Conv"]
    needed = {convolutions[1], convolutions[3]}
    full = np.tile(np.array([[0.0, 0.5]], np.float32), (100, 1))
    found = find_culprits(plain, Counted(needed), labels_B=np.ones(100, np.int64), full_BK=full)
    assert set(found.nodes) == needed
    assert found.accuracy == 1.0
    assert {each.node: each.layer for each in found.reverted}[convolutions[3]] == "3"


def test_json_holds_the_names_that_other_tools_rely_on():
    found = verify(student_of(random_network()), test_images().first(40))
    written = json.loads(json.dumps(found.as_json()))
    first = ["num_images", "accuracy_fp", "accuracy_simulated", "accuracy_runtime", "disagreements", "verdict", "nodes"]
    assert list(written)[: len(first)] == first
    assert isinstance(found, Verification)
    assert (written["num_images"], written["verdict"], written["nodes"]) == (40, "neither", [])
    assert {"flags", "has_vnni", "name"} <= written["processor"].keys()
