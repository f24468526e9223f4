"""Trials: what the store says about every node of a plan, done or not. All reading of a report happens here.

A report is made at any time, also while trials run or after some failed: what cannot be read is a state with
a reason, never an exception.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.plan import Node, Plan, Stage
from orchestrator.store import EPOCHS, ERROR, RECIPE, RESULT, Folder, Store
from search_spaces.errors import StorageError
from search_spaces.loss_space import SEARCHED_FIELDS, point_of
from search_spaces.objective import ACCURACIES
from search_spaces.recipes import PairRecipe

SPLITS = ("validation", "test")
PAIR_METRICS = tuple(f"{split}/{name}" for split in SPLITS for name in (*ACCURACIES, "drop_standard_error"))
"""What a result must hold to count; the differences follow from these."""
CURVE_COLUMNS = ("epoch", "validation/accuracy_fp", "validation/accuracy_q")

_MAX_REASON = 300
_STARTED = "started, no result yet: it runs, or was interrupted"


class State(StrEnum):
    """How far a trial has come, for a reader; `orchestrator.trials.State` is what a launch acts on.

    It knows what a single folder cannot tell (blocked by a parent), and calls damaged files failed instead of raising.
    """

    DONE = "done"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    """Started without a result: it runs right now, or it was interrupted."""
    BLOCKED = "blocked"
    """Never started, because a trial it needs failed."""
    WAITING = "waiting"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One node of the plan and what the store holds of it."""

    node: Node
    state: State
    reason: str = ""
    """Why it failed or is blocked, in one line."""
    point: Mapping[str, float] | None = None
    """Loss weights and margin of a pair; None until its study has chosen them, and for other stages."""
    metrics: Mapping[str, float]
    """The numbers of result.json; empty unless done."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Validation accuracy of a pair after every epoch, fractions."""

    epochs: tuple[float, ...]
    accuracy_fp: tuple[float, ...]
    accuracy_q: tuple[float, ...]


def read_trials(plan: Plan, store: Store) -> tuple[Trial, ...]:
    """Returns every trial of the plan with its state, in plan order."""
    trials: dict[str, Trial] = {}
    for node in plan.nodes:
        trials[node.uid] = _read_trial(node, store.trial(node.stage, node.uid), trials)
    return tuple(trials.values())


def read_curve(trial: Trial, store: Store) -> Curve | None:
    """Returns a pair's training curve, or None while there are no epochs to show."""
    try:
        table = store.trial(trial.node.stage, trial.node.uid).read_table(EPOCHS)
    except (StorageError, OSError):
        return None  # a damaged file costs one line of one figure, not the report
    if table is None or table.num_rows == 0 or not set(CURVE_COLUMNS) <= set(table.column_names):
        return None
    columns = (table.column(name).to_pylist() for name in CURVE_COLUMNS)
    # A resumed trial may have written an epoch twice; the later row is the one that training went on from.
    latest = {epoch: (fp, q) for epoch, fp, q in zip(*columns, strict=True) if None not in (epoch, fp, q)}
    epochs = sorted(latest)
    return Curve(
        epochs=tuple(epochs),
        accuracy_fp=tuple(latest[epoch][0] for epoch in epochs),
        accuracy_q=tuple(latest[epoch][1] for epoch in epochs),
    )


def _read_trial(node: Node, folder: Folder, earlier: Mapping[str, Trial]) -> Trial:
    point: dict[str, float] | None = None
    try:
        recipe = folder.read_json(RECIPE)
        point = _point(node, recipe)
        result = folder.read_json(RESULT)
        if result is not None:
            metrics = _numbers(result.get("metrics"))
            _check_metrics(node, folder, metrics)
            seconds = _numbers(result).get("seconds")
            return Trial(node=node, state=State.DONE, point=point, metrics=metrics, seconds=seconds)
        error = folder.read_bytes(ERROR)
    except StorageError as damage:
        return Trial(node=node, state=State.FAILED, reason=_shorten(str(damage)), point=point, metrics={})
    if error is not None:
        return Trial(node=node, state=State.FAILED, reason=_last_line(error), point=point, metrics={})
    if recipe is not None:
        return Trial(node=node, state=State.UNFINISHED, reason=_STARTED, point=point, metrics={})
    for parent in node.parents:
        if earlier[parent].state in (State.FAILED, State.BLOCKED):
            reason = f"needs {earlier[parent].node.name}, which is {earlier[parent].state}"
            return Trial(node=node, state=State.BLOCKED, reason=reason, point=point, metrics={})
    return Trial(node=node, state=State.WAITING, point=point, metrics={})


def _point(node: Node, stored: Mapping[str, object] | None) -> dict[str, float] | None:
    """Loss weights and margin: what the trial itself wrote, else the plan's, which is final for trial 0."""
    if not isinstance(node.recipe, PairRecipe):
        return None
    point = _numbers(stored.get("recipe") if stored else None)
    if set(SEARCHED_FIELDS) <= set(point):
        return {name: point[name] for name in SEARCHED_FIELDS}
    return None if node.is_searched else point_of(node.recipe)


def _check_metrics(node: Node, folder: Folder, metrics: Mapping[str, float]) -> None:
    missing = [name for name in PAIR_METRICS if name not in metrics] if node.stage is Stage.PAIR else []
    if missing:
        raise StorageError(
            f"{folder.root}/{RESULT} has no finite {missing[0]}: it was edited, or another version wrote it. "
            "Move it away and launch again."
        )


def _numbers(value: object) -> dict[str, float]:
    """The finite numbers of a JSON object; anything else is dropped."""
    if not isinstance(value, Mapping):
        return {}
    return {
        str(name): float(number)
        for name, number in value.items()
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    }


def _last_line(error: bytes) -> str:
    """The last line of a traceback, which names the exception."""
    lines = error.decode(errors="replace").split("\n")
    return _shorten(next((line.strip() for line in reversed(lines) if line.strip()), "no message"))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
