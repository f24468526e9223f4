"""Walks the plan for Ray Tune: hands out a trial as soon as its parents are done, and none that is done already.

Tune asks `suggest` whenever it has room. None means "nothing is ready yet", FINISHED that nothing will be. The store
is asked what happened to a trial, never Tune: retries, preemption and relaunch are then one mechanism.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from orchestrator.plan import Node, Plan
from orchestrator.store import Store
from orchestrator.studies import CellStudy
from orchestrator.trials import State, TrialFolder, states_of, trial_of

TO_RUN = (State.WAITING, State.INTERRUPTED, State.FAILED, State.OUT_OF_MEMORY)
"""States that a launch works on; a diverged trial would only diverge again."""


class Frontier(Searcher):  # type: ignore[misc]  # ray ships no types we check
    """Ray's searcher over a plan."""

    def __init__(self, plan: Plan, store: Store, studies: Mapping[str, CellStudy], *, data_dir: str | None) -> None:
        """Reads from the store what is done.

        Args:
            plan: What to run.
            store: Where results are and go.
            studies: The open study of every searched cell, by cell_id.
            data_dir: Folder of datasets, handed to the trials.
        """
        super().__init__()
        self._store, self._studies, self._data_dir = store, studies, data_dir
        self._nodes = plan.by_uid()
        self._folders: dict[str, TrialFolder] = {uid: trial_of(store, node) for uid, node in self._nodes.items()}
        self.states: dict[str, State] = states_of(store, plan)
        self._pending = [node for node in plan.nodes if self.states[node.uid] in TO_RUN]
        self._running: dict[str, Node] = {}
        # A trial that once found its share of a GPU too small gets a whole one, in later launches too.
        self._whole_gpu = {uid for uid, state in self.states.items() if state is State.OUT_OF_MEMORY}
        self._max_concurrent: int | None = None
        self._may_start: Callable[[], bool] = lambda: True
        by_cell: dict[str, list[tuple[Node, TrialFolder]]] = {}
        for node in plan.nodes:
            by_cell.setdefault(node.cell_id or "", []).append((node, self._folders[node.uid]))
        for cell_id, study in studies.items():
            study.reconcile(by_cell[cell_id])

    def __getstate__(self) -> dict[str, Any]:
        """Gives Tune nothing to pickle: it would do so for a restore that never happens here."""
        return {}

    @property
    def pending(self) -> tuple[Node, ...]:
        """Trials that were not handed out yet."""
        return tuple(self._pending)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Takes the limit over from Tune, whose own limiter forgets trials that it restarts."""
        self._max_concurrent = max_concurrent
        return True

    def limit(self, may_start: Callable[[], bool]) -> None:
        """Asks a cap before every trial; once it says no, the launch ends with those that run."""
        self._may_start = may_start

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the config of the next trial that is ready, None while there is none, FINISHED at the end."""
        if self._max_concurrent and len(self._running) >= self._max_concurrent:
            return None
        ready = next((node for node in self._pending if self._is_ready(node)), None)
        if ready is None or not self._may_start():
            return None if self._running else Searcher.FINISHED
        self._pending.remove(ready)
        self._write_recipe(ready)
        self._running[trial_id] = ready
        return {
            "storage": self._store.uri,
            "stage": str(ready.stage),
            "uid": ready.uid,
            "data_dir": self._data_dir,
            "whole_gpu": ready.uid in self._whole_gpu,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignores intermediate results: the store has them."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Asks the store how a trial ended, and tells its study."""
        node = self._running.pop(trial_id)
        folder = self._folders[node.uid]
        self.states[node.uid] = folder.state()
        if self.states[node.uid] is State.OUT_OF_MEMORY and node.uid not in self._whole_gpu:
            self._whole_gpu.add(node.uid)
            self._pending.insert(0, node)
            return
        if study := self._study_of(node):
            study.tell(node, folder)

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing: a relaunch reads the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing: a relaunch reads the store."""

    def _is_ready(self, node: Node) -> bool:
        return all(self.states[parent] is State.DONE for parent in node.parents)

    def _study_of(self, node: Node) -> CellStudy | None:
        return self._studies.get(node.cell_id) if node.cell_id else None

    def _write_recipe(self, node: Node) -> None:
        """Fixes what the trial runs before anybody runs it."""
        folder, study = self._folders[node.uid], self._study_of(node)
        folder.write_recipe(node, study.point(node, folder) if study else None)
