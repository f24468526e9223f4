"""Is what runs on the GPU right? Quantizer, knapsack, a pair and the memory probe against the CPU and known amounts."""

import gc
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.recipes import Goal, PairRecipe
from tests.gpu.jobs import Context, Item
from tests.gpu.made_images import made_data
from trainables.memory_format import place
from trainables.memory_probe import measure_on_gpu
from trainables.models.backbones import create_backbone
from trainables.quant.affine import QUANTIZER_VARIABLE, fake_quantize, fake_quantize_options
from trainables.quant.knapsack import KNAPSACK_VARIABLE, select
from trainables.quant.triton.support import IS_INSTALLED, find_obstacle
from trainables.stages import pair
from trainables.stages.graphs import GRAPHS_VARIABLE
from trainables.training_loop import StageResult, finish

# B = examples, L = sites, O = bit-width options, C H W = image.

BIT_WIDTHS = (1, 3, 4, 8, 10, 16)
# Odd, large, one value, one tile and a little more, no multiple of a warp, more than 2^20 values in an example.
SHAPES = ((7, 3, 7, 11), (5, 1), (4, 64, 112, 112), (3, 2, 2049), (2, 129, 13, 3), (33, 512, 7, 7), (2, 17, 257, 301))
TINY_SHAPES = ((7, 3, 7, 11), (5, 1), (3, 2, 65))
PROBLEMS = ((20, tuple(range(3, 11)), 110), (20, tuple(range(4, 11)), 130), (77, tuple(range(3, 11)), 540))
PROBLEMS += ((59, tuple(range(5, 11)), 400), (1, (5,), 5), (6, (4, 8), 36), (5, (1, 2, 7, 11, 16), 40))
TINY_PROBLEMS = PROBLEMS[4:]
BACKENDS = {"triton": ("triton", "triton"), "plain": ("torch", "numba")}
"""Quantizer and knapsack that are forced: those of a GPU, and those that need none."""
GIB = 2**30


def items(context: Context) -> list[Item]:
    """Lists the checks, those of the kernels that are the default first."""
    return [
        Item("machine", describe_machine),
        *(
            Item(f"quantizer {backend}, {dtype}", partial(check_quantizer, backend=backend, dtype=dtype))
            for backend in BACKENDS
            for dtype in ("float32", "float16")
        ),
        *(Item(f"knapsack {backend}", partial(check_knapsack, backend=backend)) for backend in BACKENDS),
        *(Item(f"pair {backend}", partial(check_pair, backend=backend)) for backend in BACKENDS),
        Item("memory probe", check_memory_probe, seconds=40),
        Item("graphs", check_graphs),
    ]


def describe_machine(context: Context) -> dict[str, Any]:
    """Says what the numbers hold for."""
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python3 tests/gpu/run.py" + (" --tiny" if context.is_tiny else ""),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    found |= {package: version(package) for package in ("torch", "timm", "numba", "numpy")}
    found |= {"triton": version("triton")} if IS_INSTALLED else {}
    if context.is_cuda:
        properties = torch.cuda.get_device_properties(context.device)
        found |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "gpu_gb": properties.total_memory / 1e9,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


@contextmanager
def kernels(backend: str, device: torch.device) -> Iterator[None]:
    """Forces the quantizer and the knapsack of a backend."""
    if backend == "triton" and (obstacle := find_obstacle(device)):
        raise RuntimeError(f"Triton's kernels cannot run: {obstacle}")
    with variables(dict(zip((QUANTIZER_VARIABLE, KNAPSACK_VARIABLE), BACKENDS[backend], strict=True))):
        yield


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables, and puts them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def check_quantizer(context: Context, *, backend: str, dtype: str) -> dict[str, Any]:
    """Compares values and both gradients with torch on the CPU, over shapes, layouts, bit-widths and odd examples."""
    shapes = TINY_SHAPES if context.is_tiny else SHAPES
    worst = dict.fromkeys(("share_of_other_values", "steps_apart", "gradient", "option_gradient"), 0.0)
    num_checked = 0
    for shape in shapes:
        for layout in layouts_of(shape):
            x = examples(shape).to(getattr(torch, dtype))
            grad = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
            reference = quantize("torch", arrange(x, layout), arrange(grad, layout))
            with kernels(backend, context.device):
                found = quantize("", arrange(x.to(context.device), layout), arrange(grad.to(context.device), layout))
            for name, value in differences(x, found, reference).items():
                worst[name] = max(worst[name], value)
            num_checked += 1
    with kernels(backend, context.device):
        check_special_cases(context.device, getattr(torch, dtype))
    # A level may tip where float32 divides or rounds otherwise; more than that is another function.
    tolerance = 3e-3 if dtype == "float16" else 1e-4
    is_right = worst["steps_apart"] < 1.01 and worst["share_of_other_values"] <= 1e-5
    is_right = is_right and worst["gradient"] < tolerance and worst["option_gradient"] < tolerance
    return {"is_right": is_right, "cases": num_checked, **worst}


def quantize(backend: str, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Returns values, the gradient of `x` and that of the options, on the CPU."""
    if backend:
        os.environ[QUANTIZER_VARIABLE] = backend
    try:
        options_B = torch.arange(len(x), device=x.device) % len(BIT_WIDTHS)
        leaf = x.detach().requires_grad_()
        selection_BO = torch.nn.functional.one_hot(options_B, len(BIT_WIDTHS)).float().requires_grad_()
        x_hat = fake_quantize_options(leaf, selection_BO, BIT_WIDTHS)
        x_hat.backward(grad)
        return [x_hat.detach().cpu(), leaf.grad.cpu(), selection_BO.grad.cpu()]
    finally:
        if backend:
            os.environ.pop(QUANTIZER_VARIABLE)


def differences(x: Tensor, found: list[Tensor], reference: list[Tensor]) -> dict[str, float]:
    """Compares with the reference: shares, quantization steps, and errors relative to the norm of an example."""
    values, expected = found[0].double().flatten(1), reference[0].double().flatten(1)
    wide = x.double().flatten(1)
    span_B1 = wide.amax(1, keepdim=True).clamp(min=0) - wide.amin(1, keepdim=True).clamp(max=0)
    levels_B1 = torch.tensor([2.0 ** BIT_WIDTHS[b % len(BIT_WIDTHS)] - 1 for b in range(len(x))])[:, None]
    step_B1 = (span_B1 / levels_B1).clamp(min=torch.finfo(x.dtype).tiny)
    if x.dtype == torch.float16:
        # 16 bits have more levels than float16 has values: what is stored may be one of its own steps apart.
        step_B1 = torch.maximum(step_B1, span_B1 * 2.0**-10)
    apart = (values - expected).abs()
    return {
        "share_of_other_values": (apart > 0).double().mean().item(),
        "steps_apart": (apart / step_B1).max().item(),
        "gradient": relative_error(found[1], reference[1]),
        "option_gradient": relative_error(found[2], reference[2]),
    }


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Returns the norm of the difference over that of the expected; infinite where something is not finite."""
    error = ((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30)).item()
    return error if error == error else float("inf")


def check_special_cases(device: torch.device, dtype: torch.dtype) -> None:
    """Checks bit-width 0, an example of zeros, and that a NaN stays within its example."""
    x = examples((4, 3, 5, 5)).to(device, dtype)
    x[1] = 0
    same = fake_quantize(x, torch.tensor([0, 8, 0, 0], device=device))
    assert same.equal(x), "bit-width 0, or an example of zeros, does not pass through unchanged"
    x[2, 1, 1, 1] = float("nan")
    seen = fake_quantize(x, torch.full((4,), 6, device=device))
    assert seen[2].isnan().all(), "a NaN does not reach its whole example"
    assert seen[[0, 1, 3]].isfinite().all(), "a NaN does not stay within its example"


def examples(shape: tuple[int, ...]) -> Tensor:
    """Draws signed, shifted, tied, zero, negative and constant examples in turn."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for b in range(shape[0]):
        kinds = (x[b], x[b] + 4, x[b].clamp(-0.5, 0.5), 0 * x[b], -x[b].abs(), 0 * x[b] + 1.7, x[b].relu())
        x[b] = kinds[b % len(kinds)]
    return x


def layouts_of(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names the layouts that a shape can have."""
    return ("contiguous", "channels last", "transposed") if len(shape) == 4 else ("contiguous",)


def arrange(x: Tensor, layout: str) -> Tensor:
    """Returns the same values in another layout."""
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    return x.transpose(-1, -2).contiguous().transpose(-1, -2) if layout == "transposed" else x


def check_knapsack(context: Context, *, backend: str) -> dict[str, Any]:
    """Compares selections with those of the CPU to the last tie."""
    num_checked, num_other = 0, 0
    batch = 2 if context.is_tiny else 64
    for num_sites, bit_widths, budget in TINY_PROBLEMS if context.is_tiny else PROBLEMS:
        shape = (batch, num_sites, len(bit_widths))
        for kind in (torch.randn(shape).softmax(-1), torch.randint(-1, 2, shape) / 4, torch.zeros(shape)):
            for dtype in (torch.float32, torch.float16):
                profits_BLO = kind.to(dtype)
                expected = select(profits_BLO, bit_widths, budget)
                with kernels(backend, context.device):
                    found = select(profits_BLO.to(context.device), bit_widths, budget).cpu()
                num_checked += 1
                num_other += int((found != expected).sum())
    return {"is_right": num_other == 0, "cases": num_checked, "other_choices": num_other}


def check_pair(context: Context, *, backend: str) -> dict[str, Any]:
    """Trains a small pair for an epoch on the device and on the CPU, from the same weights and batches."""
    # What the interpreter of Triton does on a CPU takes minutes for a whole network.
    if context.is_tiny and backend == "triton":
        context.require_cuda("training with Triton's kernels")
    with kernels("plain", torch.device("cpu")):
        expected = train_small_pair(torch.device("cpu"))
    with kernels(backend, context.device):
        found = train_small_pair(context.device)
    budgets = {
        int(total) for each in (expected, found) for total in each.predictions["bit_width"].int().sum(dim=1).unique()
    }
    loss, expected_loss = (each.metrics["train/loss"] for each in (found, expected))
    is_right = budgets == {SMALL_PAIR.budget} and abs(loss - expected_loss) < 0.02 * abs(expected_loss)
    return {"is_right": is_right, "loss": loss, "loss_on_cpu": expected_loss, "budgets": sorted(budgets)}


def check_graphs(context: Context) -> dict[str, Any]:
    """Trains with CUDA graphs and without, and a network that cannot be captured."""
    context.require_cuda("a CUDA graph")
    with variables({GRAPHS_VARIABLE: "off"}):
        plain = train_small_pair(context.device)
    graphed, uncaptured = train_small_pair(context.device), train_small_pair(context.device, is_captured=False)
    errors = {
        name: max(relative_error(each.checkpoint[key], plain.checkpoint[key]) for key in plain.checkpoint)
        for name, each in (("weights", graphed), ("weights_of_uncaptured", uncaptured))
    }
    return {"is_right": max(errors.values()) < 1e-3, **errors}


SMALL_PAIR = PairRecipe(
    architecture="test_resnet",
    budget=82,
    epochs=1,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.02,
    weight_decay=1e-4,
    goal=Goal.DETRIMENTAL,
    # As large that the loss is not 0 from the start.
    margin=0.5,
)


class Asking(nn.Module):
    """Waits for the GPU on the way, as no graph can."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns its input, after reading a value of it."""
        x.sum().item()
        return x


def train_small_pair(device: torch.device, *, is_captured: bool = True) -> StageResult:
    """Trains a pair of a small network; where it is not captured, the network asks the GPU for a value."""
    data = made_data(size=32, num_images=64, num_classes=4)
    torch.manual_seed(0)
    white_box = create_backbone("test_resnet", data.num_classes).eval().requires_grad_(False)
    if not is_captured:
        white_box.layer1.append(Asking())
    losses: dict[str, float] = {}
    white_box = place(white_box, device)
    run = pair.train(SMALL_PAIR, data.to(device), white_box=white_box, seed=0, device=device)
    result = finish(run, lambda report: losses.update(report.metrics))
    return replace(result, metrics={**result.metrics, "train/loss": losses["train/loss"]})


def check_memory_probe(context: Context) -> dict[str, Any]:
    """Measures with more data of a known size, on a GPU that is too full, and again afterwards."""
    context.require_cuda("the memory probe")
    recipe = PairRecipe(
        architecture="resnet18",
        budget=110,
        epochs=1,
        batch_size=64,
        optimizer="sgd",
        learning_rate=1e-4,
        weight_decay=1e-4,
    )
    plain = {"stage": "pair", "recipe": recipe.model_dump(mode="json"), "parent": "resnet18"}
    plain |= {"image_size": 224, "stored_size": 256}
    alone = measure_on_gpu(plain | {"dataset_bytes": GIB})
    more = measure_on_gpu(plain | {"dataset_bytes": 3 * GIB})
    full = measure_on_gpu(plain | {"dataset_bytes": alone["total_bytes"]})
    again = measure_on_gpu(plain | {"dataset_bytes": GIB})
    gc.collect()
    torch.cuda.empty_cache()
    left = torch.cuda.memory_reserved() / GIB
    added = (more["peak_bytes"] - alone["peak_bytes"]) / GIB
    is_right = (alone["fits"], more["fits"], full["fits"], again["fits"]) == (True, True, False, True)
    is_right = is_right and abs(added - 2) < 0.25 and abs(again["peak_bytes"] / alone["peak_bytes"] - 1) < 0.1
    found = {"gib_of_a_pair": alone, "gib_again": again, "gib_with_2_gib_more": more}
    return {"is_right": is_right, **{name: each["peak_bytes"] / GIB for name, each in found.items()}, "gib_left": left}
