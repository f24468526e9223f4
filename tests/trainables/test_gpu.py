"""What must hold on a CUDA device; needs torch and timm only, so it runs on a bare GPU machine."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from tests.gpu.pair_step import PairStep, Variant, applied, median, time_repeated
from trainables.data.images import ImageData
from trainables.memory_format import place
from trainables.memory_probe import identify_gpu, measure_on_gpu
from trainables.quant.affine import fake_quantize, fake_quantize_options
from trainables.quant.knapsack import select
from trainables.stages import pair
from trainables.training_loop import finish

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
BIT_WIDTHS = (3, 4, 5, 6, 7, 8, 9, 10)
RESNET18 = PairRecipe(
    architecture="resnet18",
    budget=110,
    epochs=1,
    batch_size=64,
    optimizer="sgd",
    learning_rate=1e-4,
    weight_decay=1e-4,
    augmentations=("random_resized_crop", "horizontal_flip", "mixup"),
)
GIB = 2**30


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


def test_tf32_and_channels_last_change_logits_by_less_than_a_percent_and_take_these_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = torch.device("cuda")
    images_BCHW = torch.randint(256, (64, 3, 256, 256), dtype=torch.uint8, device=device)
    rows, logits = [], {}
    for variant in (
        Variant(tf32="none"),
        Variant(tf32="none", layout="channels last"),
        Variant(tf32="all"),
        Variant(tf32="all", layout="channels last"),
    ):
        with applied(variant):
            step = PairStep(RESNET18, images_BCHW, size=224, variant=variant)
            logits[variant.name] = step.white_box_logits(step.batch(is_augmented=False))
            torch.cuda.reset_peak_memory_stats()
            milliseconds = 1e3 * median(time_repeated(step.run, device, repeats=20))
        rows.append(f"{variant.name:32} {milliseconds:8.2f} ms {torch.cuda.max_memory_allocated() / 1e9:6.2f} GB")
    with capsys.disabled():
        heading = f"\npair step, resnet18, 224 px, batch 64, {torch.cuda.get_device_name()}"
        sys.stdout.write("\n".join([heading, *rows, ""]))
    for name, logits_BK in logits.items():
        error = (logits_BK - logits["tf32 none"]).norm() / logits["tf32 none"].norm()
        assert error < 0.01, name


def workload(**changes: Any) -> dict[str, Any]:
    plain = {"stage": "pair", "recipe": RESNET18.model_dump(mode="json"), "parent": "resnet18"}
    return plain | {"image_size": 224, "stored_size": 256, "dataset_bytes": 0} | changes


def test_memory_probe_counts_what_a_trial_holds() -> None:
    alone = measure_on_gpu(workload(dataset_bytes=GIB))
    beside = measure_on_gpu(workload(dataset_bytes=3 * GIB))
    assert alone["fits"]
    assert GIB < alone["peak_bytes"] < alone["total_bytes"]
    assert beside["peak_bytes"] - alone["peak_bytes"] == pytest.approx(2 * GIB, abs=GIB / 4)


def test_memory_probe_answers_on_a_full_gpu_and_measures_again_afterwards() -> None:
    before = measure_on_gpu(workload())
    full = measure_on_gpu(workload(dataset_bytes=before["total_bytes"]))
    after = measure_on_gpu(workload())
    assert (before["fits"], full["fits"], after["fits"]) == (True, False, True)
    assert after["peak_bytes"] == pytest.approx(before["peak_bytes"], rel=0.1)
    assert identify_gpu()["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("stage", ["teacher", "distill"])
def test_memory_probe_runs_the_other_stages(stage: str) -> None:
    common = RESNET18.model_dump(include=set(TrainingRecipe.model_fields)) | {"architecture": "test_resnet"}
    recipe = {"teacher": TeacherRecipe, "distill": DistillRecipe}[stage](**common)
    parent = None if stage == "teacher" else "test_resnet"
    assert measure_on_gpu(workload(stage=stage, recipe=recipe.model_dump(mode="json"), parent=parent))["fits"]
