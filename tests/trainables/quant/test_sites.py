"""Sites: how many, which tensors, in which order."""

import logging
import operator

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from search_spaces.errors import ConfigError
from trainables.quant.sites import find_sites, sites_of_graph, trace


def names(model: nn.Module) -> list[str]:
    return [site.name for site in find_sites(model)]


def nodes(model: nn.Module) -> dict[str, str]:
    return {site.name: site.node for site in find_sites(model)}


@pytest.mark.parametrize(
    ("architecture", "num_sites"),
    [("resnet18", 20), ("mobilenetv4_conv_medium", 77), ("regnetx_016", 59), ("test_resnet", 15)],
)
def test_number_of_sites_is_what_the_budgets_of_the_paper_imply(architecture, num_sites):
    assert len(find_sites(timm.create_model(architecture, num_classes=37))) == num_sites


@pytest.mark.parametrize(
    "architecture",
    ["resnet10t", "efficientnet_b0", "convnext_atto", "densenet121", "test_vit", "test_byobnet"],
)
def test_every_layer_but_the_classifier_is_a_site(architecture):
    model = timm.create_model(architecture, num_classes=5)
    layers = {name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    classifier = {name for name, module in model.named_modules() if module is model.get_classifier()}
    sites = find_sites(model)
    assert {site.name for site in sites} == layers - classifier
    assert [site.index for site in sites] == list(range(len(sites)))


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_traced_and_left_as_they_were(architecture):
    model = timm.create_model(architecture, num_classes=5).train()
    keys, buffers = list(model.state_dict()), dict(model.named_buffers())
    assert len(find_sites(model)) in (49, 52)
    assert list(model.state_dict()) == keys
    assert dict(model.named_buffers()).keys() == buffers.keys()
    assert all(module.training for module in model.modules())


def test_site_is_taken_behind_normalization_and_activation_and_before_the_residual_add():
    taken = nodes(timm.create_model("resnet18", num_classes=5))
    assert taken["conv1"] == "act1"
    assert taken["layer1.0.conv1"] == "layer1_0_act1"
    # act2 comes after the add.
    assert taken["layer1.0.conv2"] == "layer1_0_bn2"
    assert taken["layer2.0.downsample.0"] == "layer2_0_downsample_1"


def test_fused_and_pre_activation_normalizations_are_followed():
    assert nodes(timm.create_model("test_efficientnet", num_classes=5))["conv_stem"] == "bn1"
    dense = nodes(timm.create_model("densenet121", num_classes=5))
    assert dense["features.denseblock1.denselayer1.conv1"] == "features_denseblock1_denselayer1_norm2"
    assert dense["features.denseblock1.denselayer1.conv2"] == "features_denseblock1_denselayer1_conv2"


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = F.dropout(F.gelu(self.bn(self.conv(x))), training=self.training).relu_()
        x = self.again(self.again(x)) + x
        return F.log_softmax(self.fc(x.mean((2, 3))), dim=1)


def test_functional_activations_repeated_calls_and_order_of_execution_are_seen():
    assert names(Functional()) == ["conv", "again", "again#2"]
    assert nodes(Functional()) == {"conv": "relu_", "again": "again", "again#2": "again_1"}


def test_identities_and_dropouts_are_passed_but_never_become_the_site():
    body = [nn.Conv2d(3, 4, 1), nn.Identity(), nn.Dropout(), nn.ReLU(), nn.Dropout(), nn.Flatten()]
    assert nodes(nn.Sequential(*body, nn.Linear(4, 2))) == {"0": "_3"}


def test_classifier_of_other_models_is_the_last_layer_before_the_output():
    resnet = torchvision.models.resnet18(weights=None, num_classes=5)
    assert len(names(resnet)) == 20
    assert "fc" not in names(resnet)
    # The classifier of squeezenet is a convolution, followed by an activation and a pool.
    squeezenet = torchvision.models.squeezenet1_1(weights=None, num_classes=5)
    assert "classifier.1" not in names(squeezenet)
    assert len(names(squeezenet)) == 25


def test_a_headless_timm_model_has_a_site_for_every_layer():
    assert len(names(timm.create_model("test_resnet", num_classes=0))) == 15


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


def test_a_model_that_cannot_be_traced_is_refused_with_its_name_and_the_reason():
    with pytest.raises(ConfigError, match=r"model Branching cannot be traced.*control flow"):
        find_sites(Branching())


def test_a_model_without_sites_is_refused():
    with pytest.raises(ConfigError, match="no site to quantize"):
        find_sites(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def test_layers_that_tracing_does_not_reach_are_reported(caplog):
    with caplog.at_level(logging.WARNING):
        find_sites(timm.create_model("test_nfnet", num_classes=5))
    assert "28 layers of NormFreeNet have no site" in caplog.text


def test_nothing_is_reported_of_a_network_whose_layers_all_have_a_site_or_where_nobody_asks(caplog):
    unreached = timm.create_model("test_nfnet", num_classes=5)
    with caplog.at_level(logging.WARNING):
        find_sites(timm.create_model("test_resnet", num_classes=5))
        sites_of_graph(unreached, trace(unreached), warns=False)
    assert caplog.text == ""


def test_optional_inputs_keep_their_defaults_and_constants_follow_the_model():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.fc = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x, mask=None):
            x = self.first(x) if mask is None else self.first(x) * mask
            return self.fc(x + torch.ones(3))

    model = Optional()
    keys = list(model.state_dict())
    assert names(model) == ["first"]
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_buffers()] == ["_tensor_constant0"]
    graph = trace(model)
    assert graph.find_nodes(op="placeholder")[0].name == "x"
    # The branch without a mask was followed, so no mask is multiplied with.
    assert [node.name for node in graph.find_nodes(op="call_function", target=operator.mul)] == []
