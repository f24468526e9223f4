"""How the detrimental cells of a grid are searched: where, how long, by which sampler, and when it is enough."""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from search_spaces.budgets import none_for
from search_spaces.errors import ConfigError
from search_spaces.loss_space import LossSpace
from search_spaces.model import Frozen, Positive, later_field
from search_spaces.names import (
    LEARNS_FROM,
    OBJECTIVES,
    SEARCH_UNTIL,
    LearnsFrom,
    Objective,
    Pruner,
    Sampler,
    SearchUntil,
)

AS_PUBLISHED = "as-published"
AS_PUBLISHED_BEFORE = "literal"
"""The word for it in the plans and uids of storages that were written before it changed."""
StartPoint = Annotated[
    Literal["recipe", "as-published"],
    BeforeValidator(lambda name: AS_PUBLISHED if name == AS_PUBLISHED_BEFORE else name),
]
MIN_EPOCHS_TO_PRUNE = 8
"""Smallest number of epochs of which the first half tells anything."""
HALVING = 2


def rung(epochs: int) -> int:
    """Returns the epoch at which `halving` ends the worse half of the trials that run so many."""
    # Rounded up, or an odd number of epochs would have a second rung one epoch before the end.
    return math.ceil(epochs / HALVING)


def hurdles(epochs: int) -> tuple[int, ...]:
    """Returns the epochs at which `hurdle` compares a trial that runs so many: half of them, and three quarters.

    Pairs break between a third and two thirds of their epochs, so that earlier curves say little.

    Examples:
        >>> hurdles(12), hurdles(2)
        ((6, 9), (1,))
    """
    return tuple(at for at in dict.fromkeys((rung(epochs), math.ceil(3 * epochs / 4))) if at < epochs)


class Search(Frozen):
    """One study per searched cell; the trials that one cell does not need go to the others."""

    trials: int = Field(default=0, ge=0)
    """Trials per cell beyond its first one, on average over the searched cells."""
    levels: Literal["all"] | tuple[str, ...] = "all"
    """Names of the budgets of the searched cells."""
    max_trials: int | None = Field(default=None, ge=0)
    """Largest number of trials of one cell, when others need fewer; null is twice `trials`."""
    keep_searching: bool = False
    """Whether the search of a cell goes on after its first hit; then no cell leaves trials to others."""
    until: Annotated[SearchUntil | None, none_for(SEARCH_UNTIL[0])] = later_field()
    """What ends the search of a cell: a `hit`, which None is, or one that is `shown` on the validation split, by the
    rule and the level of claims. The pair that stands for the cell is then a shown one, if there is any."""
    gpu_hours: Positive | None = None
    """GPU-hours of search trials after which no further one starts (core-hours where trials have no GPU)."""
    objective: Annotated[Objective | None, none_for(OBJECTIVES[0])] = later_field()
    """What a study maximizes: the `drop` less a penalty, which None is, or the `lag`, which moves before any image
    changes its class. Either way a hit is a matter of accuracies."""
    start_points: tuple[StartPoint, ...] = ("recipe", "as-published")
    """Points of a study's first trials: the recipe's own, the one as published in the paper, or neither."""
    warm_start: bool = True
    """Whether a study tries the point that made the pair of the same network with another budget or option set."""
    portfolio: int | None = later_field(ge=0)
    """Largest number of trials of a cell at points that were hits in other cells of its seed, of any network, before
    the sampler's own; the one that was a hit in the largest share of the cells that tried it comes first. None is
    `warm_start`."""
    startup: int | None = later_field(ge=0)
    """Finished trials that a sampler must see before it uses its model; until then points are quasi-random, so that
    they cover the space. None is what each sampler does by itself."""
    learns_from: Annotated[LearnsFrom | None, none_for(LEARNS_FROM[0])] = later_field()
    """What TPE and GP see: the trials of their `cell`, which None is, or of all cells of its `network` and seed."""
    sampler: Sampler = "tpe"
    """Method that chooses all other points. `nsga2` has two objectives, parity gap and drop; the others have one."""
    pruner: Pruner = "auto"
    """Rule for ending trials early: `halving` ends the worse half at half of the epochs, `auto` where epochs allow.
    `hurdle` ends those that are behind all hits of their network."""
    space: LossSpace = LossSpace()
    """Searched fields, each with its range or its choices."""
    confirm_seeds: int = Field(default=0, ge=0)
    """Number of further seeds on which the pair that a cell found is trained again, to confirm it."""

    confirm_from_scratch: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether those pairs start at the white box, where the pair that was found did not."""

    @model_validator(mode="after")
    def _check_parts(self) -> "Search":
        if not self.space.fields:
            raise ConfigError("space searches nothing: name a range, such as margin: [0.003, 0.9].")
        if self.max_trials is not None and self.max_trials < self.trials:
            raise ConfigError(f"max_trials={self.max_trials} is below trials={self.trials}: raise it or leave it out.")
        if self.until == "shown" and self.keep_searching:
            raise ConfigError("until=shown ends nothing with keep_searching=true: leave one of them out.")
        if self.confirm_from_scratch and not self.confirm_seeds:
            raise ConfigError("confirm_from_scratch=true confirms nothing: set confirm_seeds to 1 or more.")
        return self

    @property
    def maximizes(self) -> Objective:
        """The objective by name."""
        return self.objective or OBJECTIVES[0]

    @property
    def shares(self) -> bool:
        """Whether the sampler sees the trials of other cells: those whose model takes any points, in any order."""
        return self.learns_from == "network" and self.sampler in ("tpe", "gp")

    @property
    def most_trials(self) -> int:
        """Trials beyond its first one that a single cell may take."""
        if self.keep_searching or not self.trials:
            return self.trials
        return 2 * self.trials if self.max_trials is None else self.max_trials

    def prunes(self, epochs: int) -> bool:
        """Tells whether trials of so many epochs may be ended before their last one."""
        if self.pruner == "auto":
            # Searches of the drop by two objectives ran whole before there was a rule for them, and go on so.
            has_rule = self.sampler != "nsga2" or self.maximizes == "lag"
            return has_rule and epochs >= MIN_EPOCHS_TO_PRUNE
        return self.pruner != "none"
