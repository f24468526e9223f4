"""MLflow made equal to the store: live while a sweep runs, by replay where that failed.

Every trial writes what it measures into its own folder of the store first, so tracking never holds the only
copy of anything. The driver tells MLflow what happens through a queue that one thread serves; what cannot be
delivered is dropped. At the end, or at the next launch, every trial whose run differs from its folder is
replayed.

    backend.py   where MLflow keeps its runs, and whether it answers
    runs.py      what the run of a trial should hold, read from the store
    points.py names.py descriptions.py tables.py    its metrics, name, description and tables
    pages.py experiments.py    addresses of MLflow's pages and their view; which experiments and runs are whose
    client.py    the calls to MLflow
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Queue
from typing import Any

from orchestrator.plan import Node, Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import Folder
from orchestrator.store.records import TrialRecord
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.tracking import runs as replay
from orchestrator.tracking.backend import check, first_line, locate
from orchestrator.tracking.client import Experiment, KnownRun
from orchestrator.tracking.experiments import Owner
from orchestrator.tracking.names import run_names
from orchestrator.tracking.pages import experiment_tags
from orchestrator.tracking.points import epoch_points
from orchestrator.tracking.runs import Draw, Tracked
from orchestrator.tracking.writing import SweepContent, draw_searched, pages_on, write_run, write_sweep
from search_spaces.errors import StorageError, TrackingError
from search_spaces.objective import Claims

_PAUSE_SECONDS = 15.0
"""After a backend did not answer, it is left alone for so long: every question costs up to its timeout."""
logger = logging.getLogger(__name__)


class Tracker:
    """Keeps the MLflow runs of one sweep. Wrong arguments, `check` and `open` raise; no later outage does."""

    def __init__(self, tracking_uri: str | None, store: Store, sweep: str, *, draw: Draw | None = None) -> None:
        """Finds out where MLflow keeps its runs, as `locate` does; sends no request yet. `draw` draws pairs."""
        self.location = locate(tracking_uri, store)
        """Where they are."""
        self._store, self._sweep, self._draw = store, sweep, draw
        self._plan: Plan | None = None
        self._names: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._experiment: Experiment | None = None
        self._is_stale = True
        self._retry_at = 0.0
        self._has_warned = False
        self._queue: Queue[Callable[[], None] | None] = Queue()
        self._thread: threading.Thread | None = None
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        self._rows_lock = threading.Lock()
        self._reports: list[Folder] = []
        self._analyses: list[Tracked] = []
        self._content: SweepContent | None = None
        self._sweep_tags: dict[str, str] = {}

    def check(self) -> None:
        """Asks whether MLflow's backend is there, without creating runs; takes seconds at most.

        Raises:
            TrackingError: It is not.
        """
        check(self.location)

    def open(self, plan: Plan, tags: Mapping[str, str]) -> None:
        """Finds or creates the database (takes seconds), the experiment and the parent run, and listens.

        All runs get the tags, e.g. `mlflow.source.git.commit`.

        Raises:
            TrackingError: The backend does not answer, or refuses.
        """
        self._drain()
        self._plan, self._names, self._tags = plan, run_names(plan), dict(tags)
        try:
            self._connect()
        except TrackingError:
            raise
        except Exception as error:
            # MLflow's own errors quote the URL they called; the original is cut off with its credentials.
            reason = f"MLflow at {self.location.address} cannot be used: {first_line(error)}"
            raise TrackingError(f"{reason} Fix that, or pass another --tracking-uri.") from None
        self._thread = threading.Thread(target=self._serve, name="tracking", daemon=True)
        self._thread.start()

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """Notes that a trial runs, with what it runs; returns at once."""
        self._queue.put(partial(self._start_run, node, record))

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """Notes an epoch of a running trial, a row of its epochs.parquet; returns at once."""
        with self._rows_lock:
            # Rows that pile up while the backend is slow, or away, go out in one call.
            self._rows.setdefault(node.uid, []).append(dict(row))
        self._queue.put(partial(self._log_rows, node))

    def ended(self, node: Node) -> None:
        """Notes that a trial is done or failed, and replays its folder; returns at once."""
        self._queue.put(partial(self._replay, self._tracked(node)))

    def sweep_artifacts(self, folder: Folder) -> None:
        """Notes a folder of reports, which `close` logs on the parent run under the folder's name."""
        self._reports.append(folder)

    def sweep_content(self, content: SweepContent) -> None:
        """Notes what the parent run says of the whole sweep, which `close` logs."""
        self._content = content

    def sweep_tags(self, tags: Mapping[str, str]) -> None:
        """Notes tags of the whole sweep, which `open` and `close` set on the parent run."""
        self._sweep_tags = dict(tags)

    def analyses(self, analyses: Sequence[Tracked]) -> None:
        """Notes analyses that are done or failed, which `close` replays."""
        self._analyses = list(analyses)

    def catch_up(self, snapshot: Snapshot | None = None) -> list[str]:
        """Delivers what is queued, and replays every run that differs from the store; see `close`."""
        self._drain()
        if self._plan is None:
            return []
        self._retry_at = 0.0
        if self._is_stale:
            self._attempt(lambda: None)
        return [
            each.name
            for each in [*(self._tracked(node, snapshot) for node in self._plan.nodes), *self._analyses]
            if self._is_behind(each) and not self._attempt(partial(self._replay, each))
        ]

    def pages(self, uids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Returns addresses as `pages_on` does; none where a file has the runs, or MLflow does not answer."""
        if self.location.database or self._experiment is None or self._is_stale or self._plan is None:
            return {}, {}
        return pages_on(self._connected, self.location.address, uids, self._plan.by_uid())

    def close(self, status: str, snapshot: Snapshot | None = None) -> list[str]:
        """Delivers what is queued, replays every run that differs from the store, and ends the parent run.

        Args:
            status: Of the sweep: FINISHED, FAILED or KILLED.
            snapshot: Of the sweep, up to date; None reads the store again.

        Returns:
            Names of the trials that MLflow lacks or has wrongly, because it is gone, and the sweep's own
            name if that is true of its parent run. Closing again, or the next launch, replays them.
        """
        if self._plan is None:
            return []
        behind = self.catch_up(snapshot)
        if not self._attempt(partial(self._end_sweep, self._plan, status)):
            behind.append(self._sweep)
        return behind

    def statuses(self) -> list[tuple[str, str]] | None:
        """Asks MLflow again for uid and status of every child run; None if it does not answer."""
        found: list[tuple[str, str]] = []
        return found if self._attempt(lambda: found.extend(self._connected.statuses())) else None

    def _drain(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while (action := self._queue.get()) is not None:
            self._attempt(action)

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Does something with MLflow, and tells whether it worked. This is where an outage stops."""
        failure: Exception | None = None
        # Twice: servers close idle connections, and a request that crosses with that is lost, though all is well.
        for _ in range(2):
            if self._is_stale and time.monotonic() < self._retry_at:
                break
            try:
                if self._is_stale:
                    self._connect()
                action()
            except Exception as error:
                if self._is_stale:
                    self._retry_at = time.monotonic() + _PAUSE_SECONDS
                # Whatever was under way may have arrived or not, so everything known is asked for again.
                self._is_stale, failure = True, error
            else:
                return True
        if failure:
            self._warn(failure)
        return False

    def _connect(self) -> None:
        check(self.location)
        uids = self._plan.by_uid() if self._plan else {}
        owner = Owner(storage=self._store.make_id(), sweep=self._sweep, uids=uids.keys())
        self._experiment = Experiment(self.location, owner)
        self._experiment.reopen(self._experiment.parent)
        self._experiment.log(self._experiment.parent, tags=self._tags | self._sweep_tags)
        self._experiment.show(experiment_tags(has_chosen=False))
        self._is_stale = False
        self._retry_at = 0.0

    @property
    def _connected(self) -> Experiment:
        assert self._experiment is not None, "open the tracker first"
        return self._experiment

    def _start_run(self, node: Node, record: TrialRecord | None) -> None:
        run = self._ensure_run(self._tracked(node), params=replay.node_params(node, record))
        self._connected.reopen(run)

    def _log_rows(self, node: Node) -> None:
        with self._rows_lock:
            rows = list(self._rows.get(node.uid, ()))
        if not rows:
            return  # gone out with those of an earlier epoch
        run = self._ensure_run(self._tracked(node), params={})
        self._connected.log(run, points=[point for row in rows for point in epoch_points(row, node.stage)])
        with self._rows_lock:
            del self._rows[node.uid][: len(rows)]

    def _tracked(self, node: Node, snapshot: Snapshot | None = None) -> Tracked:
        trial = snapshot.trial(node) if snapshot else trial_of(self._store, node)
        claims = self._plan.grid.claims if self._plan else Claims()
        name = self._names.get(node.uid, node.name)
        return replay.tracked_node(node, trial, self._sweep, name=name, claims=claims, draw=self._draw)

    def _ensure_run(self, each: Tracked, *, params: Mapping[str, str], start_ms: int | None = None) -> KnownRun:
        """Finds or creates the run of a trial or an analysis, with its params and tags."""
        experiment = self._connected
        run = experiment.runs.get(each.uid)
        if run and any(run.params.get(name, value) != value for name, value in params.items()):
            # Params cannot change, so this run tells of another point: the trial's study was started again.
            experiment.discard(each.uid)
            run = None
        tags = {**each.tags, **self._tags}
        if run is None:
            run = experiment.create_child(each.name, tags, start_ms=start_ms)
        experiment.rename(run, each.name)
        experiment.log(run, params=params, tags={**tags, replay.PARENT_TAG: experiment.parent.run_id})
        return run

    def _replay(self, each: Tracked) -> None:
        """Makes a run that is not running equal to its folder in the store."""
        standing = replay.read_standing(each.trial)
        if standing is None:
            # Handed out and never begun: there is nothing to tell, but nothing runs either.
            run = self._connected.runs.get(each.uid)
            if run and run.status == "RUNNING":
                self._connected.end(run, "KILLED")
            return
        status, mark = standing
        content = each.read(status)
        run = self._ensure_run(each, params=content.params, start_ms=content.start_ms)
        write_run(self._connected, run, content, each.trial.folder)
        if run.status != status:
            self._connected.end(run, status, end_ms=content.end_ms)
        self._connected.log(run, tags={replay.MARK_TAG: mark})

    def _is_behind(self, each: Tracked) -> bool:
        """Tells whether a run, as far as is known, differs from the store."""
        run = self._experiment.runs.get(each.uid) if self._experiment else None
        try:
            standing = replay.read_standing(each.trial)
        except (OSError, StorageError):
            return True
        if standing is None or run is None:
            return standing is not None or (run is not None and run.status == "RUNNING")
        parent = self._connected.parent.run_id
        return (run.status, run.tags.get(replay.MARK_TAG), run.tags.get(replay.PARENT_TAG)) != (*standing, parent)

    def _end_sweep(self, plan: Plan, status: str) -> None:
        if self._content and self._draw:
            draw_searched(self._connected, plan, self._content, self._store, self._draw)
        write_sweep(self._connected, plan, self._content, self._reports, self._sweep_tags, status)

    def _warn(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        try:
            check(self.location)
        except TrackingError as reason:
            error = reason  # clearer than the HTTP libraries' five lines
        logger.warning("MLflow is behind; the end of the sweep or its next launch replays: %s", first_line(error))
