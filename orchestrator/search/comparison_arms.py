"""What the arms of a comparison change: the same cells, with other ways to look for their pairs.

Sources stand with the names (`orchestrator.search.arms.Arm`). A new baseline is a name there and an entry of
`BASELINES`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.search.arms import Arm
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, Grid
from search_spaces.loss_space import PUBLISHED
from search_spaces.names import Goal
from search_spaces.recipes import WHITE_BOX

# A grid may give the policy a rate and a clip of its own, which mean nothing where it does not learn.
_NO_POLICY: Mapping[str, Any] = {"policy_learning_rate": None, "policy_gradient_clip": None}
_STUDENT_ALONE: Mapping[str, Any] = {"train": ["student"], **_NO_POLICY}
BASELINES: Mapping[Arm, Mapping[str, Any]] = {
    Arm.FROZEN: _STUDENT_ALONE,
    Arm.STATIC: {"selection": "static", **_STUDENT_ALONE},
    Arm.QU_ANTI_ZATION: {"selection": "static", "loss": "qu_anti_zation", **_STUDENT_ALONE},
    Arm.GUMBEL: {"selection": "gumbel", "profits": "logits"},
    Arm.PENALTY: {"selection": "penalty"},
    Arm.REINFORCE: {"selection": "reinforce", "profits": "logits"},
    Arm.RESCALED: {"rescaled": 10, "train": [], "epochs": 1, **_NO_POLICY},
}
"""Arms of one trial per cell, each with the fields in which its detrimental pairs differ from the grid's own."""
_SEARCHES = (Arm.RANDOM, Arm.SEARCH)


def choices_for(arm: Arm, choices: Choices) -> Choices:
    """Returns what the user chose, for one arm; the search that was chosen is that of `Arm.SEARCH`."""
    return choices if arm is Arm.SEARCH else _alone(arm, choices)


def _alone(arm: Arm, choices: Choices) -> Choices:
    """Returns what was chosen for an arm that takes nothing from other cells: its students start at the white box."""
    from_scratch = f"pair.{Goal.DETRIMENTAL}.start_from={WHITE_BOX}"
    choices = replace(choices, overrides=(*choices.overrides, from_scratch))
    match arm:
        case Arm.AS_PUBLISHED:
            published = tuple(f"pair.{name}={value}" for name, value in PUBLISHED.items())
            return replace(choices, overrides=(*choices.overrides, *published), search={"trials": 0})
        case Arm.RECIPE:
            return replace(choices, search={"trials": 0})
        case Arm.RANDOM:
            plain: dict[str, Any] = {"sampler": "random", "pruner": "none", "start_points": (), "warm_start": False}
            plain |= {"confirm_seeds": 0} | dict.fromkeys(("objective", "portfolio", "startup", "learns_from"))
            return replace(choices, search={**choices.search, **plain})
        case _:
            # Robust pairs stay the recipe's, which every arm of the comparison shares.
            place = f"pair.{Goal.DETRIMENTAL}"
            own = tuple(f"{place}.{name}={json.dumps(value)}" for name, value in BASELINES[arm].items())
            return replace(choices, overrides=(*choices.overrides, *own), search={"trials": 0})


def check_arm(arm: Arm, grid: Grid) -> None:
    """Refuses an arm that the cells of its grid leave nothing to do.

    Raises:
        ConfigError: No cell is detrimental, or none is searched, or no policy learns, where the arm needs that.
    """
    detrimental = [cell for cell in grid.cells if cell.goal is Goal.DETRIMENTAL]
    if not detrimental:
        raise ConfigError(
            f"no cell of grid {grid.name} is detrimental, and arms are compared by the hits that they find: add "
            f"{Goal.DETRIMENTAL} to its goals."
        )
    if arm in _SEARCHES and not any(cell.search_trials for cell in detrimental):
        raise ConfigError(
            f"no cell of grid {grid.name} is searched: give --search-trials above 0, or leave this arm out."
        )
    asks_policy = arm in BASELINES and "train" not in BASELINES[arm]
    idle = next((cell for cell in detrimental if "policy" not in cell.recipe.train), None) if asks_policy else None
    if idle:
        raise ConfigError(
            f"pair.train={list(idle.recipe.train)}: the arm is another way to teach the policy, and that of "
            f"{idle.cell_id} does not learn: add policy to train, or leave this arm out."
        )
