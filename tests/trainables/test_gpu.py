"""What must hold on a CUDA device; needs torch and timm only, so it runs on a bare GPU machine."""

import pytest
import torch
from torch import nn

from search_spaces.recipes import PairRecipe
from trainables.data.images import ImageData
from trainables.layout import place
from trainables.quant.affine import fake_quantize, fake_quantize_options
from trainables.quant.mckp import select
from trainables.stages import pair
from trainables.training_loop import finish

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
BIT_WIDTHS = (3, 4, 5, 6, 7, 8, 9, 10)


@pytest.fixture(params=["default", "triton"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every claim holds for the default implementations and for the Triton kernels."""
    return str(request.param)


def use(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forces the Triton kernels from here on, if they are asked for; the CPU's references come before."""
    if backend == "triton":
        monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
        monkeypatch.setenv("DPTQ_KNAPSACK", "triton")


def test_quantizer_gives_the_values_and_gradients_of_the_cpu(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, grad = torch.randn(4, 8, 14, 14), torch.randn(4, 8, 14, 14)
    selection = torch.eye(8)[torch.tensor([0, 3, 5, 7])]
    found = []
    for device in ("cpu", "cuda"):
        if device == "cuda":
            use(backend, monkeypatch)
        x_there = x.to(device).requires_grad_()
        selection_there = selection.to(device).requires_grad_()
        x_hat = fake_quantize_options(x_there, selection_there, BIT_WIDTHS)
        x_hat.backward(grad.to(device))
        found.append([each.cpu() for each in (x_hat.detach(), x_there.grad, selection_there.grad)])
    for on_cpu, on_gpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=1e-4)


def test_bit_width_0_passes_through(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(backend, monkeypatch)
    x = torch.randn(2, 3, 5, 5, device="cuda")
    assert fake_quantize(x, torch.tensor([0, 0], device="cuda")).equal(x)


def test_knapsack_selects_as_on_the_cpu(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profits = torch.rand(16, 20, 8)
    expected = select(profits, BIT_WIDTHS, 110)
    use(backend, monkeypatch)
    assert select(profits.cuda(), BIT_WIDTHS, 110).cpu().equal(expected)


def test_a_pair_trains(
    backend: str, monkeypatch: pytest.MonkeyPatch, few_digits: ImageData, white_box: nn.Module
) -> None:
    use(backend, monkeypatch)
    device = torch.device("cuda")
    recipe = PairRecipe(
        architecture="test_resnet",
        budget=82,
        epochs=1,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.02,
        weight_decay=1e-4,
    )
    run = pair.train(recipe, few_digits.to(device), white_box=place(white_box, device), seed=0, device=device)
    result = finish(run)
    assert (result.predictions["bit_width"].int().sum(dim=1) == 82).all()
