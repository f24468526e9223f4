"""The plans of a comparison's arms, or one line about the arm that cannot run."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from orchestrator.cli.values import plan_from_options
from orchestrator.plan import Plan
from orchestrator.search.arms import Arm
from orchestrator.search.comparison_arms import check_arm, choices_for
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices


def arm_plans(grid: str, choices: Choices, arms: Iterable[Arm], *, storage: str, data_dir: Path) -> dict[Arm, Plan]:
    """Builds the plan of every arm; see `plan_from_options`.

    Raises:
        ConfigError: Grid or choices are wrong, or else an arm cannot do with their cells what it is for: names it.
    """
    plan_of = partial(plan_from_options, grid, storage=storage, data_dir=data_dir)
    plans = {}
    for arm in arms:
        try:
            plans[arm] = plan_of(choices_for(arm, choices))
            check_arm(arm, plans[arm].grid)
        except ConfigError as error:
            # What is wrong without the arm, too, is said without it.
            plan_of(choices_for(Arm.RECIPE, choices))
            raise type(error)(f"--arm {arm}: {error}") from error
    return plans
