"""What the card can do at most, measured by a copy and by matrix products, and what a step needs at least of it."""

from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.gpu.jobs import Context
from tests.gpu.pair_step import PairStep, Variant, applied, median, time_repeated

PASSES_FLOP = 7
"""Forward passes that the arithmetic of a step amounts to: the white box, and twice forward and backward."""
ACCESSES = 2 + 12 + 12 + 5
"""Readings and writings of every activation of a step at least, with fused batch norm and ReLU: the white box, both
passes of the student forward and backward, and the quantizer (three forward, two backward)."""
BYTES_FLOAT32 = 4


def measure_roofline(context: Context) -> dict[str, Any]:
    """Measures the rates of a large copy, of matrix products in every number format, and of small launches."""
    device = context.device
    repeats = 3 if context.is_tiny else 10
    # Both well beyond the cache.
    source = torch.randn((2**16 if context.is_tiny else 2**30) // 4, device=device)
    target = torch.empty_like(source)
    seconds = median(time_repeated(partial(target.copy_, source), device, repeats=repeats))
    result: dict[str, Any] = {"copy_gb_per_s": 2 * source.numel() * BYTES_FLOAT32 / seconds / 1e9}
    del source, target
    size = 128 if context.is_tiny else 8192
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, "none"),
        ("float16", torch.float16, "none"),
        ("tf32", torch.float32, "all"),
        ("float32", torch.float32, "none"),
    ):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        with applied(Variant(tf32=tf32)):
            seconds = median(time_repeated(lambda a=left, b=right: a @ b, device, repeats=repeats))
        result[f"{name}_tflop_per_s"] = 2 * size**3 / seconds / 1e12
    small = torch.zeros(1, device=device)
    seconds = median(time_repeated(lambda: [small.add_(1) for _ in range(1000)], device, repeats=repeats))
    return result | {"us_per_launch": seconds * 1e3}


def measure_floor(step: PairStep, context: Context) -> dict[str, Any]:
    """Counts the arithmetic and the smallest traffic of a step, and the time that the measured rates give them."""
    images_BCHW = step.batch(is_augmented=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        step.white_box(images_BCHW)
    num_values = 0

    def add(index: int, x: torch.Tensor) -> None:
        nonlocal num_values
        num_values += x.numel()

    with torch.no_grad():
        step.pair.student.observe(images_BCHW, None, add)
    tflop = PASSES_FLOP * counter.get_total_flops() / 1e12
    gigabytes = ACCESSES * num_values * BYTES_FLOAT32 / 1e9
    result = {"tflop": tflop, "gb": gigabytes, "sites": step.pair.student.num_sites}
    roofline = context.record.find("step", "roofline")
    if roofline and roofline.result:
        times = {
            "ms_arithmetic": 1e3 * tflop / roofline.result["tf32_tflop_per_s"],
            "ms_traffic": 1e3 * gigabytes / roofline.result["copy_gb_per_s"],
        }
        result |= times | {"ms_floor": max(times.values())}
    return result
