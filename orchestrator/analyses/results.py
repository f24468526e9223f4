"""The tables of a sweep's analyses: all tasks of one analysis under each other, each row with the pair it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.analyses.tasks import AnalysisTask, Missing, checksums_of, tasks_of
from orchestrator.results.pairs import PairRecord
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import UNIT
from orchestrator.store.folder import Folder
from orchestrator.store.states import State
from search_spaces.analyses import ANALYSES, Analysis
from search_spaces.model import parse

INTERRUPTED = "interrupted: analyze again to go on with it"
PAIR_COLUMNS = ("architecture", "option_set", "budget_level", "budget", "seed", "goal", "trial_number", "pair_uid")
"""What identifies the pair of a row; an analysis that compares two names the detrimental one."""


def read_tables(tasks: Sequence[AnalysisTask], snapshot: Snapshot) -> dict[str, pd.DataFrame]:
    """Reads what is done of a sweep's analyses.

    Args:
        tasks: All its tasks, done or not.
        snapshot: Of the sweep.

    Returns:
        By name of the analysis, in the order of `tasks`, a tidy table with `PAIR_COLUMNS` first; an analysis of which
        nothing is done is left out.

    Raises:
        StorageError: A table is damaged.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    for task in tasks:
        folder = snapshot.analysis(task.uid)
        if folder.state() is not State.DONE:
            continue
        table = folder.rows().to_pandas().drop(columns=UNIT)
        for place, (name, value) in enumerate(_identity(task.subjects[-1]).items()):
            table.insert(place, name, value)
        parts.setdefault(task.analysis.name, []).append(table)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTables:
    """What there is of a sweep's analyses."""

    tables: Mapping[str, pd.DataFrame]
    """Of what is done, by name of the analysis."""
    missing: Sequence[Missing] = ()
    """What was begun and is not done."""


def sweep_tables(records: Sequence[PairRecord], snapshot: Snapshot, sweep: Folder) -> SweepTables:
    """Reads the analyses of a sweep.

    Args:
        records: The pairs that are done, in plan order.
        snapshot: Of the sweep.
        sweep: The sweep's folder, which keeps the settings.

    Raises:
        StorageError: A table is damaged.
    """
    tasks = tasks_of_sweep(records, snapshot, sweep)
    begun = [(task, folder) for task in tasks if (folder := snapshot.analysis(task.uid)).task() is not None]
    missing = [
        Missing(task.name, headline.line if (headline := folder.headline()) else INTERRUPTED)
        for task, folder in begun
        if folder.state() is not State.DONE
    ]
    return SweepTables(tables=read_tables(tasks, snapshot), missing=missing)


def _identity(record: PairRecord) -> dict[str, str | int]:
    values = {name: getattr(record, name) for name in PAIR_COLUMNS if name != "pair_uid"}
    return values | {"goal": str(record.goal), "pair_uid": record.uid}


SETTINGS = "analyses.json"


def load_analyses(sweep: Folder) -> dict[str, Analysis]:
    """Returns every analysis by name, with the settings that the sweep was analyzed with last.

    Raises:
        ConfigError: Another version of this program wrote settings that this one does not know.
    """
    stored = sweep.read_json(SETTINGS) or {}
    place = f"{sweep.root}/{SETTINGS}: "
    return {
        name: parse(type(default), stored.get(name, {}), place=f"{place}{name}") for name, default in ANALYSES.items()
    }


def tasks_of_sweep(records: Sequence[PairRecord], snapshot: Snapshot, sweep: Folder) -> list[AnalysisTask]:
    """Lists all analyses of a sweep with its settings; none where nothing was ever analyzed on the storage.

    Args:
        records: The pairs that are done, in plan order.
        snapshot: Of the sweep.
        sweep: The sweep's folder.
    """
    if not snapshot.has_analyses:
        return []
    tasks, _ = tasks_of(records, list(load_analyses(sweep).values()), checksums_of(snapshot))
    return tasks


def save_analyses(sweep: Folder, analyses: Mapping[str, Analysis]) -> None:
    """Keeps the settings of a sweep's analyses."""
    sweep.write_json(SETTINGS, {name: analysis.model_dump(mode="json") for name, analysis in analyses.items()})
