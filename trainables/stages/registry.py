"""The stages by name: the recipe of each, what trains it, and the network it starts from. A new stage is one line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from trainables.checkpoints import ResumePoint
from trainables.data.images import ImageData
from trainables.stages import distill, pair, teacher
from trainables.training_loop import StageRun


@dataclass(frozen=True, slots=True)
class StageInfo:
    """What is known of a stage."""

    recipe: type[TrainingRecipe]
    train: Callable[..., StageRun]
    """Function of the recipe, the data and, by name, `seed`, `device`, `resume` and the parent network."""
    parent: str | None = None
    """Argument of `train` for the trained network that the stage starts from; None for a stage without one."""


STAGES: dict[str, StageInfo] = {
    "teacher": StageInfo(TeacherRecipe, teacher.train),
    "distill": StageInfo(DistillRecipe, distill.train, parent="black_box"),
    "pair": StageInfo(PairRecipe, pair.train, parent="white_box"),
}


def start_stage(
    stage: str,
    recipe: TrainingRecipe,
    data: ImageData,
    *,
    parent: nn.Module | None,
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Starts a stage.

    Args:
        stage: Key of `STAGES`.
        recipe: What to train and how.
        data: Dataset on `device`.
        parent: The network it starts from, on `device`, frozen and in evaluation mode; None for a stage without one.
        seed: Of everything random in training.
        device: Where to train.
        resume: Where to go on.
    """
    info = STAGES[stage]
    networks: dict[str, Any] = {info.parent: parent} if info.parent else {}
    return info.train(recipe, data, seed=seed, device=device, resume=resume, **networks)
