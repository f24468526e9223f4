"""Which kernels a step spends its time in, by torch's profiler: what the card does, whatever the CPU does meanwhile."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

NUM_STEPS = 3
NUM_SHOWN = 14
"""Kernels that are listed; the rest is summed up."""


def busiest_kernels(run: Callable[[], object]) -> dict[str, Any]:
    """Returns the milliseconds per step in which the card is busy, and those of the longest kernels."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(NUM_STEPS):
            run()
        torch.cuda.synchronize()
    spent: dict[str, float] = {}
    for event in profiler.key_averages():
        name = short_name(event.key)
        spent[name] = spent.get(name, 0.0) + event.self_device_time_total / 1e3 / NUM_STEPS
    longest = sorted(spent.items(), key=lambda item: -item[1])
    return {"busy_ms": sum(spent.values()), "kernels_ms": dict(longest[:NUM_SHOWN])}


def short_name(kernel: str) -> str:
    """Returns what tells a kernel from another one, without the types of its arguments.

    Examples:
        >>> short_name("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int)")
        'vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>'
    """
    kernel = kernel.replace("(anonymous namespace)::", "")
    name = re.sub(r"\(.*", "", kernel.removeprefix("void ")).removeprefix("at::native::")
    return name[:100]
