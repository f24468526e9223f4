"""One Optuna study per searched cell, in the sweep's journal.

Trial k of a study is trial k of its cell in the plan. The store decides what is true: the point of a trial lies in its
recipe.json before it runs, and what the journal does not know of finished trials is told from there. So a killed driver
loses no value, repeats no point and leaves no trial RUNNING for ever.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from orchestrator.plan import Node
from orchestrator.search.ladder import nearest_first
from orchestrator.search.notes import objective_names, study_note
from orchestrator.search.optuna_internals import SeenBySampler, as_other, name_metrics, trial_handle, write_note
from orchestrator.search.pruning import Curves, is_behind_hits, is_in_worse_half
from orchestrator.search.samplers import make_sampler, quasi_random
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder
from search_spaces.grids.cells import Cell
from search_spaces.loss_space import Point, place_of, point_of, suggest
from search_spaces.names import OBJECTIVES, QUASI_RANDOM
from search_spaces.objective import LAG, lost, measures, objective_value, violation
from search_spaces.recipes import PairRecipe
from search_spaces.search import Search

UID = "uid"
"""User attribute that ties an Optuna trial to its node."""
ORIGIN = "origin"
"""User attribute with a point's source: a sampler, `quasi-random`, `recipe`, `as-published`, or the cell it was
borrowed of."""
OBJECTIVE = "objective"
"""User attribute of a study: what it maximizes, from its first trial to its last."""
CONSTRAINT = "parity"


def open_studies(
    cells: Sequence[Cell], journal: JournalStorage, search: Search, *, sweep: str = ""
) -> dict[str, "CellStudy"]:
    """Opens the study of every cell, by cell_id, each beside those of its network; see `CellStudy`."""
    studies = {cell.cell_id: CellStudy(cell, journal, search, sweep=sweep) for cell in cells}
    for cell in cells:
        far_first = reversed(nearest_first(cell, cells))
        studies[cell.cell_id].of_network = [studies[other.cell_id] for other in far_first]
    return studies


def kept_objectives(studies: Mapping[str, "CellStudy"], search: Search) -> str | None:
    """Says which studies do not maximize what the search asks for; None where all do."""
    if not (others := [cell_id for cell_id, study in studies.items() if study.maximizes != search.maximizes]):
        return None
    named = ", ".join(others[:2]) + (", ..." if len(others) > 2 else "")
    return (
        f"{len(others)} of {len(studies)} studies maximize the {OBJECTIVES[0]} and not the {search.maximizes}, since "
        f"trials of an earlier version began them: {named}; another --name begins new ones"
    )


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
        self.cell, self._search, self._sweep = cell, search, sweep
        self._has_two_objectives = search.sampler == "nsga2"
        self.maximizes = search.maximizes
        """What it is told; one that began otherwise stays with that, as `reconcile` finds out."""
        self._study = optuna.create_study(
            storage=journal,
            study_name=f"{sweep}/{cell.cell_id}".lstrip("/"),
            # Two objectives: the second is what is lost at full precision.
            directions=["maximize", "minimize"] if self._has_two_objectives else ["maximize"],
            load_if_exists=True,
        )
        self._seen_by_sampler = SeenBySampler(self._study.study_name, journal)
        self._prunes = search.prunes(cell.recipe.epochs)
        self._curves, self._unread = Curves(), list[tuple[str, TrialFolder]]()
        self.of_network: Sequence[CellStudy] = ()
        """The studies of the other cells of its network and seed, the nearest one last."""
        self._describe()

    def reconcile(self, folders: Sequence[tuple[Node, TrialFolder]]) -> None:
        """Makes the study agree with the store at the start of a launch.

        Finished trials that the study does not know are told, failed and pruned ones too; trials that ran when the
        driver died stay RUNNING only if their node is still to be finished at the same point.
        """
        self._keep_objective(folders)
        started = {node.uid for node, folder in folders if folder.recipe() is not None}
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            # Enqueued by a driver that died before it asked; Optuna refuses to tell a trial that was not asked for.
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(UID) not in started:
                self._study.tell(trial.number, state=TrialState.FAIL)
        self._unread = [(node.uid, folder) for node, folder in folders if self._prunes and node.uid in started]
        for node, folder in folders:
            if (state := folder.state()).ended_well or state is State.DIVERGED:
                self.tell(node, folder)

    def _keep_objective(self, folders: Sequence[tuple[Node, TrialFolder]]) -> None:
        """Fixes what the study maximizes, for values of two objectives cannot be compared.

        It is the drop where an earlier version began the study, or ran trials that do not measure what is wanted.
        """
        kept = self._study.user_attrs.get(OBJECTIVE)
        if kept is None:
            kept = self.maximizes
            if kept != OBJECTIVES[0]:
                results = (result for _, folder in folders if (result := folder.result()))
                if self._study.get_trials(deepcopy=False) or not all(
                    measures(kept, result.metrics) for result in results
                ):
                    kept = OBJECTIVES[0]
            self._study.set_user_attr(OBJECTIVE, kept)
        self.maximizes = kept
        self._describe()

    def _describe(self) -> None:
        if self._study.metric_names != (names := objective_names(self._search, self.maximizes)):
            name_metrics(self._study, names)
        write_note(self._study, study_note(self.cell, self._search, self._sweep, self.maximizes))

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
        seen = self._seen_by_sampler
        seen.others = [trial for study in self._relatives for trial in study.finished()] if self._search.shares else []
        if self._search.startup and len(seen.others) + len(self.finished()) < self._search.startup:
            seed = zlib.crc32(self.cell.cell_id.encode())
            drawn = quasi_random(self._search.space, seed=seed, number=node.trial_number)
            self._adopt(node.uid, drawn, QUASI_RANDOM)
            return drawn
        # Neighbours that drew the same points would have nothing to borrow from each other.
        seed = zlib.crc32(f"{self.cell.cell_id}/{node.trial_number}".encode())
        seen.sampler = make_sampler(self._search.sampler, seed=seed)
        trial = seen.ask()
        # Marked at once: between here and recipe.json a dying driver leaves a trial that reconcile fails.
        trial.set_user_attr(UID, node.uid)
        trial.set_user_attr(ORIGIN, self._search.sampler)
        return suggest(self._search.space, trial)

    def point_from(self, node: Node) -> str | None:
        """Returns where the point that `point` gave a node comes from; None for a node that the study does not know."""
        known = self._find(node.uid)
        return None if known is None else known.user_attrs.get(ORIGIN)

    def report(self, node: Node, row: dict[str, Any]) -> bool:
        """Takes in what an epoch measured on validation; returns whether the pruner ends the trial here."""
        known = self._find(node.uid)
        if known is None or known.state is not TrialState.RUNNING or not measures(self.maximizes, row):
            return False
        epoch, curve = int(row["epoch"]), self.curves.add(node.uid, self.maximizes, row)
        if epoch in known.intermediate_values:
            return False  # told before its worker was lost
        if not self._has_two_objectives:
            trial_handle(self._study, known).report(curve[epoch].objective, step=epoch)
        # At the last epoch there is nothing left to save.
        if not (self._prunes and node.is_prunable and epoch < node.recipe.epochs):
            return False
        if self._search.pruner == "hurdle":
            hits = [hit for study in (*self._relatives, self) for hit in study.curves.hits]
            return is_behind_hits(curve, hits, node.recipe.epochs)
        return is_in_worse_half(curve, self.curves.all, node.recipe.epochs)

    @property
    def curves(self) -> Curves:
        """Of its trials; those that earlier launches ran are read when something runs that may be measured by them."""
        unread, self._unread = self._unread, []
        for uid, folder in unread:
            self._curves.read(uid, self.maximizes, folder)
        return self._curves

    @property
    def _relatives(self) -> list["CellStudy"]:
        """Those studies of the network whose values compare with its own."""
        return [study for study in self.of_network if study.maximizes == self.maximizes]

    def finished(self) -> list[FrozenTrial]:
        """Returns its trials that samplers of other studies may learn from, as these see them."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [as_other(trial) for trial in trials if trial.params]

    def tell(self, node: Node, folder: TrialFolder) -> None:
        """Tells a finished, pruned or failed trial, once; a non-finite objective is told as a failure.

        So is a result of an earlier version that does not measure the objective, and its trial says why.
        """
        known, state, result = self._find(node.uid), folder.state(), folder.result()
        is_measured = result is not None and measures(self.maximizes, result.metrics)
        values = self._values(result.metrics) if result and is_measured else None
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
            if result and not is_measured:
                trial_handle(self._study, known).set_user_attr("untold", f"its result has no {self.maximizes}")
            self._study.tell(known.number, state=outcome)
            return
        for row in folder.epochs():
            # Most were told as they came; what a relaunch finds in the store was not.
            self.report(node, row)
        if result:
            self.curves.note_hit(node.uid, result.metrics)
            handle = trial_handle(self._study, known)
            handle.set_constraint(CONSTRAINT, violation(self.maximizes, result.metrics))
        self._study.tell(known.number, values, state=outcome)

    def told(self) -> dict[str, list[str]]:
        """Returns the states of the study's trials, by uid of their node."""
        states = defaultdict[str, list[str]](list)
        for trial in self._study.get_trials(deepcopy=False):
            states[trial.user_attrs.get(UID, "no uid")].append(trial.state.name)
        return states

    def _values(self, metrics: Mapping[str, float]) -> list[float]:
        if not self._has_two_objectives:
            return [objective_value(self.maximizes, metrics)]
        # Without the penalty, since the second objective is what is lost.
        first = metrics[f"validation/{LAG}"] if self.maximizes == "lag" else -metrics["validation/accuracy_delta"]
        return [first, lost(self.maximizes, metrics)]

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
