"""From the store to MLflow's terms: what the run of a node should hold. Reads the store, calls no server.

Everything here is a function of stored content, timestamps included, so a replay can be repeated: MLflow
keeps one point per (metric, timestamp, step, value).
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from orchestrator.plan import Node
from orchestrator.results.claims import claim_of
from orchestrator.results.pairs import verdict
from orchestrator.results.verifications import read_verified
from orchestrator.store.folder import (
    CHECKPOINT,
    EPOCHS,
    ERROR,
    LOG,
    PREDICTIONS,
    PRUNED,
    RECIPE,
    RESULT,
    VERIFICATION,
    sha256,
)
from orchestrator.store.records import TrialRecord, TrialResult
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder, point_from
from search_spaces.model import as_text
from search_spaces.names import Goal
from search_spaces.objective import Claims, accuracies_of
from search_spaces.recipes import PairRecipe

UID_TAG = "dptq.uid"
STAGE_TAG = "dptq.stage"
ERROR_TAG = "dptq.error"
PRUNED_TAG = "dptq.pruned_after_epoch"
POINT_TAG, START_TAG = "dptq.point_from", "dptq.started_from"
PAIR_VERDICT_TAG = "dptq.verdict"
CLAIM_TAG = "dptq.claim"
"""Whether the test images show a pair to be catastrophic; see `orchestrator.results.claims`."""
VERDICT_TAG = "dptq.runtime_verdict"
REASON_TAG = "dptq.runtime_reason"
MARK_TAG = "dptq.synced"
"""Checksum of what was replayed; written last, so a run that has the store's mark is complete."""
PARENT_TAG = "mlflow.parentRunId"
_LONGEST_PARAM = 6000
_LONGEST_ERROR = 5000
_LONGEST_METRIC = 250
_ARTIFACTS = {
    "FINISHED": (RECIPE, RESULT, CHECKPOINT, PREDICTIONS, EPOCHS, VERIFICATION),
    "FAILED": (RECIPE, EPOCHS, ERROR, LOG),
    "KILLED": (),
}


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def run_status(state: State) -> str:
    """Returns MLflow's word for a trial that is not running and has a run."""
    return "FINISHED" if state is State.DONE else "FAILED" if state.is_failed else "KILLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """All that a run holds once it is synced, but for its tags and the mark."""

    status: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    artifacts: list[str]
    """Names of files in the folder."""
    start_ms: int | None
    """None: no epoch was recorded."""
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Tracked:
    """What has a run of its own: a trial or an analysis."""

    uid: str
    name: str
    trial: TrialFolder
    tags: Mapping[str, str]
    """By which the run is found and filtered."""
    read: Callable[[str], Content]
    """Reads the content from the folder, given the status that `read_standing` says."""


def tracked_node(node: Node, trial: TrialFolder, sweep: str, claims: Claims) -> Tracked:
    """Returns a trial of a sweep as something to track."""
    return Tracked(node.uid, node.name, trial, node_tags(node, sweep), partial(read_content, node, trial, claims))


def read_standing(trial: TrialFolder) -> tuple[str, str] | None:
    """Returns the status of a trial's run and a mark, the checksum of what decides it; None for one never begun."""
    read = trial.folder.read_bytes
    result = read(RESULT)
    if result is not None:
        return run_status(State.DONE), sha256(result + (read(VERIFICATION) or b""))
    error, epochs = read(ERROR), read(EPOCHS) or b""
    if error is not None:
        return run_status(State.FAILED), sha256(error + (read(LOG) or b"") + epochs)
    if epochs or trial.folder.exists(RECIPE):
        return run_status(State.INTERRUPTED), sha256((read(PRUNED) or b"") + epochs)
    return None


def read_content(node: Node, trial: TrialFolder, claims: Claims, status: str) -> Content:
    """Reads what the run of a trial that is not running should hold, given the status that `read_standing` says."""
    rows = trial.epochs()
    points = [point for row in rows for point in epoch_points(row)]
    tags: dict[str, str] = {}
    files = list(_ARTIFACTS[status])
    if status == "FINISHED" and (result := trial.result()):
        points += _final_points(result, rows)
        files += [name for name in result.files if name not in files]
        if node.cell and node.cell.goal is Goal.DETRIMENTAL:
            tags |= claim_tags(result, claims)
        if verified := read_verified(trial):
            tags |= {VERDICT_TAG: verified.verdict, REASON_TAG: verified.reason[:_LONGEST_ERROR]}
            # The step is that of no epoch: a network is verified after its training, and maybe again.
            points += points_of(verified.accuracies.items(), verified.verified_ms, 0)
    if status == "FAILED":
        tags |= error_tag(trial)
    if (epoch := trial.pruned_after()) is not None:
        tags[PRUNED_TAG] = str(epoch)
    record = trial.recipe()
    if node.cell and record and record.point_from:
        tags[POINT_TAG] = point_from(node, record)
    if record and record.start_uid:
        tags[START_TAG] = record.start_uid
    names = set(trial.folder.names())
    first = rows[0] if rows else None
    return Content(
        status=status,
        params=node_params(node, record),
        tags=tags,
        points=points,
        artifacts=[name for name in files if name in names],
        start_ms=int(first["timestamp_ms"] - 1000 * first["seconds"]) if first else None,
        end_ms=int(rows[-1]["timestamp_ms"]) if rows else None,
    )


def claim_tags(result: TrialResult, claims: Claims) -> dict[str, str]:
    """Returns the tags that say whether test images show a pair to be catastrophic; none if nothing counts them."""
    claim = claim_of(result.metrics, claims)
    if claim is None:
        return {}
    return {PAIR_VERDICT_TAG: str(verdict(**accuracies_of(result.metrics, "test"))), CLAIM_TAG: claim.text}


def epoch_points(row: Mapping[str, Any]) -> list[Point]:
    """Returns the metrics of one row of epochs.parquet; cells without a value are left out, NaN is a value.

    Examples:
        >>> epoch_points({"epoch": 2, "timestamp_ms": 7, "train/loss": 0.25, "train/kd": None})
        [Point(key='train/loss', value=0.25, timestamp_ms=7, step=2)]
    """
    values = {"epoch_seconds" if name == "seconds" else name: value for name, value in row.items()}
    step, timestamp_ms = int(values.pop("epoch")), int(values.pop("timestamp_ms"))
    return points_of(values.items(), timestamp_ms, step)


def error_tag(trial: TrialFolder) -> dict[str, str]:
    """Returns the tag that says what a trial or an analysis failed of."""
    headline = trial.headline()
    return {ERROR_TAG: headline.line[:_LONGEST_ERROR]} if headline else {}


def node_params(node: Node, record: TrialRecord | None) -> dict[str, str]:
    """Returns the resolved recipe as text, with the seed and the name of the data."""
    recipe = record.recipe if record else {}
    return {
        **{name: as_text(value)[:_LONGEST_PARAM] for name, value in recipe.items()},
        "seed": str(node.seed),
        "dataset": node.dataset.name,
    }


def node_tags(node: Node, sweep: str) -> dict[str, str]:
    """Returns the tags by which the run of a node is found and filtered."""
    tags = {
        UID_TAG: node.uid,
        STAGE_TAG: str(node.stage),
        "dptq.sweep": sweep,
        "dptq.trial_number": str(node.trial_number),
        "dptq.origin": str(node.origin),
    }
    if node.parents:
        tags["dptq.parents"] = " ".join(node.parents)
    if node.cell:
        tags |= {
            "dptq.cell": node.cell.cell_id,
            "dptq.goal": str(node.cell.goal),
            "dptq.architecture": node.cell.architecture,
            "dptq.option_set": node.cell.option_set,
            "dptq.budget_level": node.cell.budget_level,
            "dptq.budget": str(node.cell.recipe.budget),
        }
    if node.rung and isinstance(node.recipe, PairRecipe):
        tags |= {"dptq.rung": node.rung, "dptq.budget": str(node.recipe.budget)}
    return tags


def metric_key(name: str) -> str:
    """Returns a name that MLflow accepts for a metric; different names stay different.

    MLflow takes letters, digits and `_-. /:`, no path like `a//b`, and 250 characters.

    Examples:
        >>> metric_key("validation/accuracy_fp")
        'validation/accuracy_fp'
        >>> metric_key("bits[0]")
        'bits_0_.c379c7'
    """
    key = posixpath.normpath(re.sub(r"[^\w\-. /:]", "_", name)).strip("./") or "metric"
    if key == name and len(key) <= _LONGEST_METRIC:
        return key
    return f"{key[: _LONGEST_METRIC - 7]}.{sha256(name.encode())[:6]}"


def _final_points(result: TrialResult, rows: list[dict[str, Any]]) -> list[Point]:
    """The metrics of result.json, at the time of the last epoch, so that every replay gives the same."""
    metrics = result.metrics | {"trial_seconds": result.seconds}
    last = rows[-1] if rows else {"timestamp_ms": 0, "epoch": 0}
    return points_of(metrics.items(), int(last["timestamp_ms"]), int(last["epoch"]))


def points_of(values: Iterable[tuple[str, Any]], timestamp_ms: int, step: int) -> list[Point]:
    """Returns the values that are numbers as metrics of one moment."""
    return [
        Point(metric_key(name), float(value), timestamp_ms, step)
        for name, value in values
        if isinstance(value, (int, float))
    ]
