"""The stages of a plan by name, and what every part of the program needs to know of each: a new stage is one entry.

`trainables.stages.registry` adds what runs it.
"""

from dataclasses import dataclass
from enum import StrEnum

from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from search_spaces.stages.assessment import AssessRecipe

StageRecipe = TrainingRecipe | AssessRecipe
"""What decides one trial of a stage."""


class Stage(StrEnum):
    """The stages, each after those that it builds on."""

    TEACHER = "teacher"
    DISTILL = "distill"
    PAIR = "pair"
    ASSESS = "assess"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTraits:
    """What is known of a stage before it runs."""

    recipe: type[StageRecipe]
    parent: Stage | None = None
    """Stage whose checkpoint it starts from."""
    gpu_share: float
    """Share of a GPU where a trial's memory could not be measured."""
    relative_cost: float
    """Time of an epoch in units of a distillation's, as measured on digits; used until the stage has been seen."""
    step: str = "epoch"
    """Word for what it reports after."""

    @property
    def is_training(self) -> bool:
        """Whether it trains for epochs of batches, so that its memory and its time can be told from its recipe."""
        return issubclass(self.recipe, TrainingRecipe)


STAGES: dict[Stage, StageTraits] = {
    # A teacher (ResNet50 at 224 px, batches of 128) fills a GPU; a distillation or a pair (ResNet18 at 224 px, batches
    # of 256 and 64) leaves room for a second trial beside it.
    Stage.TEACHER: StageTraits(recipe=TeacherRecipe, gpu_share=1.0, relative_cost=2.0),
    Stage.DISTILL: StageTraits(recipe=DistillRecipe, parent=Stage.TEACHER, gpu_share=0.5, relative_cost=1.0),
    Stage.PAIR: StageTraits(recipe=PairRecipe, parent=Stage.DISTILL, gpu_share=0.5, relative_cost=3.0),
    Stage.ASSESS: StageTraits(recipe=AssessRecipe, gpu_share=0.5, relative_cost=2.0, step="rung"),
}
