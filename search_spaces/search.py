"""How the detrimental cells of a grid are searched: where, how long, by which sampler, and when it is enough."""

import math
from typing import Literal, get_args

from pydantic import Field, model_validator

from search_spaces.errors import ConfigError
from search_spaces.loss_space import LossSpace
from search_spaces.model import Frozen, Positive

Sampler = Literal["tpe", "gp", "random", "cmaes", "nsga2"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
Pruner = Literal["auto", "halving", "none"]
PRUNERS: tuple[Pruner, ...] = get_args(Pruner)
StartPoint = Literal["recipe", "literal"]
MIN_EPOCHS_TO_PRUNE = 8
"""Shorter trials are over before half of them tells anything."""
HALVING = 2


def rung(epochs: int) -> int:
    """Returns the epoch at which `halving` ends the worse half of the trials that run so many."""
    # Rounded up, or an odd number of epochs would have a second rung one epoch before the end.
    return math.ceil(epochs / HALVING)


class Search(Frozen):
    """One study per searched cell; the trials that one cell does not need go to the others."""

    trials: int = Field(default=0, ge=0)
    """Trials per cell beyond its first one, on average over the searched cells."""
    levels: Literal["all"] | tuple[str, ...] = "all"
    """Names of the budgets whose cells are searched."""
    max_trials: int | None = Field(default=None, ge=0)
    """The most that one cell takes, if others leave it theirs; null is twice `trials`."""
    keep_searching: bool = False
    """Go on in a cell that has its catastrophic pair; then no cell leaves anything to others."""
    gpu_hours: Positive | None = None
    """Start no further search trial after so many GPU-hours of them (core-hours where trials have no GPU)."""
    start_points: tuple[StartPoint, ...] = ("recipe", "literal")
    """What the first trials of a study run: the recipe's own point, the literal reading of the paper, or neither."""
    warm_start: bool = True
    """Try the point that made the pair of a neighbour: the same network with another budget or option set."""
    sampler: Sampler = "tpe"
    """Chooses all other points. `nsga2` sees two objectives, parity gap and drop, where the others see one."""
    pruner: Pruner = "auto"
    """`halving` ends the worse half of the trials at half of their epochs; `auto` does where epochs allow."""
    space: LossSpace = LossSpace()
    """What is searched, and between which ends."""
    confirm_seeds: int = Field(default=0, ge=0)
    """Further seeds on which the pair that a cell found is trained again, before anybody believes it."""

    @model_validator(mode="after")
    def _check_parts(self) -> "Search":
        if not self.space.fields:
            raise ConfigError("space searches nothing: name a range, such as margin: [0.003, 0.9].")
        if self.max_trials is not None and self.max_trials < self.trials:
            raise ConfigError(f"max_trials={self.max_trials} is below trials={self.trials}: raise it or leave it out.")
        if self.sampler == "nsga2" and self.pruner == "halving":
            raise ConfigError("pruner='halving' needs one objective and sampler='nsga2' has two: use pruner: none.")
        return self

    @property
    def most_trials(self) -> int:
        """Trials beyond its first one that a single cell may take."""
        if self.keep_searching or not self.trials:
            return self.trials
        return 2 * self.trials if self.max_trials is None else self.max_trials

    def prunes(self, epochs: int) -> bool:
        """Tells whether trials of so many epochs may be ended at half of them."""
        if self.pruner == "auto":
            return self.sampler != "nsga2" and epochs >= MIN_EPOCHS_TO_PRUNE
        return self.pruner == "halving"
