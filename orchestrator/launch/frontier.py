"""Walks the plan for Ray Tune: hands out a trial as soon as its parents are done, and none that is done already.

Tune asks `suggest` whenever it has room. None means "nothing is ready yet", FINISHED that nothing will be. The store
is asked what happened to a trial, never Tune: retries, preemption and relaunch are then one mechanism. Tune itself
retries nothing; what is tried again, and how often, is decided in `on_trial_complete` by the classes of
`orchestrator.store.failures`. A trial that another sweep of the storage trains is waited for, as parents are.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.launch.listeners import Forgiving
from orchestrator.launch.restarts import has_tries_left
from orchestrator.launch.stateless import FINISHED, StatelessSearcher
from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.readiness import ready_trials
from orchestrator.search.study import CellStudy
from orchestrator.search.trial_points import TrialPoints
from orchestrator.search.warm_start import Neighbours
from orchestrator.store.failures import (
    MAX_EQUAL_FAILURES,
    MAX_RETRIES,
    EqualFailures,
    Failure,
    LostWorkerError,
    allowed_retries,
)
from orchestrator.store.leases.fenced import LostLeaseError
from orchestrator.store.leases.shared import SharedTrials
from orchestrator.store.leases.trials import Leases
from orchestrator.store.logs import last_lines
from orchestrator.store.states import State
from orchestrator.workers.threads import threads_of
from search_spaces.errors import StorageError, SweepError, UnreachableError
from search_spaces.names import HITS_IN_A_ROW

STOP_CHECK_SECONDS = 1.0


class Frontier(StatelessSearcher):
    """Ray's searcher over a plan."""

    def __init__(
        self,
        snapshot: Snapshot,
        studies: Mapping[str, CellStudy],
        *,
        data_dir: str | None,
        stop_file: str,
        max_retries: int = MAX_RETRIES,
        only: Collection[str] | None = None,
        typed_models: Collection[str] = (),
        shared: SharedTrials | None = None,
    ) -> None:
        """Takes over what is done.

        Args:
            snapshot: Of what to run, kept up to date here.
            studies: The open study of every searched cell, by cell_id.
            data_dir: Folder of datasets, handed to the trials.
            stop_file: Path in the storage; once it exists, nothing more is handed out.
            max_retries: Times that a trial is tried again after an unknown error.
            only: Uids to run; None for all.
            typed_models: URIs of networks that the user typed in this command, handed to the trials.
            shared: Takes the trials; None where no other sweep is on the storage.
        """
        super().__init__()
        plan = snapshot.plan
        self._shared = shared or SharedTrials(snapshot.store, Leases(snapshot.store, sweep=""), lambda line: None)
        self._snapshot, self._store = snapshot, snapshot.store
        self.studies, self._stop_file, self._max_retries, self._only = studies, stop_file, max_retries, only
        places = {"storage": self._store.uri, "data_dir": data_dir, "stop_file": stop_file}
        self._for_all: dict[str, Any] = places | {"typed_models": list(typed_models)}
        # A trial that once found its share of a GPU too small gets a whole one, in later launches too.
        self._whole_gpu = {uid for uid, state in self.states.items() if state is State.OUT_OF_MEMORY}
        self._pending = [node for node in plan.nodes if self._has_tries_left(node) and (not only or node.uid in only)]
        self._running: dict[str, Node] = {}
        self.limit(lambda: True, lambda: math.inf)
        self.forgiving = Forgiving()
        self._equal_failures = EqualFailures()
        self.halted: str | None = None
        """Why the sweep ends before its plan does, in full; None while it does not."""
        self.error: SweepError | None = None
        """What ended the launch, if the storage failed: Tune keeps only the text of an error."""
        self.threads: Mapping[str, int] = {}  # of trials that have more than one, by uid
        self.is_stopping = False
        """Whether the stop file was seen."""
        self._next_stop_check = 0.0
        searches = plan.searches()
        for cell_id, study in studies.items():
            study.reconcile([(node, snapshot.trial(node)) for node in searches[cell_id]])
            for node in searches[cell_id]:
                if self.states[node.uid].is_failed and not self._has_tries_left(node):
                    study.tell(node, snapshot.trial(node))
        self._neighbours = Neighbours(plan, snapshot.trial, snapshot.findings)
        self._points = TrialPoints(studies, self._neighbours)

    @property
    def states(self) -> Mapping[str, State]:
        """The states of all trials, by uid."""
        return self._snapshot.states

    @property
    def pending(self) -> tuple[Node, ...]:
        """Trials that are to be handed out, as far as is known by now."""
        return tuple(self._wanted())

    @property
    def candidates(self) -> tuple[Node, ...]:
        """Trials that may still be handed out, those that the search skips for now too."""
        return tuple(self._pending)

    @property
    def ready(self) -> tuple[Node, ...]:
        """Trials that could be handed out now; none once the sweep is being ended."""
        if self.is_stopping or self.halted:
            return ()
        return tuple(self._ready())

    def halt(self, reason: str) -> None:
        """Hands out nothing more; what runs goes on to its end."""
        self.halted = self.halted or reason

    def limit(self, may_start: Callable[[], bool], room: Callable[[], float]) -> None:
        """Asks before every trial if it `may_start`, and how many may be out; Tune's own limit forgets restarts."""
        self._may_start, self._room = may_start, room

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the config of the next trial that is ready, None while there is none, FINISHED at the end."""
        if len(self._running) >= self._room():
            return None
        self._shared.look()
        is_over = self._is_over()
        if is_over or (ready := self._next_taken()) is None:
            is_waiting = self._running or (not is_over and self._shared.awaited and self._may_start())
            return None if is_waiting else FINISHED
        self._pending.remove(ready)
        with self._remembering_errors():
            self._prepare(ready)
            self._snapshot.look_again(ready)
        self._running[trial_id] = ready
        return self._for_all | {
            "stage": str(ready.stage),
            "uid": ready.uid,
            "attempt": self._shared.hand_over(ready),
            "whole_gpu": ready.uid in self._whole_gpu,
            "verify_images": self._snapshot.plan.verified_images(ready),
        }

    def prunes(self, trial_id: str, row: dict[str, Any]) -> bool:
        """Tells the study of an epoch, and returns whether the trial ends here, as its folder then says; hits go on."""
        node, is_pruned = self._running[trial_id], False
        if study := self._points.study_of(node):
            with self.forgiving("Optuna"):
                is_pruned = study.report(node, row)
        if not is_pruned or row.get(HITS_IN_A_ROW):
            return False
        with self._remembering_errors(), suppress(LostLeaseError):
            self._shared.folder(node).write_pruned(row["epoch"])
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Asks the store how a trial ended, tells its study, and decides whether to try again."""
        if error:
            self.record(trial_id, LostWorkerError())
        node = self._running.pop(trial_id)
        with self._remembering_errors(), self._shared.giving_back(node):
            try:
                self._end(node)
            except LostLeaseError:  # it stood still for so long that another sweep has it now
                self._pending.append(node)

    def record(self, trial_id: str, error: Exception) -> None:
        """Saves why a trial ended, unless that is known: a worker that lives leaves an error.txt itself."""
        node = self._running[trial_id]
        with self._remembering_errors(), suppress(LostLeaseError):
            if not self._snapshot.look_again(node).is_final:
                self._shared.check(node)
                folder = self._shared.folder(node)
                folder.write_error(error, log=last_lines(folder))

    @contextmanager
    def _remembering_errors(self) -> Iterator[None]:
        try:
            yield
        except (StorageError, UnreachableError) as error:
            self.error = error
            raise

    def _end(self, node: Node) -> None:
        if not (state := self._snapshot.look_again(node)).is_final:
            self._shared.check(node)
        if state.is_failed and self._tries_again(node):
            return
        if state is State.DONE:
            self._equal_failures.clear()
        if state.is_final:
            self._tell(node)

    def _tell(self, node: Node) -> None:
        if study := self._points.study_of(node):
            with self.forgiving("Optuna"):
                study.tell(node, self._snapshot.trial(node))

    def _tries_again(self, node: Node) -> bool:
        """Counts a failure, and puts the trial back if it may be tried again."""
        trial = self._snapshot.trial(node)
        headline = trial.headline()
        assert headline is not None, f"{trial.folder.root} failed without an error"
        failure = headline.failure
        num_failures = self._shared.folder(node).count_attempt(failure)
        if failure is Failure.SHARED:
            self.halt(f"every other trial would fail like {node.name}: {headline.line}")
        elif failure in (Failure.USER, Failure.UNKNOWN):
            num_trials, error = self._equal_failures.add(node.uid, headline.signature), trial.error() or ""
            if num_trials >= MAX_EQUAL_FAILURES:
                self.halt(f"{num_trials} trials in a row failed alike, the last one {node.name}:\n{error.rstrip()}")
        if num_failures > allowed_retries(failure, self._max_retries):
            return False
        # Unknown ones after the others: if they fail alike, the sweep stops before all their tries are spent.
        self._pending.insert(len(self._pending) if failure is Failure.UNKNOWN else 0, node)
        return True

    def _is_over(self) -> bool:
        """Tells whether nothing more is handed out; asks the storage now and then."""
        now = time.monotonic()
        if not self.is_stopping and now >= self._next_stop_check:
            self._next_stop_check = now + STOP_CHECK_SECONDS
            self.is_stopping = self._store.root.exists(self._stop_file)
        return self.is_stopping or self.halted is not None

    def _has_tries_left(self, node: Node) -> bool:
        """Tells whether a launch works on a trial that it finds in this state."""
        return has_tries_left(self.states[node.uid], self._snapshot.trial(node), self._max_retries)

    def _next_taken(self) -> Node | None:
        """Takes the first trial that is ready, which no other sweep has and none has ended by now."""
        while (node := self._next_ready()) and self._may_start():
            if not self._shared.take(node):
                continue
            self._snapshot.look_again(node)
            if self._has_tries_left(node):
                return node
            self._pending.remove(node)
            with self._shared.giving_back(node):
                self._tell(node)
        return None

    def _next_ready(self) -> Node | None:
        """Returns the first trial that is ready; of a search rather one whose cell runs none, which may be its last."""
        busy = {node.cell_id for node in self._running.values() if node.cell_id}
        crowded: Node | None = None
        for node in self._ready():
            if not node.is_of_search or node.cell_id not in busy:
                return node
            crowded = crowded or node
        return crowded

    def _ready(self) -> Iterator[Node]:
        """Yields the pending trials that could be handed out now."""
        states, neighbours = self.states, self._neighbours
        ready = ready_trials(
            self._wanted,
            self._running.values(),
            states,
            self._snapshot.trial,
            lambda node: neighbours.has_pair(node, states),
        )
        return (node for node in ready if node.uid not in self._shared.awaited)

    def _wanted(self) -> Iterator[Node]:
        """Yields the pending trials that are to run; those that the user named are, whatever the search thinks."""
        return (node for node in self._pending if self._only or self.states[node.uid] is not State.SKIPPED)

    def _prepare(self, node: Node) -> None:
        """Fixes what the trial runs before anybody runs it, and forgets how it failed before."""
        folder = self._shared.folder(node)
        point, place = self._points.point(node, folder)
        num_threads = threads_of(self._snapshot.trial(node), otherwise=self.threads.get(node.uid, 1))
        folder.write_recipe(node, point, point_from=place, num_threads=num_threads)
        folder.clear_error()
        if Failure.OUT_OF_MEMORY in folder.attempts():
            self._whole_gpu.add(node.uid)
