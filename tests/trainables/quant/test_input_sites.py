"""Sites at the inputs of layers: what ONNX Runtime's own tool quantizes."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from tests.trainables.models.networks import create, noise
from trainables.assessment.channel_scan import channel_maxima
from trainables.assessment.repairs.files import readers
from trainables.models.links import find_links, rescale
from trainables.quant.sites import LAYER_KINDS, find_sites
from trainables.quant.student import QuantizedStudent


class Residual(nn.Module):
    """Two layers that read one tensor, a residual sum that a layer reads, and one that nothing but a sum reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Sequential(nn.Identity(), nn.Conv2d(8, 8, 1))
        self.last, self.classifier = nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        y = self.left(x) + self.right(x)
        return self.classifier((torch.relu(self.last(y)) + x[:, :6]).mean((2, 3)))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval().requires_grad_(False) if name == "residual" else create(name)


def onnxruntime_dynamic(model: nn.Module, images: Tensor, folder: Path) -> Tensor:
    """Returns the logits after `quantize_dynamic` with signed weights, which are symmetric there as here."""
    plain, quantized = folder / "plain.onnx", folder / "quantized.onnx"
    torch.onnx.export(model, (images,), plain, dynamo=False, input_names=["images"])
    quantize_dynamic(plain, quantized, weight_type=QuantType.QInt8)
    session = onnxruntime.InferenceSession(str(quantized), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


# Their norms are no batch norms, which an export folds into the weights before these are quantized.
@pytest.mark.parametrize("name", ["residual", "test_vit"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_inputs_with_a_range_over_the_batch_are_what_quantize_dynamic_does(name: str, tmp_path: Path) -> None:
    model, images = network(name), noise(8)
    student = QuantizedStudent(model, sites="inputs", range_scope="batch", weight_bit_width=8).eval()
    theirs = onnxruntime_dynamic(model, images, tmp_path)

    def typical_difference(student: QuantizedStudent) -> float:
        # Sums in another order may end on another level, which the transformer's sites hand on: not in most images.
        logits = student(images, torch.full((8, student.num_sites), 8))
        return (logits - theirs).abs().amax(1).median().item()

    assert typical_difference(student) < 1e-5
    for setting in ({"sites": "inputs"}, {"range_scope": "batch"}):
        assert typical_difference(QuantizedStudent(model, weight_bit_width=8, **setting).eval()) > 1e-4


def test_the_image_and_residual_sums_are_sites_and_a_tensor_of_several_readers_is_one() -> None:
    sites = find_sites(network("residual"), "inputs")
    assert [(site.name, site.readers) for site in sites] == [
        ("first.input", ("first",)),
        ("left.input", ("left", "right.1")),
        ("last.input", ("last",)),
        ("classifier.input", ("classifier",)),
    ]
    assert [site.index for site in sites] == [0, 1, 2, 3]
    assert [site.channel_axis for site in sites] == [-3, -3, -3, -1]


@pytest.mark.parametrize("name", ["residual", "test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_every_layer_reads_its_quantized_input_and_nothing_else_changes(name: str) -> None:
    model, images = network(name), noise(2)
    student = QuantizedStudent(model, sites="inputs", weight_bit_width=None).eval()
    quantized: dict[int, Tensor] = {}
    read: dict[str, Tensor] = {}
    layers = {id(layer): layer_name for layer_name, layer in model.named_modules() if isinstance(layer, LAYER_KINDS)}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: read.update({layers[id(layer)]: inputs[0].clone()}))
        for layer in model.modules()
        if isinstance(layer, LAYER_KINDS)
    ]
    bit_width_BL = torch.full((2, student.num_sites), 3)
    student.observe(images, bit_width_BL, lambda site, x: quantized.update({site: x.clone()}))
    for hook in hooks:
        hook.remove()
    assert list(quantized) == list(range(student.num_sites))
    assert {reader for site in student.sites for reader in site.readers} == set(read) == set(layers.values())
    for site in student.sites:
        for reader in site.readers:
            assert torch.equal(read[reader], quantized[site.index])
    assert torch.equal(student(images, torch.zeros_like(bit_width_BL)), model(images))


def test_training_and_evaluation_have_the_same_input_sites_and_options_get_gradients() -> None:
    student = QuantizedStudent(create("test_resnet"), sites="inputs").train()
    selection = torch.zeros(4, student.num_sites, 2)
    selection[..., 0] = 1
    student.forward_options(noise(4), selection.requires_grad_(), (3, 8)).square().sum().backward()
    assert selection.grad is not None
    assert (selection.grad != 0).any(dim=(0, 2)).all()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_links_name_the_inputs_that_hold_their_channels_and_cures_leave_out_their_readers(name: str) -> None:
    model = network(name)
    sites = find_sites(model, "inputs")
    assert readers(model, sites[2:4]) == [*sites[2].readers, *sites[3].readers]
    links = [link for link in find_links(model, "inputs") if link.sites]
    assert links
    for link in links:
        read = {reader for index in link.sites for reader in sites[index].readers}
        assert set(link.ends) <= read
    loud = next(link for link in links if link.kind in ("relu", "norm"))
    student = QuantizedStudent(model, sites="inputs").eval()
    before = channel_maxima(student, [noise()])[loud.sites[-1]]
    rescale(student.model, loud, 1, 2.0**6)
    after = channel_maxima(student, [noise()])[loud.sites[-1]]
    assert torch.allclose(after[:, loud.first + 1], 2.0**6 * before[:, loud.first + 1])
