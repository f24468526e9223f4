"""What the quantizer refuses, and which of its implementations serves a tensor."""

import pytest
import torch

from search_spaces.errors import ConfigError
from trainables.quant.affine import choose_backend, fake_quantize, fake_quantize_options


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: fake_quantize(torch.zeros(3), torch.zeros(3, dtype=torch.int64)), "along the first dim"),
        (lambda: fake_quantize(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64)), r"shape \[3\]"),
        (lambda: fake_quantize(torch.zeros(3, 2), torch.zeros(3)), "integer per example"),
        (lambda: fake_quantize(torch.zeros(1, 2), torch.tensor([17])), "from 1 to 16"),
        (lambda: fake_quantize(torch.zeros(1, 2), torch.tensor([4]), scale_quantile=0.5), "more than 0.5"),
        (lambda: fake_quantize_options(torch.zeros(1, 2), torch.zeros(1, 3), (3, 4)), r"shape \[1, 2\]"),
        (lambda: fake_quantize_options(torch.zeros(1, 2), torch.zeros(1, 2), (4, 3)), "ascending"),
    ],
)
def test_wrong_arguments_are_refused_with_the_rule(call, rule):
    with pytest.raises(ConfigError, match=rule):
        call()


def test_environment_variable_forces_an_implementation_or_is_refused(monkeypatch):
    assert choose_backend(torch.zeros(1)) == "numba"
    assert choose_backend(torch.zeros(1, dtype=torch.float16)) != "numba"
    monkeypatch.setenv("DPTQ_QUANTIZER", "torch")
    assert choose_backend(torch.zeros(1)) != "numba"
    monkeypatch.setenv("DPTQ_QUANTIZER", "numba")
    with pytest.raises(ConfigError, match="float32 tensors on the CPU"):
        fake_quantize(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([4]))
    monkeypatch.setenv("DPTQ_QUANTIZER", "triton")
    with pytest.raises(ConfigError, match="set it to torch or numba"):
        fake_quantize(torch.zeros(1, 2), torch.tensor([4]))


def test_values_at_the_ends_of_a_clipped_range_keep_their_gradient():
    # Of five values the second and the fourth are the quantiles 0.25 and 0.75.
    x = torch.tensor([[-2.0, -1.0, 0.5, 1.0, 2.0]], requires_grad=True)
    fake_quantize(x, torch.tensor([4]), scale_quantile=0.75).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]


def test_an_example_at_full_precision_passes_its_gradient_through_a_clipped_range():
    x = torch.tensor([[-2.0, -1.0, 0.5, 1.0, 2.0]] * 2, requires_grad=True)
    fake_quantize(x, torch.tensor([0, 4]), scale_quantile=0.75).sum().backward()
    assert x.grad.tolist() == [[1.0] * 5, [0.0, 1.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_an_example_of_zeros_passes_its_gradient(backend, monkeypatch):
    monkeypatch.setenv("DPTQ_QUANTIZER", backend)
    x = torch.zeros(1, 4, requires_grad=True)
    (fake_quantize(x, torch.tensor([4])) * torch.arange(4.0)).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 2.0, 3.0]]
