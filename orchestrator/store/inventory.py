"""What lies in a storage, what needs it, and what is not needed any more."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import ANALYSIS
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.folder import LEASE, RESULT, RESUME_FOLDER
from orchestrator.store.places.place import TEMPORARY
from orchestrator.store.store import Store
from orchestrator.store.sweep import LAUNCH, SWEEPS, Sweep
from orchestrator.store.trial import TrialFolder
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.stages.registry import Stage

FOLDERS = (*map(str, Stage), ANALYSIS)
"""Where folders of trials and analyses are."""
_UID = re.compile("[0-9a-f]{16}")
_NO_PLAN: dict[str, Any] = {"uids": []}
"""Of a launch that died before it wrote its plan: it reaches nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepEntry:
    """A sweep and what it takes; how far it is, `orchestrator.results.standing` says."""

    name: str
    grid: str
    dataset: str
    launched_at: str
    """ISO 8601, UTC; empty if it was planned and never launched."""
    num_bytes: int
    """Of its folder and of every trial that it reaches; sweeps that share trials all count them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """One thing that is not needed."""

    path: str
    """Below the storage; a folder of a trial or analysis, or a file."""
    reason: str
    num_bytes: int
    uid: str | None = None
    """Of the trial or analysis that goes as a whole."""


def sweeps_of(store: Store) -> list[Sweep]:
    """Returns every sweep of a storage, by name."""
    return [Sweep(store, name) for name in store.root.folder(SWEEPS).names()]


def find_trial(store: Store, text: str) -> TrialFolder:
    """Finds a trial that was begun by the beginning of its uid, or by its name.

    Raises:
        ConfigError: There is none, or more than one.
    """
    begun = [TrialFolder(store, str(stage), uid) for stage in Stage for uid in store.root.folder(stage).names()]
    found = [trial for trial in begun if text and trial.uid.startswith(text)]
    names: dict[str, str] = {}
    if not found:
        names = {trial.uid: record.name for trial in begun if (record := trial.recipe())}
        found = [trial for trial in begun if names.get(trial.uid) == text]
    if len(found) > 1:
        uids = ", ".join(trial.uid for trial in found[:3])
        raise ConfigError(f"trial {text!r} could be any of {len(found)} ({uids}...): give more of its uid.")
    if not found:
        if not begun:
            raise ConfigError(
                f"no trial {text!r} in {store.uri}, where none was begun: launch first, or name --storage."
            )
        raise unknown_name("trial", text, {*names.values(), *(trial.uid for trial in begun)})
    return found[0]


def list_sweeps(store: Store) -> list[SweepEntry]:
    """Returns the sweeps of a storage, the one launched last at the end; a folder without a plan is none."""
    files = store.root.sizes()
    by_uid = Counter[str]()
    for path, size in files.items():
        if uid := _uid_of(path):
            by_uid[uid] += size
    entries = []
    for sweep in sweeps_of(store):
        if (plan := sweep.read_plan()) is None:
            continue
        uids, grid = plan["uids"], plan.get("grid", {})
        own = sum(size for path, size in files.items() if path.startswith(f"{SWEEPS}/{sweep.name}/"))
        entries.append(
            SweepEntry(
                name=sweep.name,
                grid=str(grid.get("name", "")),
                dataset=str(grid.get("dataset", {}).get("name", "")),
                launched_at=str((sweep.folder.read_json(LAUNCH) or {}).get("launched_at", "")),
                num_bytes=own + sum(by_uid[uid] for uid in uids),
            )
        )
    return sorted(entries, key=lambda entry: entry.launched_at)


def find_garbage(store: Store) -> list[Garbage]:
    """Lists what no sweep reaches, resume states of finished trials, and files that were never finished.

    Raises:
        StorageError: A sweep's plan cannot be read, so what it reaches is unknown.
    """
    reached = _reached(store)
    files = store.root.sizes()
    folders: dict[str, list[str]] = defaultdict(list)
    for path in files:
        if _uid_of(path):
            folders["/".join(path.split("/")[:2])].append(path)
    garbage = [
        Garbage(path=path, reason="never finished writing", num_bytes=size)
        for path, size in files.items()
        if _is_unfinished(path)
    ]
    for folder, paths in folders.items():
        uid = folder.partition("/")[2]
        if not _is_reached(store, folder, reached):
            size = sum(files[path] for path in paths)
            garbage.append(Garbage(path=folder, reason="no sweep reaches it", num_bytes=size, uid=uid))
        elif f"{folder}/{RESULT}" in files:
            garbage += [
                Garbage(path=path, reason="resume state of a finished trial", num_bytes=files[path])
                for path in paths
                if path.startswith(f"{folder}/{RESUME_FOLDER}/") and not _is_unfinished(path)
            ]
            # On an object store it stays, and says that nobody has the trial.
            if (lease := f"{folder}/{LEASE}") in files and not store.root.is_on_object_store:
                garbage.append(Garbage(path=lease, reason="lease of a finished trial", num_bytes=files[lease]))
    return garbage


def remove(store: Store, garbage: Iterable[Garbage]) -> None:
    """Removes what `find_garbage` found."""
    for each in garbage:
        if each.uid is None:
            store.root.delete(each.path)
            continue
        # What makes a trial done goes first, so that a kill here leaves no trial that is done and lacks its files.
        store.root.delete(f"{each.path}/{RESULT}")
        store.root.delete_folder(each.path)


def _reached(store: Store) -> set[str]:
    """Returns the uids of all sweeps' trials, and of the pairs that their students started from."""
    plans = [sweep.read_plan() or _NO_PLAN for sweep in sweeps_of(store)]
    reached = {uid for plan in plans for uid in plan["uids"]}
    # Trials are read only where there may be such pairs.
    cells = (cell for plan in plans for cell in plan.get("grid", {}).get("cells", ()))
    unread = reached if any(cell["recipe"].get("start_from") for cell in cells) else set()
    while unread:
        records = [TrialFolder(store, Stage.PAIR, uid).recipe() for uid in unread]
        unread = {record.start_uid for record in records if record and record.start_uid} - reached
        reached = reached | unread
    return reached


def _is_reached(store: Store, folder: str, reached: set[str]) -> bool:
    stage, _, uid = folder.partition("/")
    if stage != ANALYSIS:
        return uid in reached
    # An analysis belongs to every sweep that has its pairs. One without a recipe says nothing, and is kept.
    task = AnalysisFolder(store, uid).task()
    return task is None or set(task.subjects) <= reached


def _is_unfinished(path: str) -> bool:
    return any(part.startswith(TEMPORARY) for part in path.split("/"))


def _uid_of(path: str) -> str | None:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] in FOLDERS and _UID.fullmatch(parts[1]) else None
