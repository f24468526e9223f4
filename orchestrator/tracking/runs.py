"""From the store to MLflow's terms: what the run of a node should hold. Reads the store, calls nobody.

Everything here is a function of stored content, timestamps included, so a replay can be repeated: MLflow
keeps one point per (metric, timestamp, step, value).
"""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from orchestrator.plan import Node
from orchestrator.store.folder import (
    CHECKPOINT,
    EPOCHS,
    ERROR,
    LOG,
    PREDICTIONS,
    PRUNED,
    RECIPE,
    RESULT,
    Folder,
    sha256,
)
from orchestrator.store.store import Store
from orchestrator.store.trial import point_from
from search_spaces.model import as_text

UID_TAG = "dptq.uid"
STAGE_TAG = "dptq.stage"
ERROR_TAG = "dptq.error"
PRUNED_TAG = "dptq.pruned_after_epoch"
POINT_TAG = "dptq.point_from"
MARK_TAG = "dptq.synced"
"""Checksum of what was replayed; written last, so a run that has the store's mark is complete."""
PARENT_TAG = "mlflow.parentRunId"
_LONGEST_PARAM = 6000
_LONGEST_ERROR = 5000
_LONGEST_METRIC = 250
_ARTIFACTS = {
    "FINISHED": (RECIPE, RESULT, CHECKPOINT, PREDICTIONS, EPOCHS),
    "FAILED": (RECIPE, EPOCHS, ERROR, LOG),
    "KILLED": (),
}


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class State:
    """Where a trial stands that is not running."""

    status: str
    """MLflow's word: FINISHED (result.json), FAILED (error.txt), or KILLED: begun, and neither, or pruned."""
    mark: str
    """Checksum of the files that decide the status and the metrics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """What has a run of its own: a trial or an analysis."""

    uid: str
    name: str
    folder: Folder
    tags: Mapping[str, str]
    """By which the run is found and filtered."""
    read: Callable[[str], Record]
    """Reads the record from the folder, given the status that `read_state` says."""


def tracked_node(node: Node, store: Store, sweep: str) -> Tracked:
    """Returns a trial of a sweep as something to track."""
    folder = store.trial(node.stage, node.uid)
    tags = node_tags(node, sweep)
    return Tracked(uid=node.uid, name=node.name, folder=folder, tags=tags, read=partial(read_record, node, folder))


def read_state(folder: Folder) -> State | None:
    """Returns where a trial stands, or None if it was never begun."""
    result = folder.read_bytes(RESULT)
    if result is not None:
        return State("FINISHED", sha256(result))
    error, epochs = folder.read_bytes(ERROR), folder.read_bytes(EPOCHS) or b""
    if error is not None:
        return State("FAILED", sha256(error + (folder.read_bytes(LOG) or b"") + epochs))
    pruned = folder.read_bytes(PRUNED) or b""
    return State("KILLED", sha256(pruned + epochs)) if epochs or folder.exists(RECIPE) else None


def read_record(node: Node, folder: Folder, status: str) -> Record:
    """Reads what the run of a trial that is not running should hold.

    Args:
        node: The trial.
        folder: Its folder in the store.
        status: As `read_state` says.
    """
    table = folder.read_table(EPOCHS)
    rows: list[dict[str, Any]] = table.to_pylist() if table else []
    points = [point for row in rows for point in epoch_points(row)]
    tags = {}
    if status == "FINISHED":
        points += _final_points(folder.read_json(RESULT) or {}, rows)
    if status == "FAILED":
        tags[ERROR_TAG] = _last_line(folder.read_bytes(ERROR) or b"")
    if pruned := folder.read_json(PRUNED):
        tags[PRUNED_TAG] = str(pruned["epoch"])
    recipe_json = folder.read_json(RECIPE) or {}
    if node.cell and "point_from" in recipe_json:
        tags[POINT_TAG] = point_from(node, recipe_json)
    names = set(folder.names())
    first = rows[0] if rows else None
    return Record(
        status=status,
        params=node_params(node, recipe_json),
        tags=tags,
        points=points,
        artifacts=[name for name in _ARTIFACTS[status] if name in names],
        start_ms=int(first["timestamp_ms"] - 1000 * first["seconds"]) if first else None,
        end_ms=int(rows[-1]["timestamp_ms"]) if rows else None,
    )


def epoch_points(row: Mapping[str, Any]) -> list[Point]:
    """Returns the metrics of one row of epochs.parquet; cells without a value are left out, NaN is a value.

    Examples:
        >>> epoch_points({"epoch": 2, "timestamp_ms": 7, "train/loss": 0.25, "train/kd": None})
        [Point(key='train/loss', value=0.25, timestamp_ms=7, step=2)]
    """
    values = {"epoch_seconds" if name == "seconds" else name: value for name, value in row.items()}
    step, timestamp_ms = int(values.pop("epoch")), int(values.pop("timestamp_ms"))
    return points_of(values.items(), timestamp_ms, step)


def node_params(node: Node, recipe_json: Mapping[str, Any]) -> dict[str, str]:
    """Returns the resolved recipe as text, with the seed and the name of the data."""
    recipe = recipe_json.get("recipe", {})
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
    return f"{key[: _LONGEST_METRIC - 7]}.{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _final_points(result: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[Point]:
    """The metrics of result.json, at the time of the last epoch, so that every replay gives the same."""
    metrics = dict(result.get("metrics", {}))
    if "seconds" in result:
        metrics["trial_seconds"] = result["seconds"]
    last = rows[-1] if rows else {"timestamp_ms": 0, "epoch": 0}
    return points_of(metrics.items(), int(last["timestamp_ms"]), int(last["epoch"]))


def points_of(values: Iterable[tuple[str, Any]], timestamp_ms: int, step: int) -> list[Point]:
    """Returns the values that are numbers as metrics of one moment."""
    return [
        Point(metric_key(name), float(value), timestamp_ms, step)
        for name, value in values
        if isinstance(value, (int, float))
    ]


def _last_line(error: bytes) -> str:
    lines = error.decode(errors="replace").strip().splitlines()
    return lines[-1][:_LONGEST_ERROR] if lines else "error.txt is empty"
