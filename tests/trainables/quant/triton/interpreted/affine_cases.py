"""The Triton quantizer against the torch one; `test_affine` runs this file in Triton's interpreter.

Shape letters: B = examples, O = bit-width options.
"""

import pytest
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from trainables.quant.affine import choose_backend, fake_quantize, fake_quantize_options
from trainables.quant.triton import affine as affine_triton
from trainables.quant.triton.support import IS_INTERPRETED

BIT_WIDTHS = (1, 3, 8, 16)
DTYPES = (torch.float32, torch.float16)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Small blocks cut small tensors into many tiles, and few tiles make every program stride."""
    assert IS_INTERPRETED
    monkeypatch.setattr(affine_triton, "BLOCK", 64)
    monkeypatch.setattr(affine_triton, "MAX_TILES", 3)


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Signed, shifted, tied, zero, negative, constant and negative constant examples in turn."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    for b in range(shape[0]):
        kinds = (x[b], x[b] + 4, x[b].clamp(-0.5, 0.5), 0 * x[b], -x[b].abs(), 0 * x[b] + 1.7, 0 * x[b] - 0.3)
        x[b] = kinds[b % 7]
    return x.to(dtype)


def run(
    backend: str, x: Tensor, grad: Tensor, *, range_gradient: bool = True, bit_widths: tuple[int, ...] = BIT_WIDTHS
) -> list[Tensor]:
    """Returns the values and both gradients."""
    options = torch.arange(len(x)) % len(bit_widths)
    leaf = x.detach().requires_grad_()
    selection = torch.nn.functional.one_hot(options, len(bit_widths)).float().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPTQ_QUANTIZER", backend)
        x_hat = fake_quantize_options(leaf, selection, bit_widths, range_gradient=range_gradient)
        x_hat.backward(grad)
    return [x_hat.detach(), leaf.grad, selection.grad]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    # Values bit for bit, sums up to their order, which may round a float16 to its neighbour.
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0, equal_nan=True)
    tolerance = 2e-3 if ours[0].dtype == torch.float16 else 2e-5
    torch.testing.assert_close(ours[1], theirs[1], rtol=tolerance, atol=tolerance, equal_nan=True)
    torch.testing.assert_close(ours[2], theirs[2], rtol=2e-5, atol=2e-4, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 3, 7, 11), (3, 2, 65), (7, 64), (5, 1), (1, 3, 5, 5)])
def test_values_and_gradients_equal_those_of_torch(shape, dtype):
    x, grad = sample(*shape, dtype=dtype), torch.randn(shape).to(dtype)
    assert_same(run("triton", x, grad), run("torch", x, grad))


def test_full_precision_in_front_of_the_options_is_one_of_them():
    x, grad = sample(10, 65), torch.randn(10, 65)
    ours, theirs = (run(backend, x, grad, bit_widths=(0, *BIT_WIDTHS)) for backend in ("triton", "torch"))
    assert_same(ours, theirs)
    torch.testing.assert_close(ours[2][:, 0], (x * grad).sum(1))


def test_values_and_gradients_equal_those_of_numba():
    x, grad = sample(3, 3, 9, 9), torch.randn(3, 3, 9, 9)
    assert_same(run("triton", x, grad), run("numba", x, grad))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_bit_width_gives_the_values_of_torch(dtype, monkeypatch):
    x = (torch.randn(17, 201) * 10 ** torch.linspace(-4, 3, 17)[:, None]).to(dtype)
    values = []
    for backend in ("triton", "torch"):
        monkeypatch.setenv("DPTQ_QUANTIZER", backend)
        values.append(fake_quantize(x, torch.arange(17)))
    assert values[0].equal(values[1])
    assert values[0][0].equal(x[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bit_width_0_among_others_gets_its_gradient_unchanged(dtype, monkeypatch):
    found = []
    grad = torch.randn(7, 130).to(dtype)
    for backend in ("triton", "torch"):
        monkeypatch.setenv("DPTQ_QUANTIZER", backend)
        leaf = sample(7, 130, dtype=dtype).requires_grad_()
        x_hat = fake_quantize(leaf, torch.tensor([0, 3, 4, 0, 5, 0, 2]))
        x_hat.backward(grad)
        found.append((x_hat.detach(), leaf.grad))
    assert found[0][0].equal(found[1][0])
    assert found[0][1][[0, 3, 5]].equal(grad[[0, 3, 5]])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=2e-3, atol=2e-3)


def test_ties_share_the_range_gradient(monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    x = torch.tensor([[3.0, 3.0, 1.1, 0.3], [-3.0, -1.1, -3.0, 0.0]], requires_grad=True)
    x_hat = fake_quantize(x, torch.tensor([2, 3]))
    x_hat.backward(torch.ones_like(x))
    slope = (x_hat - x).detach().sum(1) / 3.0
    expected = torch.ones(2, 4)
    expected[0, :2] += slope[0] / 2
    expected[1, [0, 2]] -= slope[1] / 2
    torch.testing.assert_close(x.grad, expected)


def test_without_range_gradient_the_gradient_passes_straight_through():
    x, grad = sample(7, 3, 50), torch.randn(7, 3, 50)
    ours, theirs = (run(backend, x, grad, range_gradient=False) for backend in ("triton", "torch"))
    assert_same(ours, theirs)
    assert ours[1].equal(grad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 131])
def test_non_finite_values_turn_their_example_and_no_other_into_nan(bad, position):
    x, grad = torch.randn(3, 132), torch.randn(3, 132)
    x[1, position] = bad
    ours = run("triton", x, grad)
    assert ours[0][1].isnan().all()
    assert ours[2][1].isnan().all()
    assert all(each[[0, 2]].isfinite().all() for each in ours)
    assert_same(ours, run("torch", x, grad))


def test_the_smallest_ranges_stay_finite(monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    x = torch.tensor([[1e-45, 0.0], [3e-44, -1e-44], [3e-44, 0.0], [1e-38, -1e-38]], requires_grad=True)
    x_hat = fake_quantize(x, torch.tensor([8, 5, 4, 10]))
    x_hat.sum().backward()
    assert x_hat.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided", "offset"])
def test_memory_layout_changes_neither_values_nor_gradients(layout):
    base = sample(3, 4, 5, 6)
    x = {
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "transposed": base.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": torch.stack([base, base], dim=-1)[..., 0],
        "offset": torch.cat([base[:1], base])[1:],
    }[layout]
    dense, expanded = torch.randn(base.shape), torch.ones(()).expand(base.shape)
    for grad in (dense, dense.contiguous(memory_format=torch.channels_last), expanded):
        ours = run("triton", x, grad)
        assert ours[0].stride() == run("torch", x, grad)[0].stride()
        assert_same(ours, run("torch", base, grad))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_refused_when_forced_and_not_chosen_otherwise(dtype, monkeypatch):
    assert choose_backend(torch.zeros(1, 2, dtype=dtype)) == "torch"
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    with pytest.raises(ConfigError, match="serve float32 and float16"):
        fake_quantize(torch.zeros(1, 2, dtype=dtype), torch.tensor([4]))


def test_quantiles_are_served_by_torch(monkeypatch):
    x = torch.randn(2, 100)
    expected = fake_quantize(x, torch.tensor([4, 4]), scale_quantile=0.99)
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    assert fake_quantize(x, torch.tensor([4, 4]), scale_quantile=0.99).equal(expected)
