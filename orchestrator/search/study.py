"""One Optuna study per searched cell, in a journal file that only the driver opens.

The journal lies in the sweep's folder. An object store has no files to append to: there the driver works on a copy,
which it puts back when the launch ends, well or badly.

Trial k of a study is trial k of its cell in the plan. The store decides what is true: the point of a trial lies in its
recipe.json before it runs, and what the journal does not know of finished trials is told from there. So a killed driver
loses no value, repeats no point and leaves no trial RUNNING for ever.
"""

import json
import math
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from orchestrator.plan import Node
from orchestrator.search.notes import objective_names, study_note
from orchestrator.search.optuna_internals import SeenBySampler, trial_handle, write_note
from orchestrator.search.samplers import make_pruner, make_sampler
from orchestrator.store.folder import Folder
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from search_spaces.files.scratch import scratch_folder
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import Point, place_of, point_of, suggest
from search_spaces.objective import accuracies_of, detrimental_objective, parity_violation
from search_spaces.recipes import PairRecipe
from search_spaces.search import Search

JOURNAL = "studies.log"
"""Name of the file, in the folder of its sweep."""
UID = "uid"
"""User attribute that ties an Optuna trial to its node."""
ORIGIN = "origin"
"""User attribute with a point's source: a sampler, `recipe`, `as-published`, or the cell it was borrowed of."""
CONSTRAINT = "parity"


def open_journal(path: Path) -> JournalStorage:
    """Opens or creates the file of all studies of a sweep. Open it once: every opening reads and keeps all of it."""
    return JournalStorage(JournalFileBackend(str(path)))


@contextmanager
def sweep_journal(folder: Folder) -> Iterator[JournalStorage]:
    """Opens the journal in a sweep's folder for the duration of a `with` block."""
    if folder.local_path:
        folder.local_path.mkdir(parents=True, exist_ok=True)
        yield open_journal(folder.local_path / JOURNAL)
        return
    with scratch_folder() as scratch:
        copy = scratch / JOURNAL
        before = folder.read_bytes(JOURNAL)
        copy.write_bytes(before or b"")
        try:
            yield open_journal(copy)
        finally:
            if (now := copy.read_bytes()) != before:
                folder.write_bytes(JOURNAL, now)


def make_journal_whole(path: Path) -> str | None:
    """Readies the file of all studies for a driver that has the sweep to itself.

    A driver that died while it wrote leaves the file locked, and a full disk or a lost machine leaves half a line at
    its end, behind which Optuna would write on. Losing the file loses nothing: studies are filled from the store.

    Returns:
        What was wrong with the file, in one line; None if nothing was, or there is none.
    """
    # Optuna would wait 30 seconds for the process that holds it.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    *lines, rest = path.read_bytes().split(b"\n") if path.exists() else [b""]
    try:
        if not rest and all(isinstance(json.loads(line), dict) for line in lines) and _is_read_by_optuna(path):
            return None
    except ValueError:
        pass  # no JSON, which is what was to be found out
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    return f"{path} was cut short or edited: it is now {aside.name}, and the studies are filled from the store"


def _is_read_by_optuna(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        open_journal(path)
    except Exception:  # Optuna raises whatever a wrong line comes to: KeyError, TypeError, errors of its own
        return False
    return True


class CellStudy:
    """The study of one cell."""

    def __init__(self, cell: Cell, journal: JournalStorage, search: Search, *, sweep: str = "") -> None:
        """Opens or creates the study.

        Args:
            cell: The searched cell. Its name and the number of the trial that asks seed the sampler, so that a relaunch
                draws for every trial what an undisturbed launch would have drawn from the same knowledge.
            journal: Holds all studies of a sweep; from `open_journal`.
            search: How to search.
            sweep: Name of the sweep, which begins that of the study.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.cell, self._search = cell, search
        self._has_two_objectives = search.sampler == "nsga2"
        self._study = optuna.create_study(
            storage=journal,
            study_name=f"{sweep}/{cell.cell_id}".lstrip("/"),
            # Two objectives: the drop and the parity gap.
            directions=["maximize", "minimize"] if self._has_two_objectives else ["maximize"],
            pruner=make_pruner(search, cell.recipe.epochs),
            load_if_exists=True,
        )
        self._seen_by_sampler = SeenBySampler(self._study.study_name, journal)
        if self._study.metric_names != (names := objective_names(search)):
            with warnings.catch_warnings():
                # It is experimental since Optuna 3.2.
                warnings.simplefilter("ignore", ExperimentalWarning)
                self._study.set_metric_names(names)
        write_note(self._study, study_note(cell, search, sweep))

    def reconcile(self, folders: Sequence[tuple[Node, TrialFolder]]) -> None:
        """Makes the study agree with the store at the start of a launch.

        Finished trials that the study does not know are told, failed and pruned ones too; trials that ran when the
        driver died stay RUNNING only if their node is still to be finished at the same point.
        """
        started = {node.uid for node, folder in folders if folder.recipe() is not None}
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            # Enqueued by a driver that died before it asked; Optuna refuses to tell a trial that was not asked for.
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(UID) not in started:
                self._study.tell(trial.number, state=TrialState.FAIL)
        for node, folder in folders:
            if (state := folder.state()).ended_well or state is State.DIVERGED:
                self.tell(node, folder)

    def point(self, node: Node, folder: TrialFolder, borrowed: tuple[str, Point] | None = None) -> Point | None:
        """Returns the point that a node is moved to, asking Optuna if it has none yet; None where its recipe stays.

        Args:
            node: A trial of the cell's search.
            folder: Its folder; a point found in its recipe is kept.
            borrowed: A neighbour's cell_id and the point of its pair, to be tried in place of the sampler's.
        """
        known = self._find(node.uid)
        # A trial that runs again after it failed or was pruned is another trial to Optuna, at the same point.
        is_known = known is not None and known.state in (TrialState.RUNNING, TrialState.COMPLETE)
        if not node.is_searched:
            if not is_known:
                assert isinstance(node.recipe, PairRecipe)
                recipe = point_of(node.recipe, self._search.space)
                self._adopt(node.uid, self._own_point(node), str(node.origin), recipe)
            return None
        if planned := folder.recipe():
            point = {name: planned.recipe[name] for name in self._search.space.fields}
            if not is_known:
                self._adopt(node.uid, point, planned.point_from or "store")
            return point
        if known is not None and known.state in (TrialState.COMPLETE, TrialState.PRUNED):
            # Its recipe.json was damaged and moved away; the study still knows the point.
            return {name: known.params[name] for name in self._search.space.fields}
        if borrowed is not None:
            self._adopt(node.uid, borrowed[1], borrowed[0])
            return borrowed[1]
        # Neighbours that drew the same points would have nothing to borrow from each other.
        seed = zlib.crc32(f"{self.cell.cell_id}/{node.trial_number}".encode())
        self._seen_by_sampler.sampler = make_sampler(self._search.sampler, seed=seed)
        trial = self._seen_by_sampler.ask()
        # Marked at once: between here and recipe.json a dying driver leaves a trial that reconcile fails.
        trial.set_user_attr(UID, node.uid)
        trial.set_user_attr(ORIGIN, self._search.sampler)
        return suggest(self._search.space, trial)

    def point_from(self, node: Node) -> str | None:
        """Returns where the point that `point` gave a node comes from; None for a node that the study does not know."""
        known = self._find(node.uid)
        return None if known is None else known.user_attrs.get(ORIGIN)

    def report(self, node: Node, row: dict[str, Any]) -> bool:
        """Takes in the validation accuracies of an epoch.

        Returns:
            Whether the trial should end here: the pruner says so, at an epoch that is not its last.
        """
        known = self._find(node.uid)
        if self._has_two_objectives or known is None or known.state is not TrialState.RUNNING:
            return False
        if row["epoch"] in known.intermediate_values:
            return False  # told before its worker was lost
        trial = trial_handle(self._study, known)
        trial.report(detrimental_objective(**accuracies_of(row, "validation")), step=row["epoch"])
        # At the last epoch there is nothing left to save. Trials that are never pruned are asked for, too:
        # the others are compared with them.
        return row["epoch"] < node.recipe.epochs and trial.should_prune() and node.is_prunable

    def tell(self, node: Node, folder: TrialFolder) -> None:
        """Tells a finished, pruned or failed trial, once; a non-finite objective is told as a failure."""
        known, state, result = self._find(node.uid), folder.state(), folder.result()
        values = self._values(result.metrics) if result else None
        if values is not None and all(math.isfinite(value) for value in values):
            outcome = TrialState.COMPLETE
        else:
            outcome = TrialState.PRUNED if state is State.PRUNED else TrialState.FAIL
        if known is not None and known.state in (TrialState.COMPLETE, outcome):
            return
        if known is None or known.state is not TrialState.RUNNING:
            if not state.ended_well:
                return
            self.point(node, folder)
            known = self._find(node.uid)
            assert known is not None
        if outcome is TrialState.FAIL:
            self._study.tell(known.number, state=outcome)
            return
        for row in folder.epochs():
            # Most were told as they came; what a relaunch finds in the store was not.
            self.report(node, row)
        if result:
            handle = trial_handle(self._study, known)
            handle.set_constraint(CONSTRAINT, parity_violation(result.metrics["validation/parity_gap"]))
        self._study.tell(known.number, values, state=outcome)

    def told(self) -> dict[str, list[str]]:
        """Returns the states of the study's trials, by uid of their node."""
        states = defaultdict[str, list[str]](list)
        for trial in self._study.get_trials(deepcopy=False):
            states[trial.user_attrs.get(UID, "no uid")].append(trial.state.name)
        return states

    def _values(self, metrics: Mapping[str, float]) -> list[float]:
        if self._has_two_objectives:
            return [-metrics["validation/accuracy_delta"], metrics["validation/parity_gap"]]
        return [detrimental_objective(**accuracies_of(metrics, "validation"))]

    def _own_point(self, node: Node) -> Point:
        """Returns where a trial with a recipe of its own lies in the space, nothing if it differs beyond the space.

        A sampler would learn from such a trial what is not true in its space; without parameters it learns nothing.
        """
        assert isinstance(node.recipe, PairRecipe)
        return place_of(node.recipe, self.cell.recipe, self._search.space) or {}

    def _adopt(self, uid: str, point: Point, origin: str, recipe: Mapping[str, Any] | None = None) -> None:
        """Puts a trial at a given point into the study, as RUNNING.

        Of one that has no point in the space the values of `recipe` are attributes, which no sampler looks at.
        """
        self._study.enqueue_trial(point)
        trial = self._study.ask()
        trial.set_user_attr(UID, uid)
        trial.set_user_attr(ORIGIN, origin)
        if point:
            suggest(self._search.space, trial)
        for name, value in (recipe or {}).items() if not point else ():
            trial.set_user_attr(name, value)

    def _find(self, uid: str) -> FrozenTrial | None:
        """Returns the study's trial of a node: the complete one, else the newest."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if trial.user_attrs.get(UID) == uid]
        return max(trials, key=lambda trial: (trial.state is TrialState.COMPLETE, trial.number), default=None)
