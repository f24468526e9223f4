"""How long a plan takes on the cores of this machine, from steps that were measured."""

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.costs.step_times import (
    STEP_TIMES,
    StepTimes,
    measured_by_others,
    measured_in,
    steps_per_epoch,
    training_of,
)
from orchestrator.plan import Node, Plan
from orchestrator.progress.pace import GUESSED, SURE, makespan, span_text
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.recipes import TrainingRecipe

CPU = "cpu"
GPU_DRIVER = Path("/dev/nvidiactl")
"""Where there is one, trials run on a GPU, and cores tell nothing."""


def time_here_text(plan: Plan, states: Mapping[str, State], store: Store, num_cores: int | None = None) -> str:
    """Says how long a launch takes on this machine, as a range; nothing where no measured step tells.

    Args:
        plan: What is to run.
        states: Of its trials, by uid.
        store: Whose finished trials tell best how long a step takes.
        num_cores: Trials at a time; None counts this machine's.
    """
    left, nodes = [node for node in plan.nodes if states[node.uid].is_open], plan.by_uid()
    if not left or GPU_DRIVER.exists() or not all(isinstance(node.recipe, TrainingRecipe) for node in left):
        return ""
    wanted = {training_of(node, nodes) for node in left}
    times, cores = StepTimes([*measured_in(store, wanted), *measured_by_others()]), num_cores or os.cpu_count() or 1
    seconds: dict[str, tuple[float, float]] = {}
    for node in left:
        assert isinstance(node.recipe, TrainingRecipe)
        step, steps = times.find(training_of(node, nodes), node.recipe.batch_size, CPU), _steps(node)
        if step is None or steps is None:
            return ""
        # Another machine's steps tell less of this one.
        low, high = GUESSED if step.source == STEP_TIMES.name else SURE
        seconds[node.uid] = low * steps * step.seconds, high * steps * step.seconds
    is_searching = not plan.grid.search.keep_searching
    needed = [node for node in left if not (is_searching and node.is_of_search)]
    least = makespan(needed, lambda node: seconds[node.uid][0], cores)
    most = makespan(left, lambda node: seconds[node.uid][1], cores)
    early = ", the search may end early" if len(needed) < len(left) else ""
    on = f"{cores} core{'' if cores == 1 else 's'}"
    return f"{span_text(least, most)} on the {on} of this machine without a GPU, by measured steps{early}"


def _steps(node: Node) -> int | None:
    assert isinstance(node.recipe, TrainingRecipe)
    each = steps_per_epoch(node.recipe, node.dataset)
    return None if each is None else each * node.recipe.epochs
