"""Sites are activations of examples: what a network computes of its own tables, as biases of positions, has none."""

import inspect

import pytest
import timm
import torch
from torch import Tensor, fx, nn

from trainables.models.backbones import create_backbone
from trainables.quant.sites import find_sites, trace
from trainables.quant.student import QuantizedStudent

# timm's networks with a small network of relative positions, and one without for comparison.
NETWORKS = {
    "test_vit_relpos": 37,
    "swinv2_tiny_window8_256": 40,
    "maxvit_rmlp_pico_rw_256": 148,
    "swinv2_cr_tiny_224": 52,
    "coatnet_rmlp_nano_rw_224": 76,
    "vit_relpos_small_patch16_224": 49,
    "vit_srelpos_small_patch16_224": 49,
    "test_vit": 25,
}


class Shapes(fx.Interpreter):
    """Shapes of what nodes return."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result: object = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


@pytest.mark.parametrize("placement", ["outputs", "inputs"])
@pytest.mark.parametrize("architecture", ["test_vit_relpos", "swinv2_tiny_window8_256", "test_vit"])
def test_every_site_grows_with_the_batch(architecture: str, placement: str) -> None:
    model = create_backbone(architecture, 2).eval()
    _, height, width = model.pretrained_cfg["input_size"]  # type: ignore[index]
    graph = trace(model)
    shapes = []
    for size in (1, 2):
        interpreter = Shapes(model, graph)
        with torch.no_grad():
            interpreter.run(torch.zeros(size, 3, height, width), *_defaults(model))
        shapes.append(interpreter.shapes)
    for site in find_sites(model, placement):  # type: ignore[arg-type]
        one, two = (found[site.node] for found in shapes)
        assert two == (2 * one[0], *one[1:]), site


def _defaults(model: nn.Module) -> list[object]:
    return [parameter.default for parameter in inspect.signature(model.forward).parameters.values()][1:]


@pytest.mark.parametrize("architecture", NETWORKS)
def test_layers_of_position_biases_are_no_sites(architecture: str) -> None:
    model = create_backbone(architecture, 2)
    sites = find_sites(model)
    assert len(sites) == NETWORKS[architecture]
    assert not [site.name for site in sites if any(part in site.name for part in ("rel_pos", "cpb_mlp", "meta_mlp"))]


@pytest.mark.parametrize("architecture", ["test_vit_relpos"])
def test_a_network_with_position_biases_is_quantized(architecture: str) -> None:
    torch.manual_seed(0)
    student = QuantizedStudent(timm.create_model(architecture, num_classes=2).eval())
    images = torch.randn(3, 3, *student.model.pretrained_cfg["input_size"][1:])  # type: ignore[index]
    answers = student(images, torch.full((3, student.num_sites), 8))
    assert answers.isfinite().all()
    # What an image gets does not depend on those beside it.
    alone = student(images[:1], torch.full((1, student.num_sites), 8))
    torch.testing.assert_close(answers[:1], alone, rtol=1e-3, atol=1e-3)


class Own(nn.Module):
    """Layers on a parameter, on the image, and on a buffer that is added to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.bias = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 4)
        self.register_buffer("grid", torch.randn(1, 4))
        self.mixed, self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        inner: Tensor = self.layer(images.mean((1, 2))) @ self.bias(self.table).relu()
        return self.head(self.mixed(inner + self.grid))


def test_layers_on_parameters_and_buffers_alone_are_no_sites() -> None:
    assert [site.name for site in find_sites(Own())] == ["layer", "mixed"]
    assert [site.name for site in find_sites(Own(), "inputs")] == ["layer.input", "mixed.input", "head.input"]
