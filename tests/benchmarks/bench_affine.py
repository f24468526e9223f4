"""The quantizer with 8 option gradients on 32 x 64 x 56 x 56 float32, against a copy and against its peers.

Shape letters: B = examples, O = options.
"""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.arithmetic import seconds_of_operation
from tests.benchmarks.quantizer_peers import materialize_options, quantize_by_groups
from tests.benchmarks.timing import IN_CPU_TIME, best_seconds, seconds_of
from trainables.quant.affine import fake_quantize, fake_quantize_options

pytestmark = IN_CPU_TIME
BIT_WIDTHS = tuple(range(3, 11))
SHAPE = (32, 64, 56, 56)
OPERATIONS = 8 * 6 + 7 + 3
"""Of a value, at least: by option a product, a rounding, two bounds and two products with a sum; forward the same, with
a division; and the range, and the product with the gradient."""
SMALL = 4
"""Examples on which the gradients are compared."""


@pytest.fixture
def choices_B() -> Tensor:
    """Every option for 4 of the 32 examples."""
    return torch.arange(SHAPE[0]) % len(BIT_WIDTHS)


def bench_options_with_gradients(benchmark: BenchmarkFixture, record: Callable[..., None], choices_B: Tensor) -> None:
    x, grad = torch.randn(SHAPE).requires_grad_(), torch.randn(SHAPE)
    selection_BO = F.one_hot(choices_B, len(BIT_WIDTHS)).float().requires_grad_()
    target = torch.empty(SHAPE)

    def both(quantize: Callable[..., Tensor], num_examples: int = SHAPE[0]) -> tuple[Tensor, ...]:
        x_hat = quantize(x[:num_examples], selection_BO[:num_examples], BIT_WIDTHS)
        return x_hat.detach(), *torch.autograd.grad(x_hat, (x, selection_BO), grad[:num_examples])

    ours, theirs = both(fake_quantize_options, SMALL), both(materialize_options, SMALL)
    torch.testing.assert_close(ours[:2], theirs[:2], rtol=1e-3, atol=2e-2)
    # Ours multiplies by 1/scale here, so one value in millions is a whole step off, which a sum over 200,704 may show.
    assert (ours[2] - theirs[2]).norm() < 2e-3 * theirs[2].norm()
    copy = {"copy": lambda: target.copy_(x.detach())}
    seconds, peers = best_seconds(benchmark, lambda: both(fake_quantize_options), copy, rounds=40, peer_calls=5)
    # Not in turn: it frees and faults in gigabytes, which would slow what runs after it.
    materialized = min(seconds_of(lambda: both(materialize_options)) for _ in range(4))
    record(
        "quantizer, 8 option gradients, forward + backward / copy",
        seconds / peers["copy"],
        "x",
        at_most=10,
        detail=f"{seconds * 1e3:.3g} ms / {peers['copy'] * 1e3:.3g} ms",
    )
    arithmetic = OPERATIONS * x.numel() * seconds_of_operation()
    record(
        "quantizer, 8 option gradients, forward + backward / what the core takes at least",
        seconds / max(arithmetic, peers["copy"]),
        "x",
        at_most=2.5,
        detail=f"arithmetic {arithmetic * 1e3:.3g} ms, a copy {peers['copy'] * 1e3:.3g} ms",
    )
    record(
        "quantizer, times faster than 8 materialized options",
        materialized / seconds,
        "x",
        at_least=15,
        detail=f"it took {materialized * 1e3:,.0f} ms, {materialized / peers['copy']:.0f} copies",
    )


def bench_forward_only(benchmark: BenchmarkFixture, record: Callable[..., None], choices_B: Tensor) -> None:
    x, bit_width_B = torch.randn(SHAPE), torch.tensor(BIT_WIDTHS)[choices_B]
    # Torch multiplies by 1/scale where ONNX divides, which moves a few values in a million to the next level.
    assert (fake_quantize(x, bit_width_B) != quantize_by_groups(x, bit_width_B)).double().mean() < 1e-5
    peers = {"groups": lambda: quantize_by_groups(x, bit_width_B)}
    seconds, best = best_seconds(benchmark, lambda: fake_quantize(x, bit_width_B), peers, rounds=20)
    record(
        "quantizer, forward, times faster than torch's kernel per bit-width",
        best["groups"] / seconds,
        "x",
        detail=f"{seconds * 1e3:.3g} ms, it took {best['groups'] * 1e3:.3g} ms",
    )
