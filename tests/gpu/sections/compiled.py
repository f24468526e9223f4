"""What torch.compile gains on the passes that are plain networks, and how long it takes to get there."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.gpu.jobs import Context
from tests.gpu.pair_step import PairStep, median, time_repeated


def time_compiled(step: PairStep, context: Context, repeats: int = 20) -> dict[str, Any]:
    """Times the white box, and the full-precision pass forward and backward, as they are and compiled."""
    images_BCHW = step.batch(is_augmented=False)
    step.pair.set_batch_norm(updates_statistics=False)
    result: dict[str, Any] = {"network": step.recipe.architecture}
    for name, network, is_trained in (("white_box", step.white_box, False), ("full", step.pair.student.model, True)):
        plain = _pass(network, images_BCHW, is_trained=is_trained)
        result[f"{name}_ms"] = 1e3 * median(time_repeated(plain, context.device, repeats=repeats))
        start = time.time()
        compiled = _pass(torch.compile(network), images_BCHW, is_trained=is_trained)
        compiled()
        torch.cuda.synchronize()
        result[f"{name}_compiling_s"] = time.time() - start
        result[f"{name}_compiled_ms"] = 1e3 * median(time_repeated(compiled, context.device, repeats=repeats))
    return result


def _pass(network: Callable[[Tensor], Tensor], images_BCHW: Tensor, *, is_trained: bool) -> Callable[[], object]:
    def forward_and_backward() -> None:
        network(images_BCHW).square().mean().backward()

    def forward() -> Tensor:
        with torch.no_grad():
            return network(images_BCHW)

    return forward_and_backward if is_trained else forward
