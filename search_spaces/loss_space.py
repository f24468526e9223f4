"""The space that a study searches: loss weights and the margin of a detrimental pair.

The ranges are measured: a factor of four or five in kd_weight either way loses the pair, and fine bit-widths need
margins well above the paper's 0.01.
"""

from typing import Protocol

from search_spaces.recipes import PairRecipe, Recipe, vary


class LossSpace(Recipe):
    """Ranges of the searched fields of `PairRecipe`, all log-uniform."""

    hinge_weight: tuple[float, float] = (0.1, 10.0)
    kd_weight: tuple[float, float] = (0.2, 20.0)
    margin: tuple[float, float] = (0.003, 0.5)


SEARCHED_FIELDS = tuple(LossSpace.model_fields)


class SuggestsFloats(Protocol):
    """The part of `optuna.Trial` that a space needs."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Returns a value in [low, high]."""


def suggest(space: LossSpace, trial: SuggestsFloats) -> dict[str, float]:
    """Draws one point of the space from an Optuna trial."""
    return {name: trial.suggest_float(name, *getattr(space, name), log=True) for name in SEARCHED_FIELDS}


def point_of(recipe: PairRecipe) -> dict[str, float]:
    """Returns where a recipe lies in the space; the recipe's own point is always trial 0 of its study."""
    return {name: float(getattr(recipe, name)) for name in SEARCHED_FIELDS}


def apply_point(recipe: PairRecipe, point: dict[str, float]) -> PairRecipe:
    """Returns the recipe moved to a point of the space."""
    return vary(recipe, **{name: point[name] for name in SEARCHED_FIELDS})
