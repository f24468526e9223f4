"""What must hold on a CUDA device; needs torch and timm only, so it runs on a bare GPU machine."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.recipes import Augmentation, DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from trainables.data.augment import training_batch
from trainables.data.images import ImageData
from trainables.memory_format import place
from trainables.memory_probe import identify_gpu, measure_on_gpu
from trainables.models.backbones import create_backbone
from trainables.optim import build_optimizer
from trainables.quant.affine import fake_quantize, fake_quantize_options
from trainables.quant.knapsack import select
from trainables.stages import pair
from trainables.training_loop import LOSS, finish

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


@pytest.fixture
def precision() -> Iterator[Callable[[bool], None]]:
    """Lets convolutions and products use TF32 or not; torch's default is to allow it for convolutions only."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    def allow_tf32(allowed: bool) -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed

    yield allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_tf32_and_channels_last_change_logits_by_less_than_a_percent_and_take_these_times(
    precision: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    device = torch.device("cuda")
    images_BCHW = torch.randint(256, (64, 3, 256, 256), dtype=torch.uint8, device=device)
    rows, logits = [], {}
    for name, tf32, layout in (
        ("fp32", False, torch.contiguous_format),
        ("fp32, channels last", False, torch.channels_last),
        ("tf32", True, torch.contiguous_format),
        ("tf32, channels last", True, torch.channels_last),
    ):
        precision(tf32)
        torch.manual_seed(0)
        white_box = create_backbone("resnet18", 37).eval().requires_grad_(False)
        step = PairStep(white_box.to(device, memory_format=layout), images_BCHW, layout)
        logits[name] = step.white_box_logits().float()
        rows.append(f"{name:20} {step.milliseconds():8.2f} ms {step.peak_bytes() / 1e9:6.2f} GB")
    with capsys.disabled():
        heading = f"\npair step, resnet18, 224 px, batch 64, {torch.cuda.get_device_name()}"
        sys.stdout.write("\n".join([heading, *rows, ""]))
    for name, logits_BK in logits.items():
        error = (logits_BK - logits["fp32"]).norm() / logits["fp32"].norm()
        assert error < 0.01, name


class PairStep:
    """A pair in training, in one memory layout."""

    def __init__(self, white_box: nn.Module, images_BCHW: Tensor, layout: torch.memory_format) -> None:
        self.white_box, self.layout = white_box, layout
        self.images_BCHW = images_BCHW
        self.pair = pair.Pair(white_box, RESNET18).to(images_BCHW.device, memory_format=layout)
        self.optimizer = build_optimizer(RESNET18, self.pair.parameters())

    def white_box_logits(self) -> Tensor:
        with torch.no_grad():
            return self.white_box(self._batch(()))

    def milliseconds(self, repeats: int = 20) -> float:
        """Mean time of a step between two events on the GPU, after some that warm up."""
        for _ in range(5):
            self._run()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.reset_peak_memory_stats()
        start.record()
        for _ in range(repeats):
            self._run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / repeats

    def peak_bytes(self) -> int:
        """Of tensors, since the last timing began."""
        return torch.cuda.max_memory_allocated()

    def _batch(self, augmentations: tuple[Augmentation, ...]) -> Tensor:
        return training_batch(self.images_BCHW, 224, augmentations).to(memory_format=self.layout)

    def _run(self) -> None:
        images_BCHW = self._batch(RESNET18.augmentations)
        with torch.no_grad():
            white_box_logits_BK = self.white_box(images_BCHW)
        losses = pair.pair_losses(self.pair, images_BCHW, white_box_logits_BK)
        self.optimizer.zero_grad(set_to_none=True)
        losses[LOSS].backward()
        nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], RESNET18.gradient_clip)
        self.optimizer.step()


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
