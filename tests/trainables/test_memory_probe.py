"""The memory probe runs the real stages and asks its reader at the right moments; a fake one stands in for a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from search_spaces.errors import UnknownNameError
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from trainables.evaluation import EVALUATION_BATCH
from trainables.memory_probe import measure

BATCH = 6
TRAINING: dict[str, Any] = {
    "architecture": "test_resnet",
    "epochs": 90,
    "batch_size": BATCH,
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
    "augmentations": ("random_resized_crop", "mixup"),
}
RECIPES: dict[str, TrainingRecipe] = {
    "teacher": TeacherRecipe(**TRAINING, optimizer="adamw", weights="imagenet"),
    "distill": DistillRecipe(**TRAINING, optimizer="sgd"),
    "pair": PairRecipe(**TRAINING, optimizer="sgd", budget=82),
}


def workload(stage: str, **changes: Any) -> dict[str, Any]:
    parent = None if stage == "teacher" else "test_resnet"
    plain = {"stage": stage, "recipe": RECIPES[stage].model_dump(mode="json"), "parent": parent}
    return plain | {"image_size": 32, "stored_size": 37, "dataset_bytes": 0} | changes


@dataclass
class Watched:
    """A reader that tells what had happened when it was asked."""

    training: int = 0
    """Training batches that passed a network's first convolution on their way to a gradient."""
    evaluated: int = 0
    """Evaluation batches that passed one."""
    steps: int = 0
    moments: list[str] = field(default_factory=list)

    def reset(self) -> None:
        assert not self.steps
        self.moments.append("reset")

    def peak_bytes(self) -> int:
        assert self.moments == ["reset"]
        self.moments.append("peak")
        return 123

    def total_bytes(self) -> int:
        return 456

    @contextmanager
    def watching(self) -> Iterator[None]:
        def on_forward(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if isinstance(module, nn.Conv2d) and module.in_channels == 3:
                self.training += len(inputs[0]) == BATCH and torch.is_grad_enabled()
                self.evaluated += len(inputs[0]) == EVALUATION_BATCH and torch.is_inference_mode_enabled()

        def on_step(optimizer: Optimizer, arguments: Any, options: Any) -> None:
            parameters = optimizer.param_groups[0]["params"]
            assert all(parameter.grad is not None for parameter in parameters)
            self.steps += 1

        hooks = (
            nn.modules.module.register_module_forward_pre_hook(on_forward),
            register_optimizer_step_post_hook(on_step),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@pytest.mark.parametrize("stage", ["teacher", "distill", "pair"])
def test_probe_takes_two_real_steps_and_an_evaluation_batch(stage: str) -> None:
    memory = Watched()
    with memory.watching():
        found = measure(workload(stage), device=torch.device("cpu"), memory=memory)
    assert found == {"peak_bytes": 123, "total_bytes": 456, "fits": True}
    assert memory.moments == ["reset", "peak"]
    assert memory.steps == 2
    # Passes through a first convolution: the network's; in a pair the student's two and the policy's. The white box of
    # a pair answers two splits before the first step, and student (twice) and policy answer one afterwards.
    assert memory.training == {"teacher": 2, "distill": 2, "pair": 6}[stage]
    assert memory.evaluated == {"teacher": 1, "distill": 1, "pair": 5}[stage]


def test_probe_shows_networks_the_size_that_they_would_see() -> None:
    seen: set[tuple[int, ...]] = set()

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            seen.add(tuple(inputs[0].shape[-2:]))

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        wide = workload("distill", image_size="16x48", stored_size="18x55", parent="test_vit")
        measure(wide, device=torch.device("cpu"), memory=Watched())
    finally:
        hook.remove()
    assert seen == {(16, 48)}


def test_probe_needs_neither_weights_nor_the_datasets_classes() -> None:
    found = measure(workload("teacher"), device=torch.device("cpu"), memory=Watched(), num_classes=3)
    assert found["fits"]


def test_out_of_memory_is_an_answer() -> None:
    def fill(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = nn.modules.module.register_module_forward_pre_hook(fill)
    try:
        found = measure(workload("distill"), device=torch.device("cpu"), memory=Watched())
    finally:
        hook.remove()
    assert found == {"peak_bytes": 123, "total_bytes": 456, "fits": False}


def test_the_rest_of_the_dataset_is_held_while_the_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    empty = torch.empty

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        if options.get("dtype") is torch.uint8 and isinstance(arguments[0], int):
            sizes.append(arguments[0])
        return empty(*arguments, **options)

    monkeypatch.setattr("trainables.memory_probe.torch.empty", noted)
    num_loaded = (2 * BATCH + 2 * EVALUATION_BATCH) * 3 * 37 * 37
    for dataset_bytes in (10, num_loaded + 10):
        measure(workload("teacher", dataset_bytes=dataset_bytes), device=torch.device("cpu"), memory=Watched())
    assert sizes == [0, 10]


@pytest.mark.parametrize("stage", ["teacher", "distill", "pair"])
def test_other_errors_are_not_taken_for_a_full_gpu(stage: str) -> None:
    wrong = RECIPES[stage].model_dump(mode="json") | {"architecture": "no_such_network"}
    with pytest.raises(UnknownNameError, match="unknown architecture 'no_such_network'"):
        measure(workload(stage, recipe=wrong, parent="no_such_network"), device=torch.device("cpu"), memory=Watched())
