"""The per-example quantizer against ONNX, torch, plain autograd and its own two implementations.

Shape letters: B = examples, O = bit-width options.
"""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from trainables.quant.affine import fake_quantize, fake_quantize_options

BIT_WIDTHS = tuple(range(3, 11))


@pytest.fixture(params=["numba", "torch"])
def backend(request, monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", request.param)
    return request.param


def reference_values(x: Tensor, bit_width_B) -> Tensor:
    """Section 4 of the design in numpy, example by example, in the dtype of `x`."""
    rows = []
    for values, bit_width in zip(x.numpy(), bit_width_B, strict=True):
        one, quant_max = values.dtype.type, values.dtype.type(2 ** int(bit_width) - 1)
        lo, hi = min(one(0), values.min()), max(one(0), values.max())
        if bit_width == 0 or lo == hi:
            rows.append(values)
            continue
        scale = (hi - lo) / quant_max
        zero_point = np.rint(-lo / scale)
        rows.append((np.clip(np.rint(values / scale) + zero_point, 0, quant_max) - zero_point) * scale)
    return torch.from_numpy(np.stack(rows))


def reference_mixture(x: Tensor, selection_BO: Tensor, bit_widths, *, range_gradient: bool) -> Tensor:
    """Plain autograd through sum_o selection_o * Q_o(x): straight-through rounding, scale not detached."""
    dims = tuple(range(1, x.dim()))
    lo, hi = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
    lo, hi = torch.where(lo < 0, lo, 0.0), torch.where(hi > 0, hi, 0.0)
    if not range_gradient:
        lo, hi = lo.detach(), hi.detach()
    total = torch.zeros_like(x)
    for o, bit_width in enumerate(bit_widths):
        quant_max = 2**bit_width - 1
        scale = torch.where(hi > lo, (hi - lo) / quant_max, 1.0)
        zero_point = (-lo / scale).round().detach()
        level = x / scale
        rounded = (level.round() + zero_point).clamp(0, quant_max) - zero_point
        level = level + (rounded - level).detach()
        total = total + selection_BO[:, o].reshape(-1, *[1] * len(dims)) * level * scale
    return total


def one_hot(selected, dtype=torch.float32) -> Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(selected), len(BIT_WIDTHS)).to(dtype)


def sample(*shape: int, seed: int = 0, dtype=torch.float32) -> Tensor:
    """Signed, shifted, rectified and zero examples in turn, with tied extremes in the third."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    for b in range(shape[0]):
        x[b] = (x[b], x[b] + 4, x[b].relu().clamp(max=1.0), 0 * x[b], -x[b].relu())[b % 5]
    return x


def run_onnx(x: np.ndarray) -> np.ndarray:
    nodes = [
        onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero_point"]),
        onnx.helper.make_node("DequantizeLinear", ["y", "scale", "zero_point"], ["x_hat"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "x_hat")]
    graph = onnx.helper.make_graph(nodes, "dynamic", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("shift", [0.0, 4.0, -4.0])
def test_eight_bits_equal_onnx_dynamic_quantize_linear_bit_for_bit(backend, shift):
    x = sample(5, 3, 17, 19) + shift
    actual = fake_quantize(x, torch.full((5,), 8))
    expected = np.stack([run_onnx(example) for example in x.numpy()])
    assert np.array_equal(actual.numpy(), expected)


def test_eight_bits_equal_torch_fake_quantize_within_one_level(backend):
    x = sample(3, 4, 40, 40)
    actual = fake_quantize(x, torch.full((3,), 8))
    for values, quantized in zip(x, actual, strict=True):
        lo, hi = values.min().clamp(max=0), values.max().clamp(min=0)
        scale = (hi - lo) / 255
        expected = torch.fake_quantize_per_tensor_affine(values, scale, (-lo / scale).round().int(), 0, 255)
        # torch multiplies by 1/scale, which moves ties.
        assert (quantized - expected).abs().max() <= scale * 1.001
        assert (quantized != expected).float().mean() <= 1e-3


FLOATS = st.floats(-1000, 1000, width=32).map(lambda value: value if abs(value) > 1e-6 else 0.0)


@settings(max_examples=60)
@given(
    values=npst.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 150)), elements=FLOATS),
    bit_widths=st.lists(st.integers(0, 16), min_size=4, max_size=4),
    forced=st.sampled_from(["numba", "torch"]),
)
def test_values_equal_the_definition_for_any_input_and_bit_width(values, bit_widths, forced):
    x, bit_width_B = torch.from_numpy(values), torch.tensor(bit_widths[: len(values)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPTQ_QUANTIZER", forced)
        actual = fake_quantize(x, bit_width_B)
    assert torch.equal(actual, reference_values(x, bit_width_B))


def test_error_is_at_most_half_a_step_and_levels_at_most_two_to_the_bits(backend):
    x = torch.randn(8, 5000, generator=torch.Generator().manual_seed(1))
    bit_width_B = torch.arange(1, 9)
    x_hat = fake_quantize(x, bit_width_B)
    steps = (x.amax(1) - x.amin(1)) / (2**bit_width_B - 1)
    # The zero point is rounded, so the two ends may be clamped by up to another half step.
    assert ((x_hat - x).abs().amax(1) <= steps * 1.001).all()
    assert ((x_hat - x).abs().median(1).values <= steps / 2).all()
    assert all(x_hat[b].unique().numel() <= 2 ** (b + 1) for b in range(8))


def test_bit_width_zero_and_all_zero_examples_pass_unchanged(backend):
    x = sample(5, 2, 70)
    x_hat = fake_quantize(x, torch.tensor([0, 3, 0, 3, 0]))
    assert torch.equal(x_hat[[0, 2, 3, 4]], x[[0, 2, 3, 4]])
    assert not torch.equal(x_hat[1], x[1])
    assert x_hat.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("range_gradient", [True, False])
@pytest.mark.parametrize("shape", [(5, 3, 29, 31), (5, 40), (5, 7, 24), (1, 3, 5, 5)])
def test_gradients_equal_plain_autograd_through_all_options(backend, shape, range_gradient):
    selected = [b % len(BIT_WIDTHS) for b in range(shape[0])]
    # Plain autograd in float64 is the reference, for both.
    dtype = torch.float32 if backend == "numba" else torch.float64
    x = sample(*shape, dtype=torch.float32).to(dtype).requires_grad_()
    selection = one_hot(selected, dtype).requires_grad_()
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(dtype)
    fake_quantize_options(x, selection, BIT_WIDTHS, range_gradient=range_gradient).backward(grad)
    wide = x.detach().double().requires_grad_()
    wide_selection = selection.detach().double().requires_grad_()
    reference_mixture(wide, wide_selection, BIT_WIDTHS, range_gradient=range_gradient).backward(grad.double())
    tolerance = 2e-5 if backend == "numba" else 1e-11
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(selection.grad.double(), wide_selection.grad, rtol=tolerance, atol=tolerance * 10)


def test_range_gradient_is_shared_by_ties_and_absent_where_zero_is_the_bound(backend):
    x = torch.tensor([[3.0, 3.0, 1.1, 0.3], [-3.0, -1.1, -3.0, 0.0]], requires_grad=True)
    x_hat = fake_quantize(x, torch.tensor([2, 3]))
    grad = torch.ones_like(x)
    x_hat.backward(grad)
    slope = (x_hat - x).detach().sum(1) / 3.0
    expected = grad.clone()
    expected[0, :2] += slope[0] / 2
    expected[1, [0, 2]] -= slope[1] / 2
    torch.testing.assert_close(x.grad, expected)


def test_fixed_bit_widths_and_unwatched_options_give_the_gradient_of_the_selected_option(backend):
    x, grad = sample(5, 3, 20, 20), torch.randn(5, 3, 20, 20, generator=torch.Generator().manual_seed(3))
    selected = [4, 0, 7, 2, 1]
    grads, values = [], []
    for run in (
        lambda leaf: fake_quantize(leaf, torch.tensor(BIT_WIDTHS)[selected]),
        lambda leaf: fake_quantize_options(leaf, one_hot(selected), BIT_WIDTHS),
        lambda leaf: fake_quantize_options(leaf, one_hot(selected).requires_grad_(), BIT_WIDTHS),
    ):
        leaf = x.clone().requires_grad_()
        x_hat = run(leaf)
        x_hat.backward(grad)
        grads.append(leaf.grad)
        values.append(x_hat.detach())
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[1], values[2])
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=0)
    torch.testing.assert_close(grads[0], grads[2], rtol=1e-6, atol=1e-6)


def test_both_implementations_agree_on_a_large_batch(monkeypatch):
    x, grad = sample(6, 8, 33, 35), torch.randn(6, 8, 33, 35, generator=torch.Generator().manual_seed(5))
    results = []
    for forced in ("numba", "torch"):
        monkeypatch.setenv("DPTQ_QUANTIZER", forced)
        leaf, selection = x.clone().requires_grad_(), one_hot([0, 1, 2, 3, 7, 5]).requires_grad_()
        x_hat = fake_quantize_options(leaf, selection, BIT_WIDTHS)
        x_hat.backward(grad)
        results.append((x_hat.detach(), leaf.grad, selection.grad))
    assert torch.equal(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided", "expanded_grad"])
def test_memory_layout_changes_neither_values_nor_gradients(backend, layout):
    base = sample(4, 6, 10, 12)
    views = {
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "transposed": base.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": torch.stack([base, base], dim=-1)[..., 0],
        "expanded_grad": base.clone(),
    }
    results = []
    for x in (base, views[layout]):
        leaf = x.detach().requires_grad_()
        selection = one_hot([1, 0, 3, 2]).requires_grad_()
        x_hat = fake_quantize_options(leaf, selection, BIT_WIDTHS)
        # The gradient of a sum is an expanded scalar, with strides of zero.
        x_hat.sum().backward() if layout == "expanded_grad" else x_hat.square().sum().backward()
        results.append((x_hat, leaf.grad, selection.grad))
    if layout == "channels_last":
        assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    if layout == "expanded_grad":
        expected = fake_quantize(base, torch.full((4,), 3)).sum((1, 2, 3))
        torch.testing.assert_close(results[1][2][:, 0], expected)
        return
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_arithmetic_rounded_once(dtype):
    x = sample(5, 3, 40).to(dtype)
    leaf, selection = x.clone().requires_grad_(), one_hot([0, 2, 4, 6, 7]).requires_grad_()
    x_hat = fake_quantize_options(leaf, selection, BIT_WIDTHS)
    x_hat.sum().backward()
    expected = fake_quantize(x.float(), torch.tensor([3, 5, 7, 9, 10])).to(dtype)
    assert torch.equal(x_hat, expected)
    assert leaf.grad.dtype == dtype
    assert selection.grad.dtype == torch.float32
    assert selection.grad.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 70, 131])
def test_non_finite_values_turn_their_example_and_no_other_into_nan(backend, bad, position):
    x = torch.randn(3, 132, generator=torch.Generator().manual_seed(2))
    x[1, position] = bad
    x_hat = fake_quantize(x, torch.tensor([4, 4, 4]))
    assert x_hat[1].isnan().all()
    assert x_hat[[0, 2]].isfinite().all()
    assert torch.equal(fake_quantize(x, torch.tensor([4, 0, 4]))[1].isnan(), x[1].isnan())


def test_the_smallest_ranges_pass_unchanged_or_stay_finite(backend):
    x = torch.tensor([[1e-45, 0.0], [3e-44, -1e-44], [1e-38, -1e-38]], requires_grad=True)
    x_hat = fake_quantize(x, torch.tensor([8, 5, 10]))
    x_hat.sum().backward()
    assert x_hat.isfinite().all()
    assert x.grad.isfinite().all()


def test_scale_quantile_clips_the_range_and_the_gradient():
    x = torch.randn(1, 301, generator=torch.Generator().manual_seed(8))
    x[0, -1] = 50.0
    leaf, selection = x.clone().requires_grad_(), one_hot([7]).requires_grad_()
    x_hat = fake_quantize_options(leaf, selection, BIT_WIDTHS, scale_quantile=0.99)
    x_hat.sum().backward()
    lo, hi = torch.quantile(x[0], 0.01), torch.quantile(x[0], 0.99)
    step = (hi - lo) / 1023
    assert x_hat.max() <= hi + step
    assert x_hat.min() >= lo - step
    is_inside = (x >= lo) & (x <= hi)
    assert torch.equal(leaf.grad, is_inside.float())
    assert not is_inside.all()
    products = [fake_quantize(x, torch.tensor([bits]), scale_quantile=0.99).sum() for bits in BIT_WIDTHS]
    torch.testing.assert_close(selection.grad[0], torch.stack(products), rtol=1e-4, atol=1e-3)


def test_only_the_input_is_saved_for_the_backward_pass(backend):
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x = torch.randn(4, 1000, requires_grad=True)
        fake_quantize_options(x, one_hot([0, 1, 2, 3]).requires_grad_(), BIT_WIDTHS)
    assert sum(saved) <= x.numel() + 4 * 4 + len(BIT_WIDTHS)


def test_an_option_set_first_used_in_inference_mode_can_be_trained_with_later():
    with torch.inference_mode():
        fake_quantize_options(torch.ones(1, 3), torch.ones(1, 1), (13,))
    selection = torch.ones(1, 1, requires_grad=True)
    fake_quantize_options(torch.ones(1, 3), selection, (13,)).sum().backward()
    assert selection.grad.item() == 3
