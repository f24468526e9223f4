"""A short training, looked at wherever one part hands something to the next."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from search_spaces.datasets import DatasetSpec
from search_spaces.recipes import PairRecipe, TrainingRecipe
from trainables import training_loop
from trainables.data.augment import training_batch
from trainables.data.images import ImageData
from trainables.data.loading import load_dataset
from trainables.data.view import View
from trainables.models.backbones import create_backbone
from trainables.optim import Part
from trainables.quant.knapsack import bit_widths_of
from trainables.stages import classifier, hits, pair
from trainables.stages.registry import STAGES, start_stage
from trainables.stages.selections.base import Drawn
from trainables.training_loop import EpochReport, build_optimizer, finish

SIZES = {"train": 32, "validation": 16, "test": 16}


def observe(stage: str, recipe: TrainingRecipe) -> dict[str, Any]:
    """Trains on 32 digits and returns what was seen.

    Returns:
        Of the whole training `batches` (stored images of every step), `rates` (learning rates of every step), `length`
        in epochs and `result` (the checkpoint). Of its first step `start` (parameters before it), `images` (as the
        networks see them), `bits` (chosen by the policy), the losses, `student gradient` and `policy gradient` (of a
        plain network the former), `clipped` (the gradient that the optimizer takes) and `update` (parameters after it).
    """
    batches: list[Tensor] = []
    rates: list[list[float]] = []
    seen: dict[str, Any] = {"batches": batches, "rates": rates, "student gradient": {}, "policy gradient": {}}
    policy: set[nn.Parameter] = set()

    def watched_batch(images_BCHW: Tensor, view: View, augmentations: Sequence[Any]) -> Tensor:
        batches.append(images_BCHW)
        images_BCHW = training_batch(images_BCHW, view, augmentations)
        seen.setdefault("images", images_BCHW)
        return images_BCHW

    class WatchedPair(pair.Pair):
        """A pair whose student has left the white box, and whose policy has a preference."""

        def __init__(self, white_box: nn.Module, recipe: PairRecipe) -> None:
            super().__init__(white_box, recipe)
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for weight in self.student.parameters():
                    weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
                self.policy.head.weight.mul_(10)
            policy.update(self.policy.parameters())

        def draw(self, images_BCHW: Tensor) -> Drawn:
            drawn = super().draw(images_BCHW)
            seen.setdefault("bits", bit_widths_of(drawn.selection_BLO.argmax(-1), self.recipe.bit_widths))
            return drawn

    def watched_optimizer(recipe: TrainingRecipe, parameters: Any, parts: Sequence[Part]) -> optim.Optimizer:
        parameters = list(parameters)
        optimizer = build_optimizer(recipe, parameters, parts)
        seen["start"] = [parameter.detach().clone() for parameter in parameters]
        for index, parameter in enumerate(parameters):
            part = seen["policy gradient" if parameter in policy else "student gradient"]
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(_keep_first, part, index))
        step = optimizer.step

        def watched_step() -> None:
            rates.append(sorted({group["lr"] for group in optimizer.param_groups}))
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            seen.setdefault("clipped", [parameter.grad.clone() for parameter in trained if parameter.grad is not None])
            step()
            seen.setdefault("update", [parameter.detach().clone() for parameter in parameters])

        optimizer.step = watched_step  # type: ignore[method-assign]
        return optimizer

    reports: list[EpochReport] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_loop, "build_optimizer", watched_optimizer)
        patch.setattr(classifier, "training_batch", watched_batch)
        patch.setattr(pair, "training_batch", watched_batch)
        patch.setattr(pair, "Pair", WatchedPair)
        patch.setattr(hits, "shows_hit", lambda metrics: True)
        parent = _parent() if STAGES[stage].parent else None
        run = start_stage(stage, recipe, _data(), parent=parent, seed=3, device=torch.device("cpu"))
        result = finish(run, reports.append)
    losses = {name.removeprefix("train/"): value for name, value in reports[0].metrics.items() if "train/" in name}
    return seen | losses | {"length": len(reports), "result": dict(result.checkpoint)}


def _keep_first(gradients: dict[int, Tensor], index: int, parameter: Tensor) -> None:
    gradients.setdefault(index, parameter.grad.clone())


@cache
def _data() -> ImageData:
    data = load_dataset(DatasetSpec(name="digits", image_size=32))
    splits = {name: data.splits[name].take(torch.arange(size)) for name, size in SIZES.items()}
    return replace(data, splits=splits)


@cache
def _parent() -> nn.Module:
    torch.manual_seed(1)
    return create_backbone("test_resnet", 10).eval().requires_grad_(False)
