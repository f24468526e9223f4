"""A trial's folder in the store: what is written when it starts, after every epoch, and when it ends or fails."""

import datetime
import platform
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from orchestrator.plan import SCHEMA, Node
from orchestrator.store.failures import Failure, Headline, headline_of
from orchestrator.store.folder import (
    ATTEMPTS,
    CHECKPOINT,
    ENVIRONMENT,
    EPOCHS,
    ERROR,
    LOG,
    PREDICTIONS,
    PRUNED,
    RECIPE,
    RESULT,
    RESUME,
    RESUME_FOLDER,
    VERIFICATION,
    Folder,
    sha256,
)
from orchestrator.store.leases.fenced import FencedFolder
from orchestrator.store.places.place import TEMPORARY
from orchestrator.store.records import RecordT, TrialRecord, TrialResult, read_record
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.errors import StorageError, UnwritableError
from search_spaces.loss_space import Point
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import STAGES, Stage
from search_spaces.uris import redact

ROW = "row"
"""Key of a Tune result under which an epoch's row travels from the worker to the driver."""
VERSIONED = ("torch", "timm", "numpy", "numba", "ray", "optuna")
RECORDED = (RECIPE, ENVIRONMENT, EPOCHS)
"""What is there before a trial is done and belongs to its result, too."""


class TrialFolder:
    """Reads and writes the files of one trial."""

    def __init__(self, store: Store, stage: str, uid: str, folder: Folder | None = None) -> None:
        """Points at a trial, whose folder may have been listed before; nothing is read or written yet."""
        self.stage, self.uid = stage, uid
        self.folder = folder or store.trial(stage, uid)

    def state(self) -> State:
        """Tells how far the trial is."""
        files = self.folder.stamps()
        if RESULT in files:
            return State.DONE
        if ERROR in files and (headline := self.headline()):
            states = {Failure.DIVERGED: State.DIVERGED, Failure.OUT_OF_MEMORY: State.OUT_OF_MEMORY}
            return states.get(headline.failure, State.FAILED)
        if PRUNED in files:
            return State.PRUNED
        has_progress = any(path.startswith(f"{RESUME_FOLDER}/") and TEMPORARY not in path for path in files)
        return State.INTERRUPTED if has_progress else State.WAITING

    def write_recipe(
        self, node: Node, point: Point | None, *, point_from: str | None = None, num_threads: int = 1
    ) -> None:
        """Writes what the trial will run, before it runs.

        Args:
            node: The trial.
            point: Where its study moved it; None keeps the recipe's own point.
            point_from: Where that point comes from, a sampler or another cell; None for the node's own origin.
            num_threads: Of its training on a CPU.
        """
        recipe = node.recipe
        if point is not None:
            assert isinstance(recipe, PairRecipe)
            recipe = vary(recipe, **point)
        record = TrialRecord(
            uid=node.uid,
            stage=node.stage,
            name=node.name,
            recipe=recipe.model_dump(mode="json"),
            dataset=node.dataset.model_dump(mode="json"),
            seed=node.seed,
            parents=node.parents,
            cell_id=node.cell_id,
            trial_number=node.trial_number,
            origin=node.origin,
            point_from=point_from or str(node.origin),
            num_threads=num_threads,
        )
        self.folder.write_json(RECIPE, record.as_json())

    def recipe(self) -> TrialRecord | None:
        """Returns what `write_recipe` wrote, or None if the trial never started.

        Raises:
            StorageError: The file holds something else.
        """
        return self._read_recipe(TrialRecord)

    def _read_recipe(self, kind: type[RecordT]) -> RecordT | None:
        content, path = self.folder.read_json(RECIPE), f"{self.folder.root}/{RECIPE}"
        damage = f"{path} does not say what to run: it was edited. Move it away and launch again."
        return None if content is None else read_record(kind, content, damage)

    def result(self) -> TrialResult | None:
        """Returns the result, or None while the trial is not done.

        Raises:
            StorageError: The result was written by another version of this program, or is of another trial.
        """
        content, path = self.folder.read_json(RESULT), f"{self.folder.root}/{RESULT}"
        if content is None:
            return None
        if content.get("schema") != SCHEMA:
            raise StorageError(
                f"{path} has schema {content.get('schema')}, this version writes {SCHEMA}: use the version that wrote "
                "it, or a new storage."
            )
        damage = f"{path} is no result of trial {self.uid}: it was edited, or copied from another trial."
        result = read_record(TrialResult, content, damage)
        if result.uid != self.uid:
            raise StorageError(damage)
        return result

    def error(self) -> str | None:
        """Returns the last failure's traceback, its first line being the error itself; None once the trial is done."""
        content = None if self.folder.exists(RESULT) else self.folder.read_bytes(ERROR)
        return None if content is None else content.decode()

    def headline(self) -> Headline | None:
        """Returns the last failure in short, None if there is none."""
        error = self.error()
        return None if error is None else headline_of(error)

    def attempts(self) -> dict[str, int]:
        """Returns how often the trial failed, by kind of failure."""
        return self.folder.read_json(ATTEMPTS) or {}

    def count_attempt(self, failure: Failure) -> int:
        """Notes one more failure of a kind, and returns how many of it there were by now."""
        attempts = self.attempts()
        attempts[failure] = attempts.get(failure, 0) + 1
        self.folder.write_json(ATTEMPTS, attempts)
        return attempts[failure]

    def forget_failures(self) -> None:
        """Forgets all failures, so that the trial has all its tries again."""
        self.folder.delete(ATTEMPTS)
        self.clear_error()

    def restart(self) -> None:
        """Forgets all that the trial did but for its recipe, which holds the point that its study chose.

        A damaged recipe goes too, since the study and the plan can tell what was in it.
        """
        # The result first: whatever dies after that leaves a trial that is not done, and not one that is half there.
        for name in (RESULT, VERIFICATION, PRUNED, RESUME, EPOCHS, CHECKPOINT, PREDICTIONS):
            self.folder.delete(name)
        self.forget_failures()
        try:
            self.recipe()
        except StorageError:
            self.folder.delete(RECIPE)

    def epochs(self) -> list[dict[str, Any]]:
        """Returns one row per finished epoch.

        Raises:
            StorageError: The file is there and is no Parquet table.
        """
        table = self.folder.read_table(EPOCHS)
        return [] if table is None else table.to_pylist()

    def write_epoch(self, rows: list[dict[str, Any]], resume: bytes) -> None:
        """Saves the rows of all epochs so far, then the state to resume from."""
        # In this order: a state without its row would lose the row for good; a row without its state is cut on resume.
        self.folder.write_table(EPOCHS, pa.Table.from_pylist(rows))
        self.folder.write_bytes(RESUME, resume)

    def write_result(
        self,
        metrics: Mapping[str, float],
        files: dict[str, bytes],
        *,
        seconds: float,
        data_sha256: str,
        code: Sequence[str] = (),
    ) -> None:
        """Saves the files of a finished trial, and last of all the result that makes it done.

        `code` names the versions of the code that it ran with, one unless it was resumed with another.
        """
        for name, content in files.items():
            self.folder.write_bytes(name, content)
        recorded = {name: kept for name in RECORDED if (kept := self.folder.read_bytes(name)) is not None}
        result = TrialResult(
            uid=self.uid,
            stage=self.stage,
            metrics=dict(metrics),
            files={name: sha256(content) for name, content in files.items()},
            recorded={name: sha256(kept) for name, kept in recorded.items()},
            attempt=self.folder.attempt if isinstance(self.folder, FencedFolder) else "",
            seconds=seconds,
            data_sha256=data_sha256,
            finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            code=tuple(code),
            versions={"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
        )
        self.folder.write_json(RESULT, result.as_json())
        # The trial is done now, whatever becomes of what it would have gone on from; `gc` finds what stays.
        with suppress(UnwritableError):
            self.folder.delete_folder(RESUME_FOLDER)

    def write_pruned(self, epoch: int) -> None:
        """Notes that the trial's study ended it after an epoch; what it would resume from is of no more use."""
        self.folder.write_json(PRUNED, {"schema": SCHEMA, "epoch": epoch})
        self.folder.delete_folder(RESUME_FOLDER)

    def pruned_after(self) -> int | None:
        """Returns the epoch after which the trial's study ended it; None if it did not."""
        pruned = self.folder.read_json(PRUNED)
        return None if pruned is None else int(pruned["epoch"])

    def write_error(self, error: BaseException, *, log: Sequence[str] = ()) -> None:
        """Saves a failure, unless the trial is done: the error in one line, then the traceback.

        Args:
            error: What happened; credentials in URLs are left out.
            log: The last log lines before it, from `orchestrator.store.logs.last_lines`.
        """
        if self.folder.exists(RESULT):
            return  # what fails after the result takes nothing from it
        headline = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        # The log first: where the error is, the lines that belong to it are.
        if log:
            self.folder.write_bytes(LOG, "".join(f"{line}\n" for line in log).encode())
        else:
            self.folder.delete(LOG)
        self.folder.write_bytes(ERROR, redact(f"{headline}\n\n{trace}").encode())

    def log(self) -> list[str]:
        """Returns the last log lines before the last failure; none if there is no failure."""
        return (self.folder.read_bytes(LOG) or b"").decode().splitlines()

    def clear_error(self) -> None:
        """Forgets the last failure, because the trial starts again."""
        self.folder.delete(ERROR)
        self.folder.delete(LOG)

    def read_checked(self, name: str, result: TrialResult | None = None) -> bytes:
        """Reads a file of a finished trial and compares it with the checksum of its result, read before or now.

        Raises:
            StorageError: The file is gone or damaged.
        """
        result, content = result or self.result(), self.folder.read_bytes(name)
        expected = (result.files | result.recorded).get(name) if result else None
        if content is None or sha256(content) != expected:
            raise StorageError(
                f"{self.folder.root}/{name} is {'missing' if content is None else 'damaged (its checksum differs)'}: "
                f"train it again with `dptq-sweep resume --restart {self.uid}`."
            )
        return content


def trial_of(store: Store, node: Node) -> TrialFolder:
    """Returns the folder of a plan's node."""
    return TrialFolder(store, node.stage, node.uid)


def point_from(node: Node, record: TrialRecord | None) -> str:
    """Returns where a trial's point comes from; `write_recipe` says what there is."""
    # Where no study chooses the plan knows: the sweep that began the trial may call its origin otherwise.
    known = record.point_from if record and node.is_searched else None
    return known or str(node.origin)


def parent_stage(stage: str) -> Stage:
    """Returns the stage whose checkpoint a stage starts from, which has one."""
    parent = STAGES[Stage(stage)].parent
    assert parent is not None, f"stage {stage} starts from nothing"
    return parent


def now_ms() -> int:
    """Returns the time as MLflow wants it, in milliseconds."""
    return int(time.time() * 1000)
