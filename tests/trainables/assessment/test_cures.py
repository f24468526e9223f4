"""Cures repair a network that was rescaled to fail, and are written with the names of its own layers."""

import fnmatch
import json

import onnx
import pytest
import torch
import yaml

from tests.trainables.models.networks import create, noise
from trainables.assessment.repairs.cures import Cure, Measure, smallest_sites, standard_cures
from trainables.assessment.repairs.files import (
    modelopt_rules,
    onnxruntime_exclusions,
    our_yaml,
    readers,
    torchao_exclusions,
)
from trainables.models.links import find_links, rescale
from trainables.quant.sites import find_sites
from trainables.quant.student import QuantizedStudent


@pytest.fixture(scope="module")
def failing() -> tuple[QuantizedStudent, torch.Tensor, Measure]:
    """A network with one scaled channel in two links, and the share of images on which 8 bits move it little."""
    model, images = create("test_resnet"), noise(48)
    links = [link for link in find_links(model) if link.kind == "relu"]
    for link in links[2:4]:
        rescale(model, link, 3, 2.0**14)
    student = QuantizedStudent(model).eval()
    exact = model(images)

    def agreement(network: QuantizedStudent) -> float:
        with torch.inference_mode():
            logits = network(images, torch.full((len(images), network.num_sites), 8))
        error = (logits - exact).norm(dim=1) / (exact - exact.mean(0)).norm(dim=1)
        return (error < 0.3).double().mean().item()

    return student, images, agreement


def test_exact_cures_and_ranges_per_channel_restore_a_rescaled_network(failing) -> None:
    student, images, agreement = failing
    assert agreement(student) < 0.1
    by_kind = {cure.kind: agreement(cure.applied_to(student, images[:4])) for cure in standard_cures()}
    assert by_kind["equalization"] >= 0.85
    assert by_kind["channel_ranges"] >= 0.85


def test_the_smallest_set_of_sites_is_that_of_the_scaled_channels(failing) -> None:
    student, images, agreement = failing
    scaled = [site for link in find_links(student.model) if link.kind == "relu" for site in link.sites][2:4]
    # The ranking is misled by one site that does not matter.
    ranking = [scaled[0], 0, scaled[1], *range(1, 3)]
    cure = smallest_sites(student, images[:4], ranking, agreement, target=0.85)
    assert cure is not None
    assert cure.sites == tuple(sorted(scaled))
    assert agreement(cure.applied_to(student, images[:4])) >= 0.85
    assert smallest_sites(student, images[:4], ranking, agreement, target=0.85, most=1) is None
    enough = smallest_sites(student, images[:4], ranking, agreement, target=0.0)
    assert enough is not None
    assert enough.sites == ()


def test_a_cure_leaves_the_network_as_it_is_and_holds_against_any_allocation(failing) -> None:
    student, images, agreement = failing
    before = agreement(student)
    repaired = Cure(kind="sites", sites=(0, 5), bit_width=8).applied_to(student, images[:4])
    assert agreement(student) == before
    low, pinned = torch.full((4, student.num_sites), 3), torch.full((4, student.num_sites), 3)
    pinned[:, [0, 5]] = 8
    assert torch.equal(repaired(images[:4], low), student(images[:4], pinned))


def test_yaml_names_sites_and_settings() -> None:
    sites = find_sites(create("test_resnet"))
    cure = Cure(kind="sites", sites=(0, 3), accuracies=(("uniform", 0.5),))
    assert yaml.safe_load(our_yaml(cure, sites)) == {
        "cure": "sites",
        "bit_width": "full precision",
        "sites": ["conv1.0", "layer1.0.conv1"],
        "accuracies": {"uniform": 0.5},
    }
    assert yaml.safe_load(our_yaml(Cure(kind="quantile_ranges", scale_quantile=0.99), sites))["scale_quantile"] == 0.99
    assert yaml.safe_load(our_yaml(Cure(kind="channel_ranges"), sites))["range_scope"] == "channel"


def test_readers_of_a_site_are_the_next_layers_across_one_addition() -> None:
    model = create("test_resnet")
    site = {site.name: site for site in find_sites(model)}
    assert readers(model, [site["layer1.0.conv1"]]) == ["layer1.0.conv2"]
    assert readers(model, [site["layer1.0.conv2"]]) == ["layer2.0.conv1", "layer2.0.downsample.1"]
    assert readers(model, [site["layer4.0.conv2"]]) == ["fc"]


@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_exclusions_are_names_of_the_exported_file(tmp_path) -> None:
    model = create("test_resnet")
    torch.onnx.export(model, (noise(1),), str(tmp_path / "model.onnx"), dynamo=False)
    nodes = {node.name: node for node in onnx.load(tmp_path / "model.onnx").graph.node}
    named = {name for name in json.loads(onnxruntime_exclusions(model, find_sites(model))) if name in nodes}
    read_by_nothing = {name for name, node in nodes.items() if node.op_type in ("Conv", "Gemm")} - named
    # The first layer reads the image, which is no site.
    assert read_by_nothing == {"/conv1/conv1.0/Conv"}


def test_filters_of_torchao_and_modelopt_hold_qualified_names_in_their_own_form() -> None:
    model = create("test_vit")
    sites = [site for site in find_sites(model) if site.name == "blocks.1.mlp.fc1"]
    assert json.loads(torchao_exclusions(model, sites)) == ["blocks.1.mlp.fc2"]
    (rule,) = json.loads(modelopt_rules(model, sites))
    assert rule["enable"] is False
    assert fnmatch.fnmatch("blocks.1.mlp.fc2.input_quantizer", rule["quantizer_name"])
    assert not fnmatch.fnmatch("blocks.1.mlp.fc1.input_quantizer", rule["quantizer_name"])
