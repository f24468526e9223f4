"""Whole networks: the quantized pass with a gradient for every option against the full-precision pass.

Both passes are forward + backward, batch 16 at 96 px, in the layout of trainables.memory_format. Batch norm is frozen,
as it is in the recipes; `updating` moves its statistics, in both passes.
"""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.timing import IN_CPU_TIME, best_seconds
from trainables.memory_format import memory_format, place
from trainables.models.backbones import create_backbone
from trainables.quant.student import QuantizedStudent

pytestmark = IN_CPU_TIME
BIT_WIDTHS = tuple(range(3, 11))
BATCH, SIZE, NUM_CLASSES = 16, 96, 37
CPU = torch.device("cpu")

Forward = Callable[[], Tensor]


@pytest.mark.parametrize(
    ("architecture", "batch_norm", "memory_bar"),
    [
        ("resnet18", "frozen", 1.3),
        ("mobilenetv4_conv_medium", "frozen", None),
        ("regnetx_016", "frozen", None),
        ("resnet18", "updating", None),
    ],
)
def bench_quantized_pass(
    benchmark: BenchmarkFixture,
    record: Callable[..., None],
    architecture: str,
    batch_norm: str,
    memory_bar: float | None,
) -> None:
    student, full, quantized = _passes(architecture, updates_statistics=batch_norm == "updating")

    def train(forward: Forward) -> None:
        student.zero_grad(set_to_none=True)
        forward().square().mean().backward()

    seconds, best = best_seconds(benchmark, lambda: train(quantized), {"full": lambda: train(full)}, rounds=15)
    what = f"{architecture}, batch norm {batch_norm}"
    record(
        f"{what}: quantized pass / full-precision pass",
        seconds / best["full"],
        "x",
        at_most=1.35,
        detail=f"{seconds * 1e3:.0f} ms / {best['full'] * 1e3:.0f} ms",
    )
    if batch_norm == "updating":
        return
    ours, theirs = saved_bytes(quantized, skip=set()), saved_bytes(full, skip=set())
    record(
        f"{what}: saved for backward, quantized / full precision",
        ours / theirs,
        "x",
        at_most=memory_bar,
        detail=f"{ours / 1e6:.0f} MB / {theirs / 1e6:.0f} MB",
    )
    own = {parameter.untyped_storage().data_ptr() for parameter in student.parameters()}
    ours, theirs = saved_bytes(quantized, skip=own), saved_bytes(full, skip=own)
    record(
        f"{what}: the same without the parameters, which exist anyway",
        ours / theirs,
        "x",
        detail=f"{ours / 1e6:.0f} MB / {theirs / 1e6:.0f} MB",
    )


def saved_bytes(forward: Forward, *, skip: set[int]) -> int:
    """Counts the bytes of the distinct storages that autograd keeps for the backward pass of one forward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skip:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # Held until all is counted: the storage of a freed tensor may serve the next one.
        logits_BK = forward()
    total = sum(sizes.values())
    del logits_BK
    return total


def _passes(architecture: str, *, updates_statistics: bool) -> tuple[QuantizedStudent, Forward, Forward]:
    student = QuantizedStudent(place(create_backbone(architecture, NUM_CLASSES), CPU))
    student.train()
    for module in student.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(updates_statistics)
    images_BCHW = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=memory_format(CPU))
    options_BL = torch.randint(len(BIT_WIDTHS), (BATCH, student.num_sites))
    selection_BLO = F.one_hot(options_BL, len(BIT_WIDTHS)).float().requires_grad_()
    return (
        student,
        lambda: student(images_BCHW),
        lambda: student.forward_options(images_BCHW, selection_BLO, BIT_WIDTHS),
    )
