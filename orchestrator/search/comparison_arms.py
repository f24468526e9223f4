"""The arms of a comparison of searches: the same cells, with four ways to look for their pairs."""

from dataclasses import replace

from orchestrator.search.arms import Arm
from search_spaces.grids.build import Choices
from search_spaces.loss_space import PUBLISHED


def choices_for(arm: Arm, choices: Choices) -> Choices:
    """Returns what the user chose, for one arm; the search that was chosen is that of `Arm.SEARCH`."""
    match arm:
        case Arm.AS_PUBLISHED:
            published = tuple(f"pair.{name}={value}" for name, value in PUBLISHED.items())
            return replace(choices, overrides=(*choices.overrides, *published), search={"trials": 0})
        case Arm.RECIPE:
            return replace(choices, search={"trials": 0})
        case Arm.RANDOM:
            plain = {"sampler": "random", "pruner": "none", "start_points": (), "warm_start": False, "confirm_seeds": 0}
            return replace(choices, search={**choices.search, **plain})
        case Arm.SEARCH:
            return choices
