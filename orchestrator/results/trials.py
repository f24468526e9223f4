"""Trials: what a snapshot says of every node of a plan, done or not, for a reader.

A report is made at any time, also while trials run or after some failed: what cannot be read is a state with
a reason, never an exception.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.plan import Node, Origin
from orchestrator.results.claims import COUNTS, Claim, claim_of, counts_of
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.ladder import started_from
from orchestrator.store.folder import EPOCHS, PREDICTIONS, RESULT
from orchestrator.store.records import TrialRecord, TrialResult
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder, point_from
from search_spaces.errors import StorageError
from search_spaces.loss_space import LossSpace, Point
from search_spaces.objective import ACCURACIES
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage

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
    """Where the point comes from: `recipe`, `as-published`, a sampler, or the cell that it was borrowed of."""
    started_from: str = ""
    """The pair whose student its student started from, by name, or by uid if it is of another sweep."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The finite numbers of its result; empty unless done."""
    claim: Claim | None = None
    """What the test images say of a pair that is done; None where neither its result nor its predictions tell."""
    hit_is_shown: bool = False
    """Whether its search goes on until a hit is shown on the validation split, and its hit is."""
    seconds: float | None = None
    finished_ms: int = 0
    """When it was done, in milliseconds since 1970; 0 unless its result says so."""
    code: tuple[str, ...] = ()
    """Versions of the code that its epochs ran with, as far as its result says."""
    folder: TrialFolder = field(repr=False, compare=False)
    """For what only some readers need."""

    @property
    def is_confirmation(self) -> bool:
        """As of its node."""
        return self.node.is_confirmation


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Validation accuracy of a pair after every epoch, fractions."""

    epochs: tuple[float, ...]
    accuracy_fp: tuple[float, ...]
    accuracy_q: tuple[float, ...]


def read_trials(snapshot: Snapshot, *, points: bool = True) -> tuple[Trial, ...]:
    """Returns every trial of the plan with its state, in plan order.

    Args:
        snapshot: Of the sweep.
        points: Whether anybody asks for the points that studies chose; they lie in a file of their own.
    """
    trials: dict[str, Trial] = {}
    names = {node.uid: node.name.partition("/")[2] for node in snapshot.plan.nodes}
    for node in snapshot.plan.nodes:
        folder, state = snapshot.trial(node), snapshot.states[node.uid]
        try:
            trial = _read_trial(node, folder, state, trials, points=points)
            start = started_from(node, folder) or ""
            claim = claim_of(trial.metrics, snapshot.plan.grid.claims)
            trials[node.uid] = replace(
                trial,
                claim=claim,
                started_from=names.get(start, start),
                hit_is_shown=node.uid in snapshot.findings.shown,
            )
        except StorageError as damage:
            reason = _shorten(str(damage))
            trials[node.uid] = Trial(
                node=node, state=State.FAILED, reason=reason, point_from=str(node.origin), folder=folder
            )
    return tuple(trials.values())


def mixed_code(trials: Iterable[Trial]) -> str:
    """Says in a sentence which versions of the code done trials ran with; nothing if it was one, or nobody knows."""
    counts = Counter(name for trial in trials for name in trial.code)
    if len(counts) < 2:
        return ""
    told = ", ".join(f"{name} ({count} trials)" for name, count in counts.most_common())
    return f"The trials ran with {len(counts)} versions of the code: {told}."


def trials_by_cell(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Groups the trials of cells by `cell_id`, in the given order; confirmations are left out."""
    by_cell: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.node.cell and not trial.is_confirmation:
            by_cell.setdefault(trial.node.cell.cell_id, []).append(trial)
    return by_cell


def chance_level(trials: Iterable[Trial]) -> float | None:
    """Returns what a guess gets right on the test split, one over its number of classes; None without a pair."""
    for trial in trials:
        if trial.node.stage is Stage.PAIR and trial.state is State.DONE:
            labels = read_predictions(trial, {"label"})
            if labels is not None and len(labels):
                return 1 / len(pc.unique(labels["label"]))
    return None


def read_predictions(trial: Trial, columns: Collection[str], split: str = "test") -> pa.Table | None:
    """Returns columns of a trial's predictions.parquet on a split; None where it has no such columns, or is damaged."""
    return predictions_of(trial.folder, columns, split)


def predictions_of(folder: TrialFolder, columns: Collection[str], split: str = "test") -> pa.Table | None:
    """Returns columns of the predictions in a trial's folder; see `read_predictions`."""
    try:
        table = folder.folder.read_table(PREDICTIONS)
    except StorageError:
        return None
    if table is None or not {"split", *columns} <= set(table.column_names):
        return None
    return table.filter(pc.equal(pc.cast(table["split"], pa.string()), split)).select(list(columns))


def read_rows(trial: Trial, columns: Collection[str]) -> tuple[Mapping[str, Any], ...]:
    """Returns the epochs of a trial in order; none where the table is damaged, which costs a detail and no report."""
    return rows_of(trial.folder, columns)


def rows_of(folder: TrialFolder, columns: Collection[str]) -> tuple[Mapping[str, Any], ...]:
    """Returns the epochs in a trial's folder; see `read_rows`."""
    try:
        table = folder.folder.read_table(EPOCHS)
    except StorageError:
        return ()
    if table is None or not set(columns) <= set(table.column_names):
        return ()
    # A resumed trial may have written an epoch twice; the later row is the one that training went on from.
    latest = {row["epoch"]: row for row in table.to_pylist()}
    return tuple(latest[epoch] for epoch in sorted(latest))


def read_curve(trial: Trial) -> Curve | None:
    """Returns a pair's training curve, or None while there are no epochs to show."""
    return curve_of(trial.folder)


def curve_of(folder: TrialFolder) -> Curve | None:
    """Returns the training curve of the pair in a folder; see `read_curve`."""
    rows = [[row[name] for name in CURVE_COLUMNS] for row in rows_of(folder, CURVE_COLUMNS)]
    rows = [row for row in rows if None not in row]
    if not rows:
        return None
    epochs, accuracy_fp, accuracy_q = (tuple(column) for column in zip(*rows, strict=True))
    return Curve(epochs=epochs, accuracy_fp=accuracy_fp, accuracy_q=accuracy_q)


def _read_trial(node: Node, folder: TrialFolder, state: State, earlier: Mapping[str, Trial], *, points: bool) -> Trial:
    record = folder.recipe() if points else None
    result = folder.result()
    if state is State.DONE and result is None:
        state = State.WAITING  # restarted since it was listed
    state, reason = _told(node, folder, state, earlier)
    return Trial(
        node=node,
        state=state,
        reason=_shorten(reason),
        point=_point(node, record),
        point_from=point_from(node, record),
        metrics=_metrics(node, folder, result) if result else {},
        seconds=result.seconds if result else None,
        finished_ms=result.finished_ms if result else 0,
        code=result.code if result else (),
        folder=folder,
    )


def _told(node: Node, folder: TrialFolder, state: State, earlier: Mapping[str, Trial]) -> tuple[State, str]:
    """Returns a state as readers are told it, and the reason."""
    if state.is_failed and (headline := folder.headline()):
        return State.FAILED, headline.line
    if state is State.INTERRUPTED:
        return state, _STARTED
    for parent in node.parents if state is State.WAITING else ():
        if earlier[parent].state in (State.FAILED, State.BLOCKED):
            return State.BLOCKED, f"needs {earlier[parent].node.name}, which is {earlier[parent].state}"
    return state, ""


def _point(node: Node, record: TrialRecord | None) -> Point | None:
    """What the trial itself wrote, else the plan's, which is final where no study chooses."""
    if not isinstance(node.recipe, PairRecipe):
        return None
    if record and set(POINT_FIELDS) <= set(record.recipe):
        return {name: record.recipe[name] for name in POINT_FIELDS}
    if node.origin in (Origin.SEARCHED, Origin.CONFIRMED):
        return None
    return {name: getattr(node.recipe, name) for name in POINT_FIELDS}


def _metrics(node: Node, folder: TrialFolder, result: TrialResult) -> dict[str, float]:
    metrics = {name: float(value) for name, value in result.metrics.items() if math.isfinite(value)}
    missing = [name for name in PAIR_METRICS if name not in metrics] if node.stage is Stage.PAIR else []
    if missing:
        raise StorageError(
            f"{folder.folder.root}/{RESULT} has no finite {missing[0]}: it was edited, or another version wrote it. "
            "Move it away and launch again."
        )
    return metrics | _counts(node, folder, metrics)


def _counts(node: Node, folder: TrialFolder, metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns what a pair's result does not count if an earlier version wrote it; its predictions tell."""
    if node.stage is not Stage.PAIR or f"test/{COUNTS[0]}" in metrics:
        return {}
    predictions = folder.folder.read_table(PREDICTIONS)
    return {} if predictions is None else counts_of(predictions, "test")


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
