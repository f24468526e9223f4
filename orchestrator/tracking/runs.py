"""From the store to MLflow's terms: what the run of a node should hold. Reads the store, calls no server.

Everything here is a function of stored content, timestamps included, so a replay can be repeated: MLflow
keeps one point per (metric, timestamp, step, value).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from orchestrator.plan import Node
from orchestrator.results.claims import Evidence, claim_of
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
from orchestrator.tracking.descriptions import PREVIEW, describe_trial, has_accuracies
from orchestrator.tracking.points import FINAL, Point, epoch_points, final_points, points_of
from search_spaces.model import as_text
from search_spaces.names import Goal
from search_spaces.objective import Claims, accuracies_of, is_catastrophic
from search_spaces.recipes import PairRecipe
from search_spaces.uris import redact

UID_TAG = "dptq.uid"
STAGE_TAG = "dptq.stage"
ERROR_TAG = "dptq.error"
PRUNED_TAG = "dptq.pruned_after_epoch"
POINT_TAG, START_TAG = "dptq.point_from", "dptq.started_from"
PAIR_VERDICT_TAG = "dptq.verdict"
HIT_TAG = "dptq.hit"
"""Whether a detrimental pair is catastrophic and, where test images were counted, chance is excluded."""
CLAIM_TAG = "dptq.claim"
"""Whether the test images show a pair to be catastrophic; see `orchestrator.results.claims`."""
VERDICT_TAG = "dptq.runtime_verdict"
REASON_TAG = "dptq.runtime_reason"
CHECKPOINT_TAG, SHA256_TAG = "dptq.checkpoint", "dptq.checkpoint_sha256"
"""Where the checkpoint of a trial lies, and its checksum: MLflow holds no copy."""
COPIES = "DPTQ_COPY_CHECKPOINTS"
"""Variable by which MLflow gets copies of checkpoints."""
MARK_TAG = "dptq.synced"
"""Checksum of what was replayed; written last, so a run that has the store's mark is complete."""
PARENT_TAG = "mlflow.parentRunId"
_LONGEST_PARAM = 6000
_LONGEST_ERROR = 5000
_ARTIFACTS = {
    "FINISHED": (RECIPE, RESULT, CHECKPOINT, PREDICTIONS, EPOCHS, VERIFICATION),
    "FAILED": (RECIPE, EPOCHS, ERROR, LOG),
    "KILLED": (),
}


def run_status(state: State) -> str:
    """Returns MLflow's word for a trial that is not running and has a run."""
    return "FINISHED" if state is State.DONE else "FAILED" if state.is_failed else "KILLED"


class Data(NamedTuple):
    """What a trial was trained or measured on, as MLflow's input."""

    name: str
    title: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """All that a run holds once it is synced, but for its tags and the mark."""

    status: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    note: str
    """Description, in Markdown."""
    artifacts: list[str]
    """Names of files in the folder."""
    made: Mapping[str, bytes] = field(default_factory=dict)
    """Artifacts that no folder has, because they can be made again: pictures and tables for MLflow's pages."""
    data: Data | None = None
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


Draw = Callable[[TrialFolder], bytes | None]
"""Returns a picture of a pair that is done, as PNG; None where its files do not tell enough."""


def tracked_node(
    node: Node, trial: TrialFolder, sweep: str, *, name: str, claims: Claims, draw: Draw | None = None
) -> Tracked:
    """Returns a trial of a sweep as something to track.

    Args:
        node: The trial.
        trial: Its folder.
        sweep: Name of the sweep.
        name: Of the run.
        claims: Settings of the tests behind a verdict.
        draw: Draws a pair that is done; None draws nothing. A search makes too many: only those that stand for their
            cells are drawn, in the end.
    """
    draw = None if node.is_of_search else draw
    return Tracked(node.uid, name, trial, node_tags(node, sweep), partial(read_content, node, trial, claims, draw))


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


def read_content(node: Node, trial: TrialFolder, claims: Claims, draw: Draw | None, status: str) -> Content:
    """Reads what the run of a trial that is not running should hold, given the status that `read_standing` says."""
    rows = trial.epochs()
    first, end_ms = rows[0] if rows else None, int(rows[-1]["timestamp_ms"]) if rows else None
    curves = [point for row in rows for point in epoch_points(row, node.stage)]
    points: list[Point] = []
    result = trial.result() if status == "FINISHED" else None
    tags, made = error_tag(trial) if status == "FAILED" else {}, {}
    files = list(_ARTIFACTS[status])
    if result and CHECKPOINT in result.files and os.environ.get(COPIES) != "1":
        files.remove(CHECKPOINT)
        tags |= {CHECKPOINT_TAG: f"{trial.folder.root}/{CHECKPOINT}", SHA256_TAG: result.files[CHECKPOINT]}
    if result:
        points += final_points(result, end_ms or 0)
        files += [name for name in result.files if name not in (*files, CHECKPOINT)]
        tags |= pair_tags(node, result, claims)
        if verified := read_verified(trial):
            tags |= {VERDICT_TAG: verified.verdict, REASON_TAG: verified.reason[:_LONGEST_ERROR]}
            points += points_of(verified.accuracies.items(), verified.verified_ms, FINAL)
        if draw and isinstance(node.recipe, PairRecipe) and (picture := draw(trial)):
            made[PREVIEW] = picture
    if (epoch := trial.pruned_after()) is not None:
        tags[PRUNED_TAG] = str(epoch)
    record = trial.recipe()
    if node.cell and record and record.point_from:
        tags[POINT_TAG] = point_from(node, record)
    if record and record.start_uid:
        tags[START_TAG] = record.start_uid
    names = set(trial.folder.names())
    return Content(
        status=status,
        params=node_params(node, record),
        tags=tags,
        points=points + curves,
        note=describe_trial(
            node, result, trial.state(), tags.get(CLAIM_TAG, ""), tags.get(ERROR_TAG, ""), is_drawn=PREVIEW in made
        ),
        artifacts=[name for name in files if name in names],
        made=made,
        data=_data(node, result),
        start_ms=int(first["timestamp_ms"] - 1000 * first["seconds"]) if first else None,
        end_ms=end_ms,
    )


def pair_tags(node: Node, result: TrialResult, claims: Claims) -> dict[str, str]:
    """Returns the tags that say what came of a pair; none of other trials."""
    if not isinstance(node.recipe, PairRecipe) or not has_accuracies(result):
        return {}
    test, claim = accuracies_of(result.metrics, "test"), claim_of(result.metrics, claims)
    tags = {PAIR_VERDICT_TAG: str(verdict(**test))}
    if node.recipe.goal is Goal.ROBUST:
        return tags
    is_shown = claim is None or claim.evidence is Evidence.SHOWN
    tags[HIT_TAG] = str(is_catastrophic(**test) and is_shown).lower()
    return tags | ({CLAIM_TAG: claim.text} if claim else {})


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


def _data(node: Node, result: TrialResult | None) -> Data | None:
    """Returns what a trial was trained on; None where nothing says its checksum."""
    if result is None or not result.data_sha256:
        return None
    return Data(redact(node.dataset.name), redact(node.dataset.title), result.data_sha256)
