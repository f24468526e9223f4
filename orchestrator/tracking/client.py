"""The calls to MLflow's tracking: one experiment, its runs by uid, and what changes them.

`MlflowClient` throughout, never the fluent API: that one keeps its experiment, run and URI in globals, and
obeys MLFLOW_RUN_ID. The command line calls `quiet_mlflow` before it imports this module.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from orchestrator.store.folder import Folder, sha256
from orchestrator.store.leases.sweeps import LOCK, OWNER
from orchestrator.store.places.index import INDEX
from orchestrator.store.trial import now_ms
from orchestrator.tracking.backend import Location, making
from orchestrator.tracking.descriptions import NOTE_TAG
from orchestrator.tracking.experiments import STORAGE_TAG, SWEEP_TAG, Owner, own_experiment, runs_of
from orchestrator.tracking.moved import follow
from orchestrator.tracking.points import Point
from orchestrator.tracking.runs import ERROR_TAG, PARENT_TAG, STAGE_TAG, UID_TAG, Data
from search_spaces.files.scratch import scratch_folder

# MLflow takes 1000 metrics, 100 params and 100 tags a call, and 1000 of all together.
_METRICS_PER_CALL = 800
_PARAMS_PER_CALL = 100
_TAGS_PER_CALL = 100
_SWEEP_STAGE = "sweep"
LOGGED_TAG = "dptq.logged"
"""Marks of the files of an object store that were logged: beginnings of checksums of their names and stamps."""
MOST_MARKS = 500
"""That fit into a tag; files beyond these are logged every time."""
LAYOUT_TAG, LAYOUT = "dptq.layout", "2"
"""Which metrics, tags and artifacts a run has; raised when a metric gets another name or another step. MLflow can
rename no metric: runs of another layout go to its bin, and are made again from the store."""
OUR_NOTE_TAG = "dptq.note"
"""Begin of the checksum of the description that was written here: one that somebody changed in MLflow is left alone."""
_DIGEST = 36
"""Characters that MLflow keeps of a dataset's digest."""
_NO_ARTIFACTS = frozenset({LOCK, OWNER, INDEX})
"""Files of a sweep's folder that say who works on it, or again what trials' folders say."""
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class KnownRun:
    """What is known of a run without asking again; only this process changes it."""

    run_id: str
    name: str
    status: str
    start_ms: int
    params: dict[str, str]
    tags: dict[str, str]


class Experiment:
    """The MLflow experiment of a sweep, with its parent run and one child run per uid."""

    def __init__(self, location: Location, owner: Owner) -> None:
        """Connects to the backend, and creates database, experiment and parent run if they are not there.

        The parent run has the name of the sweep, and so has the experiment when it is created.
        """
        self._owner = owner
        logging.getLogger("mlflow").setLevel(os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"))
        with making(location):
            follow(location)
            self._client = MlflowClient(tracking_uri=location.uri)
            self._id = own_experiment(self._client, location, owner)
        self.runs: dict[str, KnownRun] = {}
        """The runs of the nodes, by uid."""
        parent, num_outdated = None, 0
        for run in runs_of(self._client, self._id):
            known = _known(run)
            if known.tags.get(STORAGE_TAG, owner.storage) != owner.storage:
                continue
            if STAGE_TAG in known.tags and known.tags.get(LAYOUT_TAG) != LAYOUT:
                self._client.delete_run(known.run_id)
                num_outdated += 1
            elif UID_TAG in known.tags:
                self.runs.setdefault(known.tags[UID_TAG], known)
            elif known.tags.get(STAGE_TAG) == _SWEEP_STAGE:
                parent = parent or known
        if num_outdated:
            logger.warning(
                "MLflow: %d runs of %r have the metrics of another version; they are in MLflow's bin and made again",
                num_outdated,
                owner.sweep,
            )
        self.parent = parent or self._create(owner.sweep, {STAGE_TAG: _SWEEP_STAGE, SWEEP_TAG: owner.sweep})
        for known in (self.parent, *self.runs.values()):
            self.log(known, tags={STORAGE_TAG: owner.storage})  # of an earlier version: once

    @property
    def experiment_id(self) -> str:
        """Its number in addresses."""
        return self._id

    def show(self, tags: Mapping[str, str]) -> None:
        """Sets tags of the experiment itself, by which MLflow shows it."""
        for name, value in tags.items():
            self._client.set_experiment_tag(self._id, name, value)

    def statuses(self) -> list[tuple[str, str]]:
        """Asks again for uid and status of every child run; a uid that has two runs comes twice."""
        runs = runs_of(self._client, self._id)
        return [(run.data.tags[UID_TAG], run.info.status) for run in runs if UID_TAG in run.data.tags]

    def create_child(self, name: str, tags: Mapping[str, str], *, start_ms: int | None = None) -> KnownRun:
        """Creates the run of a node; `tags` hold its uid."""
        run = self._create(name, {**tags, PARENT_TAG: self.parent.run_id}, start_ms=start_ms)
        self.runs[tags[UID_TAG]] = run
        return run

    def discard(self, uid: str) -> None:
        """Moves a run to MLflow's bin, from which `mlflow` can restore it."""
        self._client.delete_run(self.runs.pop(uid).run_id)

    def reopen(self, run: KnownRun) -> None:
        """Marks a run as running, and forgets how it ended before."""
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        self.clear_error(run)

    def clear_error(self, run: KnownRun) -> None:
        """Removes the error of an earlier attempt."""
        if ERROR_TAG in run.tags:
            self._client.delete_tag(run.run_id, ERROR_TAG)
            del run.tags[ERROR_TAG]

    def rename(self, run: KnownRun, name: str) -> None:
        """Gives a run another name."""
        if run.name != name:
            self._client.update_run(run.run_id, name=name)
            run.name = name

    def mark(self, run: KnownRun, tag: str, *, is_so: bool) -> None:
        """Sets a tag to `true`, or removes it."""
        if is_so:
            self.log(run, tags={tag: "true"})
        elif tag in run.tags:
            self._client.delete_tag(run.run_id, tag)
            del run.tags[tag]

    def log_data(self, run: KnownRun, data: Data) -> None:
        """Logs a dataset as the input of a run; once, however often it is called."""
        dataset = Dataset(
            name=data.name,
            digest=data.sha256[:_DIGEST],
            source_type="local",
            source=json.dumps({"uri": data.title}),
            profile=json.dumps({"sha256": data.sha256}),
        )
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run.run_id, [DatasetInput(dataset, [context])])

    def end(self, run: KnownRun, status: str, *, end_ms: int | None = None) -> None:
        """Marks a run as FINISHED, FAILED or KILLED."""
        # A worker whose clock is behind must not make a run end before it began.
        self._client.set_terminated(run.run_id, status, max(end_ms, run.start_ms) if end_ms else None)
        run.status = status

    def log(
        self,
        run: KnownRun,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Logs metrics, params and tags in as few calls as MLflow allows; skips known params and tags."""
        metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points]
        new_params = {name: value for name, value in (params or {}).items() if name not in run.params}
        new_tags = {name: value for name, value in (tags or {}).items() if run.tags.get(name) != value}
        param_list = [Param(name, value) for name, value in new_params.items()]
        tag_list = [RunTag(name, value) for name, value in new_tags.items()]
        while metrics or param_list or tag_list:
            self._client.log_batch(
                run.run_id,
                metrics[:_METRICS_PER_CALL],
                param_list[:_PARAMS_PER_CALL],
                tag_list[:_TAGS_PER_CALL],
            )
            metrics = metrics[_METRICS_PER_CALL:]
            param_list, tag_list = param_list[_PARAMS_PER_CALL:], tag_list[_TAGS_PER_CALL:]
        run.params |= new_params
        run.tags |= new_tags

    def log_files(self, run: KnownRun, folder: Folder, names: Sequence[str]) -> None:
        """Logs files of the store as artifacts under their names.

        A file that is gone by now, as the error of a trial that is tried again, is left out: its run is told again.
        """
        with folder.on_disk(names) as path:
            for name in names:
                try:
                    self._client.log_artifact(run.run_id, str(path / name))
                except OSError:
                    if (path / name).exists():
                        raise

    def log_made(self, run: KnownRun, files: Mapping[str, bytes]) -> None:
        """Logs files that no folder has as artifacts, by their paths."""
        if files:
            with scratch_folder() as folder:
                for name, content in files.items():
                    path = folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                self._client.log_artifacts(run.run_id, str(folder))

    def log_folder(self, run: KnownRun, folder: Folder) -> None:
        """Logs a folder, but not who works on it, as artifacts under its name; of an object store what changed."""
        stamps = {path: stamp for path, stamp in folder.stamps().items() if path not in _NO_ARTIFACTS}
        marks = {path: sha256(f"{path} {stamp}".encode())[:8] for path, stamp in stamps.items()}
        known = run.tags.get(LOGGED_TAG, "").split() if folder.is_on_object_store else []
        changed = [path for path, mark in marks.items() if mark not in known]
        with folder.on_disk(changed) as path:
            for name in changed:
                self._client.log_artifact(run.run_id, str(path / name), str(PurePosixPath(path.name, name).parent))
        if changed and folder.is_on_object_store:
            self.log(run, tags={LOGGED_TAG: " ".join([*marks.values()][:MOST_MARKS])})

    def _create(self, name: str, tags: dict[str, str], *, start_ms: int | None = None) -> KnownRun:
        tags = tags | {LAYOUT_TAG: LAYOUT, STORAGE_TAG: self._owner.storage}
        return _known(self._client.create_run(self._id, start_ms or now_ms(), tags, run_name=name))


def note_tags(run: KnownRun, note: str) -> dict[str, str]:
    """Returns the tags that describe a run; none where somebody else changed its description."""
    standing = run.tags.get(NOTE_TAG)
    is_ours = standing is None or run.tags.get(OUR_NOTE_TAG) == sha256(standing.encode())[:8]
    return {NOTE_TAG: note, OUR_NOTE_TAG: sha256(note.encode())[:8]} if is_ours else {}


def _known(run: Run) -> KnownRun:
    info, data = run.info, run.data
    return KnownRun(info.run_id, info.run_name, info.status, info.start_time, dict(data.params), dict(data.tags))
