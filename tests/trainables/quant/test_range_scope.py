"""Ranges per channel and over a batch, and sites whose bit-width is pinned."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.names import RangeScope
from tests.trainables.models.networks import create, noise
from trainables.quant.affine import QUANTIZER_VARIABLE, fake_quantize, fake_quantize_options
from trainables.quant.range_scope import per_batch, per_channel
from trainables.quant.student import QuantizedStudent


@pytest.mark.parametrize(("shape", "axis"), [((3, 4, 5, 6), -3), ((3, 7, 4), -1), ((3, 2, 7, 4), -1)])
def test_every_channel_is_quantized_as_if_it_were_alone(shape: tuple[int, ...], axis: int) -> None:
    x, bits = torch.randn(shape), torch.tensor([2, 0, 5])
    quantized = per_channel(fake_quantize, x, bits, axis=axis)
    for channel in range(4):
        alone = fake_quantize(x.select(axis, channel).contiguous(), bits)
        assert torch.equal(quantized.select(axis, channel), alone)


def test_a_vector_keeps_one_range_per_example() -> None:
    x, bits = torch.randn(3, 8), torch.tensor([2, 3, 4])
    assert torch.equal(per_channel(fake_quantize, x, bits, axis=-1), fake_quantize(x, bits))


def dynamic_quantize_linear(x: Tensor) -> Tensor:
    """Quantizes and dequantizes a whole tensor by the definition of ONNX."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["levels", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(x.shape)) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "quantizer", ends[:1], ends[1:]))
    onnx.checker.check_model(model)
    return torch.from_numpy(np.asarray(ReferenceEvaluator(model).run(None, {"x": x.numpy()})[0]))


def with_batch_range(x: Tensor, bits_B: Tensor) -> Tensor:
    """Quantizes by torch's autograd alone, with rounding passed straight through."""
    lo, hi = x.amin().clamp(max=0), x.amax().clamp(min=0)
    rows = []
    for row, bits in zip(x, bits_B.tolist(), strict=True):
        levels = 2**bits - 1
        scale = (hi - lo) / levels if bits else x.new_tensor(1.0)
        zero = (-lo / scale).round().clamp(max=levels)
        lost = ((row / scale).round() + zero).clamp(0, levels) - zero - row / scale
        rows.append(row + scale * lost.detach() if bits else row)
    return torch.stack(rows)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 5, 6)])
def test_at_8_bits_a_range_over_the_batch_is_that_of_dynamic_quantize_linear(
    shape: tuple[int, ...], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(QUANTIZER_VARIABLE, backend)
    x = torch.randn(shape) * torch.logspace(-2, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    quantized = per_batch(fake_quantize, x, torch.full(shape[:1], 8))
    assert torch.equal(quantized, dynamic_quantize_linear(x))
    assert not torch.equal(quantized, fake_quantize(x, torch.full(shape[:1], 8)))


@given(bits=st.lists(st.integers(0, 10), min_size=1, max_size=5), seed=st.integers(0, 1000), offset=st.floats(-3, 3))
def test_examples_share_the_range_and_keep_their_own_levels_and_the_gradient_is_that_of_autograd(
    bits: list[int], seed: int, offset: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(bits), 3, 4, generator=generator, dtype=torch.float64) + offset
    grad, bits_B = torch.randn(x.shape, generator=generator, dtype=torch.float64), torch.tensor(bits)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    quantized, expected = per_batch(fake_quantize, ours, bits_B), with_batch_range(theirs, bits_B)
    assert torch.allclose(quantized, expected, atol=1e-12)
    quantized.backward(grad)
    expected.backward(grad)
    assert ours.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-9)


def test_every_option_gets_a_gradient_from_the_range_of_the_batch() -> None:
    x, options = torch.randn(3, 8), (2, 5)
    selection = torch.eye(2)[torch.tensor([0, 1, 1])].requires_grad_()
    grad = torch.randn(x.shape)
    per_batch(lambda rows, chosen: fake_quantize_options(rows, chosen, options), x, selection).backward(grad)
    products = [(grad * per_batch(fake_quantize, x, torch.full((3,), bits))).sum(1) for bits in options]
    assert torch.allclose(selection.grad, torch.stack(products, 1), atol=1e-5)


def test_one_example_alone_has_its_own_range_and_an_infinite_one_takes_all_others_with_it() -> None:
    x, bits = torch.randn(3, 2, 4), torch.tensor([3, 4, 0])
    alone = torch.cat([per_batch(fake_quantize, x[i : i + 1], bits[i : i + 1]) for i in range(3)])
    assert torch.equal(alone, fake_quantize(x, bits))
    x[1, 0, 0] = torch.inf
    broken = per_batch(fake_quantize, x, bits)
    assert broken[:2].isnan().all()
    assert torch.equal(broken[2], x[2])


def test_a_range_over_a_batch_that_ends_at_quantiles_is_refused() -> None:
    with pytest.raises(ConfigError, match="with range_scope=batch"):
        QuantizedStudent(create("test_resnet"), range_scope="batch", scale_quantile=0.99)


@pytest.mark.parametrize("scope", ["channel", "batch"])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_selected_options_give_what_their_bit_widths_give_and_a_gradient(architecture: str, scope: RangeScope) -> None:
    student = QuantizedStudent(create(architecture), range_scope=scope, pinned={1: 0, 2: 6}).eval()
    images, options = noise(3), (3, 5)
    chosen_BL = torch.randint(2, (3, student.num_sites), generator=torch.Generator().manual_seed(2))
    selection = torch.nn.functional.one_hot(chosen_BL, 2).float().requires_grad_()
    logits = student.forward_options(images, selection, options)
    assert torch.equal(logits, student(images, torch.tensor(options)[chosen_BL]))
    logits.square().sum().backward()
    assert selection.grad is not None
    is_pinned_L = torch.isin(torch.arange(student.num_sites), torch.tensor([1, 2]))
    assert (selection.grad[:, is_pinned_L] == 0).all()
    assert (selection.grad[:, ~is_pinned_L] != 0).any(dim=(0, 2)).all()


def test_a_pinned_site_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are 0 to 14"):
        QuantizedStudent(create("test_resnet"), pinned={15: 0})
