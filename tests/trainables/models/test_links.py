"""Channel links: what is found, and that scaling a channel leaves full precision as it is, to the last bit."""

import pytest
import torch
from torch import nn

from search_spaces.errors import ConfigError
from tests.trainables.models.networks import create, noise
from trainables.models.links import Link, find_links, rescale
from trainables.quant.student import QuantizedStudent

ARCHITECTURES = ("test_resnet", "mobilenetv4_conv_small_035", "regnetx_002", "test_vit", "test_convnext")
FACTOR = 2.0**10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_power_of_two_in_any_link_keeps_every_logit_to_the_last_bit(architecture: str) -> None:
    model, images = create(architecture), noise()
    links = find_links(model)
    with torch.inference_mode():
        expected = model(images)
        for link in links:
            for channel in (0, link.num_channels - 1):
                rescale(model, link, channel, FACTOR)
            assert torch.equal(model(images), expected), link.name
    assert links


def test_another_factor_keeps_the_logits_up_to_rounding() -> None:
    model, images = create("test_resnet"), noise()
    expected = model(images)
    for link in find_links(model):
        rescale(model, link, 1, 3.0)
    assert not torch.equal(model(images), expected)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["test_resnet", "mobilenetv4_conv_small_035", "test_vit"])
def test_the_activation_of_a_links_site_grows_by_the_factor(architecture: str) -> None:
    student, images = QuantizedStudent(create(architecture)).eval(), noise()
    links = [link for link in find_links(student.model) if link.sites]
    before = activations(student, images)
    for link in links:
        rescale(student.model, link, 2, FACTOR)
    after = activations(student, images)
    for link in links:
        for site in link.sites:
            old, new = (
                shown[site].select(student.sites[site].channel_axis, link.first + 2) for shown in (before, after)
            )
            assert torch.equal(new, FACTOR * old), link.name


def kinds(architecture: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for link in find_links(create(architecture)):
        found.setdefault(link.kind, []).append(link.name)
    return found


def test_links_of_a_resnet_are_those_inside_blocks_and_the_streams_between() -> None:
    found = kinds("test_resnet")
    assert set(found) == {"relu", "residual"}
    assert "layer1.0.bn1 -> layer1.0.conv2" in found["relu"]
    assert "layer2.0.bn2 (+1) -> layer3.0.conv1 (+1)" in found["residual"]
    assert len(found["relu"]) == 7


def test_links_of_a_mobilenet_run_through_its_linear_bottlenecks_and_depthwise_layers() -> None:
    found = kinds("mobilenetv4_conv_small_035")
    assert "blocks.2.0.dw_start.bn -> blocks.2.0.pw_exp.conv" in found["linear"]
    assert "blocks.2.0.pw_exp.bn -> blocks.2.0.dw_mid.conv" in found["relu"]
    assert "blocks.2.0.dw_mid.bn -> blocks.2.0.pw_proj.conv" in found["relu"]


def test_links_of_a_transformer_are_its_attention_and_the_gains_of_its_norms() -> None:
    found = kinds("test_vit")
    assert set(found) == {"norm", "attention"}
    assert "blocks.0.norm2 -> blocks.0.mlp.fc1" in found["norm"]
    assert found["attention"][:2] == [
        "blocks.0.attn.qkv (q) -> blocks.0.attn.qkv (k)",
        "blocks.0.attn.qkv (v) -> blocks.0.attn.proj",
    ]


class Branches(nn.Module):
    """What makes no link: a bending activation, a gate, a layer that runs twice, a constant, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gelu, self.gated, self.twice, self.shifted, self.joined, self.plain = (
            nn.Conv2d(3 if first else 4, 4, 1) for first in (True, *[False] * 6)
        )
        self.last = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.gelu(nn.functional.gelu(self.stem(x)))
        x = self.gated(x * x.mean((2, 3), keepdim=True).sigmoid())
        x = self.twice(self.twice(x))
        x = self.shifted(x + 1.0)
        x = self.last(torch.cat([self.joined(x), x], dim=1))
        x = self.plain(nn.functional.relu(x))
        return self.head(nn.functional.leaky_relu(x, 0.1).mean((2, 3)))


def test_only_homogeneous_functions_between_two_layers_make_a_link() -> None:
    torch.manual_seed(0)
    assert [(link.name, link.kind) for link in find_links(Branches().eval())] == [
        ("last -> plain", "relu"),
        ("plain -> head", "relu"),
    ]


def test_a_pooled_map_that_is_flattened_with_its_positions_makes_no_link() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    assert find_links(network.eval()) == []


def test_a_channel_or_factor_out_of_range_is_refused() -> None:
    model = create("test_resnet")
    link: Link = find_links(model)[0]
    with pytest.raises(ConfigError, match="0 to 15"):
        rescale(model, link, 16, 2.0)
    for factor in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="positive and finite"):
            rescale(model, link, 0, factor)


def activations(student: QuantizedStudent, images: torch.Tensor) -> dict[int, torch.Tensor]:
    shown: dict[int, torch.Tensor] = {}
    student.observe(images, None, lambda index, x: shown.update({index: x.clone()}))
    return shown
