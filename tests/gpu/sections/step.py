"""How fast is a step, in which variant, and how far is that from what the card could do?"""

import gc
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from search_spaces import paper
from search_spaces.recipes import PairRecipe
from tests.gpu.graphed_step import GraphedStep
from tests.gpu.jobs import Context, Item
from tests.gpu.pair_step import PARTS, Clock, PairStep, Variant, applied, median, time_repeated
from tests.gpu.sections.compiled import time_compiled
from tests.gpu.sections.correctness import relative_error
from tests.gpu.sections.kernels import busiest_kernels
from tests.gpu.sections.roofline import measure_floor, measure_roofline
from trainables.data.view import View
from trainables.quant.triton.support import find_obstacle
from trainables.training_loop import LOSS

# B = examples, L = sites, C H W = image.

FAST = Variant(tf32="all", white_box="bfloat16", benchmark="on", graph="step")
VARIANTS = (
    Variant(),
    Variant(graph="off"),
    Variant(layout="contiguous"),
    Variant(graph="step"),
    FAST,
    Variant(quantizer="torch"),
    Variant(knapsack="numba"),
    Variant(benchmark="on"),
    Variant(white_box="bfloat16"),
    Variant(tf32="all"),
    Variant(tf32="none"),
    Variant(graph="off", student="float16"),
)
"""Each differs in one setting from another one, so that every setting has a ratio of its own; `FAST` joins them."""
NUM_FIRST = 4
BATCH, SIZE, STORED = 64, 224, 256
TINY_ARCHITECTURE = "test_resnet"
TINY_VARIANTS = (
    Variant(),
    Variant(tf32="none"),
    Variant(layout="channels last"),
    Variant(white_box="bfloat16"),
    Variant(student="float16"),
    Variant(graph="step"),
    Variant(quantizer="triton"),
)
"""What a CPU can run, so that all of this code runs where there is no GPU; a graph is not captured there."""


def items(context: Context) -> list[Item]:
    """Lists the roofline, then the variants of one network after the other, then what torch.compile does."""
    networks = (TINY_ARCHITECTURE,) if context.is_tiny else paper.WHITE_BOXES
    variants = TINY_VARIANTS if context.is_tiny else VARIANTS
    return [
        Item("roofline", measure_roofline, seconds=20),
        *(Item(f"{network}, floor", partial(_floor, network=network)) for network in networks),
        # What decides about defaults first, for every network.
        *(
            Item(f"{network}, {variant.name}", partial(time_variant, network=network, variant=variant), 30)
            for group in (variants[:NUM_FIRST], variants[NUM_FIRST:])
            for network in networks
            for variant in group
        ),
        *(Item(f"{network}, compiled", partial(_compiled, network=network), seconds=60) for network in networks),
    ]


def recipe_of(network: str) -> PairRecipe:
    """Returns the pair of option set I and budget B, augmented as far as the GPU does it without a copy."""
    num_sites = paper.NUM_SITES.get(network, 15)
    return PairRecipe(
        architecture=network,
        budget=paper.BUDGETS[network]["B"] if network in paper.BUDGETS else round(5.5 * num_sites),
        epochs=1,
        batch_size=BATCH,
        optimizer="sgd",
        learning_rate=1e-4,
        weight_decay=1e-4,
        augmentations=("random_resized_crop", "horizontal_flip", "mixup"),
    )


def build_step(context: Context, network: str, variant: Variant) -> PairStep:
    """Returns a step on random images."""
    batch, size, stored = (4, 32, 36) if context.is_tiny else (BATCH, SIZE, STORED)
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randint(256, (batch, 3, stored, stored), dtype=torch.uint8, generator=generator)
    return PairStep(
        recipe_of(network), images_BCHW.to(context.device), view=View(size, size), variant=variant, is_calibrated=True
    )


def time_variant(context: Context, *, network: str, variant: Variant) -> dict[str, Any]:
    """Times a variant, whole and by part, and compares what it computes with exact float32."""
    if "triton" in (variant.quantizer, variant.knapsack):
        context.require_cuda("Triton without its interpreter")
        if obstacle := find_obstacle(context.device):
            raise RuntimeError(obstacle)
    repeats = 2 if context.is_tiny else 20
    if context.is_cuda:
        # What the last variant left would count as this one's peak.
        gc.collect()
        torch.cuda.empty_cache()
    with applied(variant):
        step = build_step(context, network, variant)
        errors = _errors(step)
        graphed = GraphedStep(step) if variant.graph == "step" else None
        if graphed:
            errors |= _error_of_graph(step, graphed)
        run = graphed.run if graphed else step.run
        if context.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = time_repeated(run, context.device, repeats=repeats)
        busy = busiest_kernels(run) if context.is_cuda else {}
        # Parts are cut where a graph is whole.
        parts = {} if graphed else _time_parts(step, repeats=max(1, repeats // 2))
    result = {
        "network": network,
        "variant": asdict(variant),
        "ms": 1e3 * median(seconds),
        "fastest_ms": 1e3 * seconds[0],
        "images_per_second": len(step.images_BCHW) / median(seconds),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if context.is_cuda else 0.0,
        "parts": {name: 1e3 * value for name, value in parts.items()},
        **busy,
        **errors,
        "is_right": all(error < _tolerance(name, variant) for name, error in errors.items()),
    }
    if parts:
        result["quantized_over_full"] = parts[PARTS[4]] / parts[PARTS[2]]
    return result


def _tolerance(error: str, variant: Variant) -> float:
    """Returns what may be lost: float32 as such hardly anything, TF32 and float16 have 11 bits, bfloat16 has 8.

    A random network's answers hardly differ from image to image, so that what is lost looks large beside them.
    """
    if variant.tf32 == "none" and variant.student == variant.white_box == "float32":
        return 1e-4
    return 0.1 if error == "white_box_error" and variant.white_box == "bfloat16" else 0.03


def _errors(step: PairStep) -> dict[str, float]:
    """Compares the logits of the white box and of the student with those of exact float32."""
    with torch.no_grad():
        images_BCHW = step.batch(is_augmented=False)
        step.pair.eval()
        with step.autocast(step.variant.student):
            student_BK = step.pair.student(images_BCHW).float()
        found = {"white_box_error": step.white_box_logits(images_BCHW), "student_error": student_BK}
        with applied(Variant(tf32="none")):
            exact = {"white_box_error": step.white_box(images_BCHW), "student_error": step.pair.student(images_BCHW)}
    return {name: relative_error(found[name], exact[name]) for name in found}


def _error_of_graph(step: PairStep, graphed: GraphedStep) -> dict[str, float]:
    """Compares the first loss of a replay with that of an ordinary step."""
    images_BCHW = step.batch(is_augmented=False)
    expected = step.losses(images_BCHW, step.white_box_logits(images_BCHW))[LOSS].detach().clone()
    return {"graph_error": relative_error(graphed.replay(images_BCHW).detach(), expected)}


def _time_parts(step: PairStep, *, repeats: int) -> dict[str, float]:
    """Returns the median seconds of every part."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        clock = Clock(step.device)
        step.by_part(clock)
        for name, seconds in clock.seconds().items():
            found.setdefault(name, []).append(seconds)
    return {name: median(sorted(seconds)) for name, seconds in found.items()}


def _floor(context: Context, *, network: str) -> dict[str, Any]:
    return measure_floor(build_step(context, network, Variant()), context)


def _compiled(context: Context, *, network: str) -> dict[str, Any]:
    context.require_cuda("torch.compile of whole networks")
    with applied(Variant(tf32="all")):
        return time_compiled(build_step(context, network, Variant(tf32="all")), context)
