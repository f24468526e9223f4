"""An exported network against the student that it was made of: every bit-width, every image by itself."""

import json

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper
from torch import nn

from search_spaces.errors import ConfigError, UnwritableError
from tests.trainables.runtimes.onnx_files import head, random_weights, write
from trainables.quant.affine import fake_quantize
from trainables.quant.student import QuantizedStudent
from trainables.quant.weights import fake_quantize_weights
from trainables.runtimes.onnx_bits import IMAGES, LOGITS, OPSET, bits_model
from trainables.runtimes.onnx_export import exported_places, exported_plain
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS
from trainables.runtimes.onnx_write import read_metadata, write_onnx
from trainables.runtimes.onnxruntime import OnnxNetwork, open_session

NUM_IMAGES = 17
"""Odd, and one for every bit-width from 0 to 16."""


def images(size: int = 32, num_images: int = NUM_IMAGES) -> torch.Tensor:
    return torch.randn(num_images, 3, size, size, generator=torch.Generator().manual_seed(1))


def answers(model: onnx.ModelProto, x: torch.Tensor, bit_width_BL: torch.Tensor) -> torch.Tensor:
    feeds = {IMAGES: x.numpy(), BIT_WIDTHS: bit_width_BL.numpy().astype(np.int32)}
    (logits_BK,) = open_session(model, name="test").run([LOGITS], feeds)
    return torch.from_numpy(logits_BK)


class Shown(nn.Module):
    """Pools nothing: its logits are all values of its only site."""

    def __init__(self, channels: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)
        self.act = nn.Hardswish()
        self.head = nn.Linear(channels * 16, channels * 16, bias=False)
        self.head.weight.data = torch.eye(channels * 16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.conv(images)).flatten(1))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_every_bit_width_gives_the_values_of_the_quantizer_to_the_last_bit(scale):
    student = QuantizedStudent(Shown().eval().requires_grad_(False), weight_bit_width=None).eval()
    model = bits_model(exported_places(student, (4, 4)), weight_bit_width=None)
    x = images(4) * scale
    bits_B = torch.arange(NUM_IMAGES)
    # The activation as this runtime computes it: it sums in another order than torch.
    exact = answers(model, x, torch.zeros(NUM_IMAGES, 1))
    assert torch.equal(answers(model, x, bits_B[:, None]), fake_quantize(exact, bits_B))


def test_a_symmetric_range_whose_ends_both_round_outwards_is_clipped_to_its_last_code():
    network = Shown(channels=3)
    network.act = nn.Identity()
    network.conv.weight.data, network.conv.bias.data = torch.eye(3)[..., None, None], torch.zeros(3)
    student = QuantizedStudent(network.eval().requires_grad_(False), weight_bit_width=None).eval()
    model = bits_model(exported_places(student, (4, 4)), weight_bit_width=None)
    x = torch.linspace(-1.5, 1.5, 48).reshape(1, 3, 4, 4).repeat(NUM_IMAGES, 1, 1, 1)
    bits_B = torch.arange(NUM_IMAGES)
    expected = fake_quantize(x.flatten(1), bits_B)
    assert expected[2].max() == 1  # of 1.5, and not 2
    assert torch.equal(answers(model, x, bits_B[:, None]), expected)


def test_an_image_that_is_all_zero_at_a_site_goes_on_as_it_is():
    network = Shown()
    network.conv.bias.data.zero_()
    student = QuantizedStudent(network.eval().requires_grad_(False)).eval()
    model = bits_model(exported_places(student, (4, 4)), weight_bit_width=16)
    x = images(4) * (torch.arange(NUM_IMAGES) % 2)[:, None, None, None]
    made = answers(model, x, torch.full((NUM_IMAGES, 1), 3))
    assert not made[::2].any()
    assert made[1::2].any()


@pytest.mark.parametrize("weight_bit_width", [16, 8, 2])
def test_weights_are_quantized_to_the_last_bit(weight_bit_width):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 3)).eval().requires_grad_(False)
    nn.init.zeros_(network[0].bias)
    nn.init.zeros_(network[2].bias)
    student = QuantizedStudent(network, weight_bit_width=weight_bit_width).eval()
    model = bits_model(exported_places(student, (1, 1)), weight_bit_width=weight_bit_width)
    named = {each.name: each for each in model.graph.node}
    quantized = [f"dptq_weight_{number}" for number in range(2)]
    weights = [numpy_of(model, named[f"dptq_weight_abs_{number}"].input[0]) for number in range(2)]
    for name in quantized:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    feeds = {IMAGES: np.zeros((1, 3, 1, 1), np.float32), BIT_WIDTHS: np.ones((1, 1), np.int32)}
    made = open_session(model, name="test").run(quantized, feeds)
    for value, expected in zip(made, fake_quantize_weights(weights, weight_bit_width), strict=True):
        assert torch.equal(torch.from_numpy(value), expected)


def numpy_of(model: onnx.ModelProto, name: str) -> torch.Tensor:
    tensor = next(each for each in model.graph.initializer if each.name == name)
    return torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("test_vit", {"img_size": 32}),
        ("test_convnext", {}),
        ("test_efficientnet", {}),
    ],
)
def test_sites_of_an_exported_network_are_those_of_its_student_in_their_order(architecture, settings):
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=7, **settings).eval().requires_grad_(False)
    student = QuantizedStudent(network).eval()
    model = bits_model(exported_places(student, (32, 32)), weight_bit_width=16)
    onnx.checker.check_model(model, full_check=True)
    x = images(num_images=3)
    exact = student(x)
    session = open_session(model, name="test")
    # One site at a time: two programs sum in another order, and a value that lands one level beside at one site
    # moves others across their boundaries at the next. One in a wrong place would change its own row.
    for bit_width_L in torch.eye(student.num_sites, dtype=torch.int64) * 3:
        bit_width_BL = bit_width_L.expand(3, -1)
        expected = student(x, bit_width_BL)
        feeds = {IMAGES: x.numpy(), BIT_WIDTHS: bit_width_BL.numpy().astype(np.int32)}
        error = torch.from_numpy(session.run(None, feeds)[0]) - expected
        assert error.norm() <= 0.02 * (expected - exact).norm() + 1e-5 * exact.norm()


def test_a_batch_without_bits_runs_the_network_as_it_is_and_one_with_any_has_quantized_weights():
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7).eval().requires_grad_(False)
    student = QuantizedStudent(network, weight_bit_width=4).eval()
    model = bits_model(exported_places(student, (32, 32)), weight_bit_width=4)
    x, none = images(), torch.zeros(NUM_IMAGES, student.num_sites, dtype=torch.int64)
    torch.testing.assert_close(answers(model, x, none), student(x), rtol=1e-5, atol=1e-6)
    some = none.clone()
    some[0, 0] = 8
    torch.testing.assert_close(answers(model, x, some)[1:], student(x, some)[1:], rtol=1e-5, atol=1e-6)
    assert (student(x, some)[1:] - student(x)[1:]).abs().max() > 1e-3


def test_batch_mates_change_no_answer():
    network = timm.create_model("test_resnet", num_classes=7).eval().requires_grad_(False)
    student = QuantizedStudent(network).eval()
    model = bits_model(exported_places(student, (32, 32)), weight_bit_width=16)
    x, bits = images(num_images=3), torch.full((3, student.num_sites), 4)
    x[1:] *= 30
    alone = answers(model, x[:1], bits[:1])
    torch.testing.assert_close(answers(model, x, bits)[:1], alone, rtol=1e-5, atol=1e-6)


def test_a_rescaled_norm_leaves_the_weights_before_it_their_grid():
    """An exporter that folds norms into weights would give one channel all levels of the 16 bits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    network.eval().requires_grad_(False)
    network[1].weight[0] = 2.0**14
    student = QuantizedStudent(network).eval()
    model = bits_model(exported_places(student, (8, 8)), weight_bit_width=16)
    x, bits = images(8), torch.full((NUM_IMAGES, 1), 16)
    torch.testing.assert_close(answers(model, x, bits), student(x, bits), rtol=1e-4, atol=1e-2)


def test_a_file_of_an_older_operator_set_is_converted(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"]), *head("r")]
    network = OnnxNetwork(write(tmp_path / "n.onnx", nodes, random_weights(), opset=11))
    model = bits_model(network.places, weight_bit_width=16)
    assert model.opset_import[0].version == OPSET
    bits = torch.arange(NUM_IMAGES)[:, None]
    torch.testing.assert_close(answers(model, images(8), bits), network(images(8), bits), rtol=1e-5, atol=1e-5)


def test_a_file_of_one_image_per_run_says_so(tmp_path):
    nodes = [helper.make_node("Conv", ["images", "w"], ["c"]), *head("c")]
    path = write(tmp_path / "n.onnx", nodes, random_weights(), shape=(1, 3, 8, 8), output=(1, 5))
    model = bits_model(OnnxNetwork(path).places, weight_bit_width=16)
    assert [value.type.tensor_type.shape.dim[0].dim_value for value in (*model.graph.input, *model.graph.output)] == [
        1,
        1,
        1,
    ]


def test_an_exported_file_tells_nothing_of_the_machine_that_wrote_it():
    student = QuantizedStudent(Shown().eval()).eval()
    for model in (bits_model(exported_places(student, (4, 4)), weight_bit_width=16), exported_plain(Shown(), (4, 4))):
        assert b"site-packages" not in model.SerializeToString()
        assert b".py" not in model.SerializeToString()


def test_a_network_that_torch_cannot_export_is_refused_in_one_line():
    class Strange(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) if images.sum().item() > 0 else images.amax((2, 3))

    with pytest.raises(ConfigError, match=r"torch cannot write Strange as ONNX") as caught:
        exported_plain(Strange().eval(), (4, 4))
    assert "\n" not in str(caught.value)


def test_metadata_is_read_back_and_a_file_is_written_whole_or_not_at_all(tmp_path):
    model = bits_model(exported_places(QuantizedStudent(Shown().eval()).eval(), (4, 4)), weight_bit_width=16)
    path = tmp_path / "n.onnx"
    write_onnx(model, path, {"source": "timm:x", "sites": ["conv"], "budget": None})
    found = read_metadata(onnx.load(path))
    assert (found["source"], json.loads(found["sites"]), json.loads(found["budget"])) == ("timm:x", ["conv"], None)
    assert [each.name for each in tmp_path.iterdir()] == ["n.onnx"]
    with pytest.raises(UnwritableError, match="cannot be written") as caught:
        write_onnx(model, tmp_path / "missing" / "n.onnx", {})
    assert "\n" not in str(caught.value)
