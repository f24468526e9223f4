"""The tables of a sweep's analyses: all tasks of one analysis under each other, each row with the pair it is about."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.analyses.tasks import UNIT, AnalysisFolder, AnalysisTask
from orchestrator.reports.pairs import PairRecord
from orchestrator.store import Store
from orchestrator.trials import State

PAIR_COLUMNS = ("architecture", "option_set", "budget_level", "budget", "seed", "goal", "trial_number", "pair_uid")
"""What identifies the pair of a row; an analysis that compares two names the detrimental one."""


def read_tables(tasks: Sequence[AnalysisTask], store: Store) -> dict[str, pd.DataFrame]:
    """Reads what is done of a sweep's analyses.

    Args:
        tasks: All its tasks, done or not.
        store: Where they are.

    Returns:
        By name of the analysis, in the order of `tasks`, a tidy table with `PAIR_COLUMNS` first; an analysis of which
        nothing is done is left out.

    Raises:
        StorageError: A table is damaged.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    for task in tasks:
        folder = AnalysisFolder(store, task.uid)
        if folder.state() is not State.DONE:
            continue
        table = folder.rows().to_pandas().drop(columns=UNIT)
        for place, (name, value) in enumerate(_identity(task.subjects[-1]).items()):
            table.insert(place, name, value)
        parts.setdefault(task.analysis.name, []).append(table)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def _identity(record: PairRecord) -> dict[str, str | int]:
    return {
        "architecture": record.architecture,
        "option_set": record.option_set,
        "budget_level": record.budget_level,
        "budget": record.budget,
        "seed": record.seed,
        "goal": str(record.goal),
        "trial_number": record.trial_number,
        "pair_uid": record.uid,
    }
