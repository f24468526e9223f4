"""Runs analyses on Ray: one task each, resumed unit by unit from the store."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray

from cluster.runtime.resources import analysis_resources
from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.leases.shared import LOOK_SECONDS, SharedTrials
from orchestrator.store.states import State
from orchestrator.store.sweep import Sweep
from orchestrator.workers.entry_points import estimate_analyses, run_analysis

MAX_RETRIES = 3
"""Times that Ray starts an analysis again whose worker or node was lost; it goes on where it stopped."""


class Listener(Protocol):
    """Hears how analyses get on."""

    def advanced(self, task: AnalysisTask, num_images: int) -> None:
        """An analysis passed so many more images through a network."""

    def ended(self, task: AnalysisTask, error: str | None) -> None:
        """An analysis ended, well or with an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What analyses will take, before they run."""

    num_images: Mapping[str, int]
    """Images that pass through a network, by uid of the task."""
    seconds_per_image: Mapping[str, float]
    """Measured with one batch, by uid of the task."""

    def seconds(self, tasks: Sequence[AnalysisTask]) -> float:
        """Returns the time that some tasks take one after another."""
        return sum(self.num_images[task.uid] * self.seconds_per_image[task.uid] for task in tasks)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisRun:
    """Analyses that are not done, about to run in an open Ray session."""

    tasks: Sequence[AnalysisTask]
    sweep: Sweep
    data_dir: Path | None
    cluster_resources: Mapping[str, float]
    typed_models: Collection[str] = ()
    """URIs of networks that the user typed in this command."""

    def estimate(self) -> Cost:
        """Asks one worker per network what its analyses cost.

        Raises:
            SweepError: A pair cannot be loaded: its checkpoint is damaged, or its data is not here.
        """
        by_network: dict[str, list[AnalysisTask]] = {}
        for task in self.tasks:
            AnalysisFolder(self.sweep.store, task.uid).write_task(task.name, task.analysis, task.subject_uids)
            by_network.setdefault(task.subjects[0].architecture, []).append(task)
        # Equal analyses of one network cost the same, so one of each kind is asked for.
        kinds = [{task.analysis.name: task for task in tasks} for tasks in by_network.values()]
        remote = self._remote(estimate_analyses)
        asked = [remote.remote(self._config(uids=[task.uid for task in kind.values()])) for kind in kinds]
        try:
            answers = ray.get(asked)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        num_images: dict[str, int] = {}
        seconds_per_image: dict[str, float] = {}
        for tasks, kind, (images, seconds) in zip(by_network.values(), kinds, answers, strict=True):
            for task in tasks:
                num_images[task.uid] = images[kind[task.analysis.name].uid]
                seconds_per_image[task.uid] = seconds
        return Cost(num_images=num_images, seconds_per_image=seconds_per_image)

    def run(self, listener: Listener, say: Callable[[str], None]) -> int:
        """Computes all of them, as many at a time as there is room for; one that fails does not stop the others.

        Once the sweep is asked to stop, those that run end after their unit, and the others never begin. One that
        another sweep works on is waited for, which `say` tells in a line.

        Returns:
            How many were stopped before they were done.
        """
        store, num_stopped = self.sweep.store, 0
        shared, left = SharedTrials(store, self.sweep.leases(), say), list(self.tasks)
        running: dict[Any, AnalysisTask] = {}
        while left or running:
            shared.look()
            for task in [task for task in left if task.uid not in shared.awaited and shared.take(task)]:
                left.remove(task)
                if AnalysisFolder(store, task.uid).state() is State.DONE:
                    with shared.giving_back(task):  # the other sweep has done it
                        listener.ended(task, None)
                else:
                    running[self._start(task, shared.hand_over(task))] = task
            if left and self._is_stopping():
                num_stopped, left = num_stopped + len(left), []
            if not running:
                time.sleep(LOOK_SECONDS if left else 0)
                continue
            ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS if left else None)
            for stream in ready:
                try:
                    listener.advanced(running[stream], ray.get(next(stream)))
                except (StopIteration, ray.exceptions.RayError) as end:
                    task = running.pop(stream)
                    with shared.giving_back(task):
                        if shared.has_lost(task):
                            left.append(task)
                        else:
                            num_stopped += self._end(task, listener, end)
        return num_stopped

    def _start(self, task: AnalysisTask, attempt: str) -> Any:
        remote = self._remote(run_analysis).options(num_returns="streaming")
        return remote.remote(self._config(uid=task.uid, attempt=attempt))

    def _end(self, task: AnalysisTask, listener: Listener, end: Exception) -> bool:
        """Tells how an analysis ended whose worker is through or lost; returns whether it was stopped."""
        if isinstance(end, ray.exceptions.RayError):
            listener.ended(task, f"{type(end).__name__}: {end}")
            return False
        folder = AnalysisFolder(self.sweep.store, task.uid)
        state = folder.state()
        if state in (State.INTERRUPTED, State.WAITING) and self._is_stopping():
            return True
        listener.ended(task, None if state is State.DONE else folder.error() or "its worker was lost")
        return False

    def _is_stopping(self) -> bool:
        return self.sweep.store.root.exists(self.sweep.stop_file)

    def _remote(self, function: Any) -> Any:
        resources = analysis_resources(self.cluster_resources)
        return ray.remote(max_retries=MAX_RETRIES, **resources)(function)

    def _config(self, **what: object) -> dict[str, Any]:
        data_dir = str(self.data_dir.absolute()) if self.data_dir else None
        return {
            "storage": self.sweep.store.uri,
            "data_dir": data_dir,
            "stop_file": self.sweep.stop_file,
            "typed_models": list(self.typed_models),
            **what,
        }
