"""The space that a study searches: loss weights and the margin of a detrimental pair, and what else a user adds.

The ranges are measured: a factor of four or five in kd_weight either way loses the pair, and fine bit-widths need
margins well above the paper's 0.01.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import AfterValidator, Field

from search_spaces.errors import ConfigError
from search_spaces.model import Frozen, vary
from search_spaces.recipes import PairRecipe

Point = dict[str, Any]
"""Values of the searched fields of `PairRecipe`, by name."""


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] < ends[1]:
        raise ConfigError(f"the range {list(ends)} cannot be searched: give [low, high] with 0 < low < high.")
    return ends


def _check_choices(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(choices)) < len(choices):
        raise ConfigError(f"the choices {list(choices)} name one twice: name each once.")
    return choices


Range = Annotated[tuple[float, float], AfterValidator(_check_range)]
Choice = TypeVar("Choice")
Choices = Annotated[tuple[Choice, ...], Field(min_length=2), AfterValidator(_check_choices)]


class LossSpace(Frozen):
    """Ranges, all log-uniform, and choices of the searched fields of `PairRecipe`; null leaves a field as it is."""

    hinge_weight: Range | None = (0.1, 10.0)
    kd_weight: Range | None = (0.2, 20.0)
    margin: Range | None = (0.003, 0.9)
    temperature: Range | None = None
    learning_rate: Range | None = None
    profits: Choices[Literal["softmax", "logits"]] | None = None
    range_gradient: Choices[bool] | None = None
    batch_norm: Choices[Literal["frozen", "fp_pass", "both"]] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the searched fields."""
        return tuple(name for name in LossSpace.model_fields if getattr(self, name) is not None)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The searched ranges, by field."""
        return {name: getattr(self, name) for name in self.fields if name not in CHOICES}

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The searched choices, by field."""
        return {name: getattr(self, name) for name in self.fields if name in CHOICES}


CHOICES = ("profits", "range_gradient", "batch_norm")
"""Fields of a space that are no ranges."""
# Sections 3 and 4 as published: Eq. 3 has no temperature^2, and nothing is said of batch norm, which both passes share.
PUBLISHED: Mapping[str, Any] = {
    "hinge_weight": 1.0,
    "kd_weight": 1.0,
    "margin": 0.01,
    "temperature": 5.0,
    "kd_scaled": False,
    "batch_norm": "both",
    "learning_rate": 0.1,
}


class Suggests(Protocol):
    """The part of `optuna.Trial` that a space needs."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Returns a value in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Returns one of the choices."""


def holds(space: LossSpace, point: Mapping[str, Any]) -> bool:
    """Tells whether a point lies within the ranges and choices of a space."""
    in_ranges = all(low <= point[name] <= high for name, (low, high) in space.ranges.items())
    return in_ranges and all(point[name] in given for name, given in space.choices.items())


def suggest(space: LossSpace, trial: Suggests) -> Point:
    """Draws one point of the space from an Optuna trial."""
    drawn: Point = {name: trial.suggest_float(name, *ends, log=True) for name, ends in space.ranges.items()}
    return drawn | {name: trial.suggest_categorical(name, list(given)) for name, given in space.choices.items()}


def point_at(space: LossSpace, shares: Sequence[float]) -> Point:
    """Returns the point at shares in [0, 1) of the fields of a space, in their order; ranges are logarithmic.

    Examples:
        >>> space = LossSpace(hinge_weight=None, kd_weight=None, margin=(0.01, 1.0), profits=("softmax", "logits"))
        >>> point_at(space, (0.5, 0.9))
        {'margin': 0.1, 'profits': 'logits'}
    """
    point: Point = {}
    for name, share in zip(space.fields, shares, strict=True):
        if name in space.choices:
            point[name] = space.choices[name][int(share * len(space.choices[name]))]
        else:
            low, high = space.ranges[name]
            point[name] = min(max(low, low * (high / low) ** share), high)
    return point


def coordinates(space: LossSpace, point: Mapping[str, Any]) -> list[float]:
    """Returns where a point lies: its share of every range, and whole numbers for choices.

    Examples:
        >>> space = LossSpace(hinge_weight=None, kd_weight=None, margin=(0.01, 1.0), profits=("softmax", "logits"))
        >>> coordinates(space, {"margin": 0.1, "profits": "logits"})
        [0.5, 1.0]
    """

    def of(name: str) -> float:
        if name in space.choices:
            return float(space.choices[name].index(point[name]))
        low, high = space.ranges[name]
        return math.log(point[name] / low) / math.log(high / low)

    return [of(name) for name in space.fields]


def point_of(recipe: PairRecipe, space: LossSpace) -> Point:
    """Returns where a recipe lies in a space."""
    return {name: getattr(recipe, name) for name in space.fields}


def place_of(recipe: PairRecipe, base: PairRecipe, space: LossSpace) -> Point | None:
    """Returns where a recipe lies in the space around another; None if it differs beyond the space, or lies outside.

    Examples:
        >>> base = PairRecipe(architecture="resnet18", budget=110, epochs=1, batch_size=64, optimizer="sgd",
        ...                   learning_rate=0.04, weight_decay=1e-4)
        >>> place_of(vary(base, margin=0.1), base, LossSpace())
        {'hinge_weight': 1.0, 'kd_weight': 1.0, 'margin': 0.1}
        >>> place_of(vary(base, margin=0.95), base, LossSpace()), place_of(as_published(base), base, LossSpace())
        (None, None)
    """
    point = point_of(recipe, space)
    # Where the student starts is no matter of the space.
    there = base.model_copy(update=point | {"start_from": recipe.start_from})
    return point if holds(space, point) and recipe == there else None


def as_published(recipe: PairRecipe) -> PairRecipe:
    """Returns a recipe as published in the paper, at the length, batch size and cell of a recipe.

    Examples:
        >>> recipe = PairRecipe(architecture="resnet18", budget=110, epochs=1, batch_size=64, optimizer="sgd",
        ...                     learning_rate=0.04, weight_decay=1e-4)
        >>> published = as_published(recipe)
        >>> published.kd_scaled, published.batch_norm, published.learning_rate
        (False, 'both', 0.1)
    """
    return vary(recipe, **PUBLISHED, start_from=None)
