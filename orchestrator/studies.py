"""One Optuna study per searched cell, in a journal file that only the driver opens.

Trial k of a study is trial k of its cell in the plan; trial 0 is the recipe's own point. The store decides what is
true: the point of a trial lies in its recipe.json before it runs, and what the journal does not know of finished
trials is told from there. So a killed driver loses no value, repeats no point and leaves no trial RUNNING for ever.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from orchestrator.plan import Node
from orchestrator.trials import State, TrialFolder
from search_spaces.cells import Cell
from search_spaces.loss_space import SEARCHED_FIELDS, LossSpace, point_of, suggest
from search_spaces.objective import accuracies_of, detrimental_objective, parity_violation

UID = "uid"
"""User attribute that ties an Optuna trial to its node."""
CONSTRAINT = "parity"


def open_journal(path: Path) -> JournalStorage:
    """Opens or creates the file of all studies of a sweep. Open it once: every opening reads and keeps all of it."""
    return JournalStorage(JournalFileBackend(str(path)))


class CellStudy:
    """The study of one cell."""

    def __init__(self, cell: Cell, journal: JournalStorage, *, seed: int) -> None:
        """Opens or creates the study.

        Args:
            cell: The searched cell.
            journal: Holds all studies of a sweep; from `open_journal`.
            seed: Of the sampler; mixed with the number of the trial that asks, so that a relaunch draws for every trial
                what an undisturbed launch would have drawn, as long as the sampler draws at random (ten trials).
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.cell = cell
        self._space = LossSpace()
        self._study = optuna.create_study(
            storage=journal, study_name=cell.cell_id, direction="maximize", load_if_exists=True
        )
        self._seed = seed

    def reconcile(self, folders: Sequence[tuple[Node, TrialFolder]]) -> None:
        """Makes the study agree with the store at the start of a launch.

        Finished trials that the study does not know are told, failed ones too; trials that ran when the driver died
        stay RUNNING only if their node is still to be finished at the same point.
        """
        started = {node.uid for node, folder in folders if folder.recipe() is not None}
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            # Enqueued by a driver that died before it asked; Optuna refuses to tell a trial that nobody asked for.
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(UID) not in started:
                self._study.tell(trial.number, state=TrialState.FAIL)
        for node, folder in folders:
            if folder.state() in (State.DONE, State.DIVERGED):
                self.tell(node, folder)

    def point(self, node: Node, folder: TrialFolder) -> dict[str, float]:
        """Returns the point that a node runs at, asking Optuna if it has none yet.

        Args:
            node: A trial of the cell.
            folder: Its folder; a point found in its recipe is kept.
        """
        planned = folder.recipe()
        if planned is not None:
            point = {name: float(planned["recipe"][name]) for name in SEARCHED_FIELDS}
            if self._find(node.uid) is None:
                self._adopt(node.uid, point)
            return point
        if not node.is_searched:
            point = point_of(self.cell.recipe)
            self._adopt(node.uid, point)
            return point
        known = self._find(node.uid)
        if known is not None and known.state is TrialState.COMPLETE:
            # Its recipe.json was damaged and moved away; the study still knows the point.
            return {name: float(known.params[name]) for name in SEARCHED_FIELDS}
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + 1000 * (node.trial_number - 1))
        trial = self._study.ask()
        # Marked at once: between here and recipe.json a dying driver leaves a trial that reconcile fails.
        trial.set_user_attr(UID, node.uid)
        return suggest(self._space, trial)

    def tell(self, node: Node, folder: TrialFolder) -> None:
        """Tells a finished or failed trial, once; a non-finite objective is told as a failure."""
        known = self._find(node.uid)
        if known is not None and known.state is TrialState.COMPLETE:
            return
        result = folder.result()
        if result is None:
            if known is not None and not known.state.is_finished():
                self._study.tell(known.number, state=TrialState.FAIL)
            return
        if known is None or known.state.is_finished():
            self._adopt(node.uid, self.point(node, folder))
            known = self._find(node.uid)
            assert known is not None
        value = detrimental_objective(**accuracies_of(result["metrics"], "validation"))
        if not math.isfinite(value):
            self._study.tell(known.number, state=TrialState.FAIL)
            return
        handle = optuna.trial.Trial(self._study, known._trial_id)
        handle.set_constraint(CONSTRAINT, parity_violation(result["metrics"]["validation/parity_gap"]))
        self._study.tell(known.number, value)

    def told(self) -> dict[str, list[str]]:
        """Returns the states of the study's trials, by uid of their node."""
        states: dict[str, list[str]] = {}
        for trial in self._study.get_trials(deepcopy=False):
            states.setdefault(trial.user_attrs.get(UID, "no uid"), []).append(trial.state.name)
        return states

    def _adopt(self, uid: str, point: dict[str, float]) -> None:
        """Puts a trial at a given point into the study, as RUNNING."""
        self._study.enqueue_trial(point)
        trial = self._study.ask()
        trial.set_user_attr(UID, uid)
        suggest(self._space, trial)

    def _find(self, uid: str) -> FrozenTrial | None:
        """Returns the study's trial of a node: the complete one, else the newest."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if trial.user_attrs.get(UID) == uid]
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        found = complete or trials
        return found[-1] if found else None
