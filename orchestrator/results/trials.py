"""Trials: what the store says about every node of a plan, done or not. All reading of a report happens here.

A report is made at any time, also while trials run or after some failed: what cannot be read is a state with
a reason, never an exception.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.plan import Node, Origin, Plan, Stage
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.folder import EPOCHS, RESULT, Folder
from orchestrator.store.records import TrialRecord
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder, point_from, trial_of
from orchestrator.store.usage import paid_hours
from search_spaces.errors import StorageError
from search_spaces.loss_space import LossSpace, Point
from search_spaces.objective import ACCURACIES, accuracies_of, is_catastrophic
from search_spaces.recipes import PairRecipe

SPLITS = ("validation", "test")
PAIR_METRICS = tuple(f"{split}/{name}" for split in SPLITS for name in (*ACCURACIES, "drop_standard_error"))
"""What a result must hold to count; the differences follow from these."""
POINT_FIELDS = tuple(LossSpace.model_fields)
"""What makes a pair's point: all that a search may move."""
CURVE_COLUMNS = ("epoch", "validation/accuracy_fp", "validation/accuracy_q")
_MAX_REASON = 300
_STARTED = "started, no result yet: it runs, or was interrupted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One node of the plan and what the store holds of it."""

    node: Node
    state: State
    """What it died of, the reason says: every failure is `failed` here, damaged files too."""
    reason: str = ""
    """Why it failed or is blocked, in one line."""
    point: Point | None = None
    """Loss weights, margin and all else of a pair that may be searched; None until its study has chosen them."""
    point_from: str = ""
    """Where the point comes from: `recipe`, `literal`, a sampler, or the cell that it was borrowed of."""
    metrics: Mapping[str, float]
    """The numbers of result.json; empty unless done."""
    seconds: float | None = None
    finished_ms: int = 0
    """When it was done, in milliseconds since 1970; 0 unless its result says so."""

    @property
    def is_confirmation(self) -> bool:
        """Whether it repeats a pair that a search found, on another seed."""
        return self.node.origin is Origin.CONFIRMED


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
        trials[node.uid] = _read_trial(node, trial_of(store, node), trials)
    spared = _spared(plan, store, trials)
    return tuple(replace(trial, state=State.SPARED) if uid in spared else trial for uid, trial in trials.items())


def trials_by_cell(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Groups the trials of cells by `cell_id`, in the given order; confirmations are left out."""
    by_cell: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.node.cell and not trial.is_confirmation:
            by_cell.setdefault(trial.node.cell.cell_id, []).append(trial)
    return by_cell


def _spared(plan: Plan, store: Store, trials: Mapping[str, Trial]) -> set[str]:
    """Returns the uids of the trials that a search does not need, among those that did not begin."""
    if not plan.searched_cells:
        return set()
    states = {uid: trial.state for uid, trial in trials.items()}
    findings, has_limit = Findings(), plan.grid.search.gpu_hours is not None
    for uid, trial in trials.items():
        if trial.state not in (State.WAITING, State.BLOCKED):
            findings.begun.add(uid)
        if has_limit and trial.node.is_of_search and trial.state.is_final:
            findings.hours[uid] = _hours(store.trial(trial.node.stage, uid))
        if trial.state is State.DONE and trial.node.cell and not trial.is_confirmation:
            if is_catastrophic(**accuracies_of(trial.metrics, "validation")):
                findings.qualifying.add(uid)
    settled = settle(plan, states, findings)
    return {uid for uid, state in settled.items() if state is State.SPARED}


def _hours(folder: Folder) -> float:
    try:
        table = folder.read_table(EPOCHS)
    except (StorageError, OSError):
        return 0.0  # damaged; what a launch says to that is not the report's to say
    return 0.0 if table is None or "seconds" not in table.column_names else paid_hours(table.to_pylist())


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


def _read_trial(node: Node, folder: TrialFolder, earlier: Mapping[str, Trial]) -> Trial:
    point: Point | None = None
    origin = str(node.origin)

    def trial(state: State, reason: str = "") -> Trial:
        return Trial(node=node, state=state, reason=_shorten(reason), point=point, point_from=origin, metrics={})

    try:
        record = folder.recipe()
        point, origin = _point(node, record), point_from(node, record)
        if result := folder.result():
            metrics = {name: float(value) for name, value in result.metrics.items() if math.isfinite(value)}
            _check_metrics(node, folder, metrics)
            done = replace(trial(State.DONE), metrics=metrics, seconds=result.seconds)
            return replace(done, finished_ms=result.finished_ms)
        state, headline = folder.state(), folder.headline()
    except StorageError as damage:
        return trial(State.FAILED, str(damage))
    if headline is not None:
        return trial(State.FAILED, headline.line)
    if state is State.INTERRUPTED:
        return trial(state, _STARTED)
    if state is State.WAITING:
        for parent in node.parents:
            if earlier[parent].state in (State.FAILED, State.BLOCKED):
                return trial(State.BLOCKED, f"needs {earlier[parent].node.name}, which is {earlier[parent].state}")
    return trial(state)


def _point(node: Node, record: TrialRecord | None) -> Point | None:
    """What the trial itself wrote, else the plan's, which is final where no study chooses."""
    if not isinstance(node.recipe, PairRecipe):
        return None
    if record and set(POINT_FIELDS) <= set(record.recipe):
        return {name: record.recipe[name] for name in POINT_FIELDS}
    if node.origin in (Origin.SEARCHED, Origin.CONFIRMED):
        return None
    return {name: getattr(node.recipe, name) for name in POINT_FIELDS}


def _check_metrics(node: Node, folder: TrialFolder, metrics: Mapping[str, float]) -> None:
    missing = [name for name in PAIR_METRICS if name not in metrics] if node.stage is Stage.PAIR else []
    if missing:
        raise StorageError(
            f"{folder.folder.root}/{RESULT} has no finite {missing[0]}: it was edited, or another version wrote it. "
            "Move it away and launch again."
        )


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
