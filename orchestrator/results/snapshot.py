"""A sweep read once: how far every trial of a plan is, and its files, each read when it is needed and at most once.

A launch makes one snapshot and tells it of every trial that begins or ends; its frontier, what it shows, its report and
its audit all take that one, so they agree. Nothing of it is kept for another process: the store is the only truth.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property

from orchestrator.plan import ANALYSIS, Node, Plan
from orchestrator.results.claims import is_shown
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.folder import EPOCHS, RECIPE, RESULT, Folder
from orchestrator.store.places.index import Index
from orchestrator.store.places.listed import ListedFolder, listed
from orchestrator.store.places.place import Stamp
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.store.usage import paid_hours
from search_spaces.errors import StorageError
from search_spaces.objective import ACCURACIES, accuracies_of, is_catastrophic

EVERYTHING = (RECIPE, RESULT, EPOCHS)
"""What a report, or a launch that ends with one, reads of every trial."""
NUM_READERS = 16
"""Files of an object store that are read at a time."""


class Snapshot:
    """What the store holds of a plan's trials and of analyses."""

    def __init__(self, plan: Plan, store: Store, *, ahead: Collection[str] = (), index: Index | None = None) -> None:
        """Lists all trials.

        Args:
            plan: The sweep's plan.
            store: Where its trials are.
            ahead: Files that will be needed of every trial: an object store is asked for many at a time.
            index: Of the sweep, which has some of them.
        """
        self.plan, self.store, self._ahead, self._index = plan, store, ahead, index
        self.findings = Findings()
        """Of the searches."""
        self.states: dict[str, State] = {}
        """Of all trials, by uid; also which of them their searches do not need."""
        self._trials: dict[str, TrialFolder] = {}
        self._has_search = bool(plan.searched_cells)
        self.refresh()

    def trial(self, node: Node) -> TrialFolder:
        """Returns a trial's folder as it was when it was listed last; to be read only."""
        return self._trials[node.uid]

    def refresh(self) -> None:
        """Lists everything again, and forgets what it read of trials whose files changed."""
        self.__dict__.pop("_analyses", None)
        found = {stage: _list_by_uid(self.store.root.folder(stage)) for stage in self.plan.stages}
        for node in self.plan.nodes:
            stamps = found[node.stage].get(node.uid, {})
            known = self._trials.get(node.uid)
            if known is None or known.folder.stamps() != stamps:
                self._trials[node.uid] = self._listed(node, stamps)
        if self._ahead and self.store.root.is_on_object_store:
            wanted = [(trial.folder, name) for trial in self._trials.values() for name in self._ahead]
            with ThreadPoolExecutor(NUM_READERS) as pool:
                list(pool.map(lambda each: each[0].read_bytes(each[1]), wanted))
        for node in self.plan.nodes:
            self._look(node)
        self._settle()

    def look_again(self, node: Node, known: ListedFolder | None = None) -> State:
        """Lists a trial that began or ended, if it is not `known` as it is, and returns its state."""
        before, folder = self.states[node.uid], known or listed(self.store.trial(node.stage, node.uid))
        self._trials[node.uid] = TrialFolder(self.store, node.stage, node.uid, folder)
        state = self._look(node)
        if state is not before or state.is_final:
            self._settle()
        return state

    def save_index(self) -> None:
        """Keeps what was read of trials that ended for whoever reads the sweep next."""
        if self._index:
            self._index.save(
                (f"{node.stage}/{node.uid}/{name}", folder.stamps()[name], content)
                for node in self.plan.nodes
                if self.states[node.uid].is_final and isinstance(folder := self.trial(node).folder, ListedFolder)
                for name, content in folder.kept().items()
            )

    @property
    def has_analyses(self) -> bool:
        """Whether anything was ever analyzed on the storage."""
        return bool(self._analyses)

    def analysis(self, uid: str) -> AnalysisFolder:
        """Returns the folder of an analysis as it was when it was listed; to be read only."""
        folder = self.store.trial(ANALYSIS, uid)
        return AnalysisFolder(self.store, uid, ListedFolder(folder, self._analyses.get(uid, {})))

    @cached_property
    def _analyses(self) -> dict[str, dict[str, Stamp]]:
        return _list_by_uid(self.store.root.folder(ANALYSIS))

    def _listed(self, node: Node, stamps: Mapping[str, Stamp]) -> TrialFolder:
        known = self._index.below(f"{node.stage}/{node.uid}", stamps) if self._index else None
        folder = ListedFolder(self.store.trial(node.stage, node.uid), stamps, known)
        return TrialFolder(self.store, node.stage, node.uid, folder)

    def _look(self, node: Node) -> State:
        """Notes the state of a trial and what it means to its search."""
        trial, findings, uid = self.trial(node), self.findings, node.uid
        state = self.states[uid] = trial.state()
        findings.forget(uid)
        if state is not State.WAITING or trial.folder.exists(RECIPE):
            findings.begun.add(uid)
        if node.cell and node.cell.search_trials and not node.is_confirmation and state.is_final:
            # A launch that would build on a damaged one refuses to start, and a report calls it failed.
            with suppress(StorageError):
                self._look_for_a_pair(node, trial)
        return state

    def _look_for_a_pair(self, node: Node, trial: TrialFolder) -> None:
        if node.is_of_search and self.plan.grid.search.gpu_hours is not None:
            # Takes a table of every trial, and only a limit on the hours asks for it.
            self.findings.hours[node.uid] = paid_hours(trial.epochs())
        if (result := trial.result()) and {f"validation/{name}" for name in ACCURACIES} <= set(result.metrics):
            if is_catastrophic(**accuracies_of(result.metrics, "validation")):
                self.findings.qualifying.add(node.uid)
                grid = self.plan.grid
                if grid.search.until == "shown" and is_shown(result.metrics, grid.claims, split="validation"):
                    self.findings.shown.add(node.uid)

    def _settle(self) -> None:
        if self._has_search:
            self.states = settle(self.plan, self.states, self.findings)


def _list_by_uid(folder: Folder) -> dict[str, dict[str, Stamp]]:
    """Returns what is known of the files of everything in a folder, by uid: one listing, no question per uid."""
    found: dict[str, dict[str, Stamp]] = {}
    for path, stamp in folder.stamps().items():
        uid, _, name = path.partition("/")
        found.setdefault(uid, {})[name] = stamp
    return found
