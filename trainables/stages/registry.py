"""What runs each stage, and the network it starts from; `search_spaces.stages.registry` says all else of a stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from search_spaces.model import parse
from search_spaces.stages.registry import STAGES as TRAITS
from search_spaces.stages.registry import Stage, StageRecipe
from trainables.checkpoints import ResumePoint
from trainables.data.images import ImageData
from trainables.training_loop import StageRun


@dataclass(frozen=True, slots=True)
class StageInfo:
    """What is known of a stage."""

    function: str
    """Of the recipe, the data and, by name, `seed`, `device`, `resume` and the parent network; its module is imported
    when the stage starts, since an assessment brings the runtimes of ONNX files, which no training needs."""
    parent: str | None = None
    """Argument of the function for the trained network that the stage starts from; None for a stage without one."""


def parse_recipe(stage: str, values: Mapping[str, object]) -> StageRecipe:
    """Reads the recipe of a stage from plain values.

    Raises:
        ConfigError: A value breaks its field's rule.
    """
    return parse(TRAITS[Stage(stage)].recipe, values)


STAGES: dict[str, StageInfo] = {
    Stage.TEACHER: StageInfo("teacher.train"),
    Stage.DISTILL: StageInfo("distill.train", parent="black_box"),
    Stage.PAIR: StageInfo("pair.train", parent="white_box"),
    Stage.ASSESS: StageInfo("assess.run", parent="model"),
}


def start_stage(
    stage: str,
    recipe: StageRecipe,
    data: ImageData,
    *,
    parent: object | None,
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
    student: Mapping[str, Tensor] | None = None,
) -> StageRun:
    """Starts a stage.

    Args:
        stage: Key of `STAGES`.
        recipe: What to train and how.
        data: Dataset on `device`.
        parent: The network it starts from, on `device`, frozen and in evaluation mode, or a `GivenNetwork`; None for
            a stage without one.
        seed: Of everything random in training.
        device: Where to train.
        resume: Where to go on.
        student: Tensors that a pair's student starts with, by the names of the parent's; None for the parent's own.
    """
    info = STAGES[stage]
    networks: dict[str, Any] = {info.parent: parent} if info.parent else {}
    networks |= {} if student is None else {"student": student}
    module, _, name = info.function.rpartition(".")
    run: StageRun = getattr(import_module(f"trainables.stages.{module}"), name)(
        recipe, data, seed=seed, device=device, resume=resume, **networks
    )
    return run
