"""Single values that replace those of a sweep's recipes: `--set`, `--epochs-scale`, and the sections of a grid file.

A value is named by where it stands: a stage and a field (`pair.margin`), or a stage, a goal and a field
(`pair.detrimental.margin`). `dataset` is a name like a stage's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.files.yaml_files import yaml_value
from search_spaces.model import Frozen, FrozenT, parse, vary
from search_spaces.names import Goal
from search_spaces.recipes import TrainingRecipe

Values = dict[str, Any]
"""Values of fields by name, as the user wrote them; those of `pair` may hold further ones under the name of a goal."""
TrainingT = TypeVar("TrainingT", bound=TrainingRecipe)
# A cell stands for these in every report, so nothing else may set them.
SET_BY_CELLS: dict[str, dict[str, str]] = {
    "distill": {
        "architecture": "--architecture, or `architectures` of a grid file",
        "black_box": "--teacher, or `teacher: URI` of a grid file",
    },
    "pair": {
        "architecture": "--architecture, or `architectures` of a grid file",
        "goal": "--goal, or `goals` of a grid file",
        "bit_widths": "--option-set, or `option_sets` of a grid file",
        "budget": "--budget, or `budgets` of a grid file",
        "white_box": "--white-box, or `white_boxes` of a grid file",
    },
}


class Settings(Frozen):
    """Values to replace, by stage; what is not named stays as it is."""

    dataset: Values = Field(default_factory=dict)
    teacher: Values = Field(default_factory=dict)
    distill: Values = Field(default_factory=dict)
    pair: Values = Field(default_factory=dict)


def parse_assignments(assignments: Sequence[str]) -> Settings:
    """Reads the values of `--set`, which are YAML; of two for the same field the later one counts.

    Raises:
        UnknownNameError: There is no such stage or goal. Fields are checked when they are applied.
        ConfigError: The text is no assignment.

    Examples:
        >>> parse_assignments(["pair.margin=0.05", "pair.robust.epochs=3"]).pair
        {'margin': 0.05, 'robust': {'epochs': 3}}
    """
    stages: dict[str, Values] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        stage, *goals, field = path.split(".") if "." in path else (path, "")
        if stage and stage not in Settings.model_fields:
            raise unknown_name("stage", stage, Settings.model_fields)
        if not equals or not stage or not field or len(goals) > (stage == "pair"):
            raise ConfigError(
                f"--set {assignment!r} sets nothing: write STAGE.FIELD=VALUE, for example pair.margin=0.05 or "
                "pair.robust.margin=0.05."
            )
        values = stages.setdefault(stage, {})
        for goal in goals:
            if goal not in list(Goal):
                raise unknown_name("goal", goal, [known.value for known in Goal], place=stage)
            values = values.setdefault(goal, {})
        values[field] = yaml_value(assignment, text)
    return parse(Settings, stages, place="--set")


def changes_for(values: Values, place: str, goal: Goal | None) -> list[tuple[str, Values]]:
    """Splits the values of a stage into those for both goals and, after them, those for one, each with its place."""
    if goal is None:
        return [(place, values)]
    shared = {name: value for name, value in values.items() if name not in list(Goal)}
    own = values.get(goal, {})
    if not isinstance(own, dict):
        raise ConfigError(f"{place}.{goal}={own!r} names no field: write {place}.{goal}.FIELD.")
    return [(place, shared), (f"{place}.{goal}", own)]


def override(recipe: FrozenT, stage: str, values: Mapping[str, object], place: str) -> FrozenT:
    """Returns the recipe of a stage, or the dataset, with some of its values replaced.

    Raises:
        UnknownNameError: A field does not exist.
        ConfigError: A value breaks its field's rule, or is for cells to set.
    """
    for name, option in SET_BY_CELLS.get(stage, {}).items():
        if name in values:
            raise ConfigError(f"{place}.{name}={values[name]!r} is for the cells to set: use {option}.")
    return parse(type(recipe), recipe.model_dump() | dict(values), place=place)


def scale_epochs(recipe: TrainingT, scale: float) -> TrainingT:
    """Returns a recipe that trains for a multiple of its epochs, one at least.

    Raises:
        ConfigError: The scale is not positive and finite.
    """
    if not (scale > 0 and math.isfinite(scale * recipe.epochs)):
        raise ConfigError(f"--epochs-scale {scale} scales no epochs: give a positive number, for example 0.5.")
    return vary(recipe, epochs=max(1, round(recipe.epochs * scale)))
