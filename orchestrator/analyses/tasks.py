"""Which analyses a sweep asks for, and the folder where each keeps its rows.

    <storage>/analysis/<uid>/recipe.json            settings and pairs; written first
                            /resume/rows.parquet    the units that are done so far
                            /rows.parquet           the whole table
                            /error.txt, /result.json   as of a trial

A uid hashes the settings and the checksums of the pairs' checkpoints: another training never inherits a table.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.analyses.contrasts import contrasts_of
from orchestrator.deferred import ANALYSIS
from orchestrator.plan import Stage
from orchestrator.reports.pairs import PairRecord
from orchestrator.store import CHECKPOINT, RECIPE, RESUME_FOLDER, Store, parquet_bytes
from orchestrator.trials import TrialFolder
from search_spaces.analyses import Analysis

ANALYSIS_SCHEMA = 1
"""Raised when a change makes stored tables mean something else; part of every uid."""
ROWS = "rows.parquet"
PARTIAL = f"{RESUME_FOLDER}/{ROWS}"
UNIT = "unit"
"""Column that tells to which unit of work a row belongs."""
_SECONDS = b"seconds"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisTask:
    """One analysis of one pair, or of a robust and a detrimental pair."""

    uid: str
    name: str
    """Readable and unique within the sweep, e.g. `layers/resnet18/I/B/detrimental/seed0`."""
    analysis: Analysis
    subjects: tuple[PairRecord, ...]
    """Robust before detrimental where it compares both."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An analysis that cannot be made, and why."""

    name: str
    reason: str


def tasks_of(
    records: Sequence[PairRecord], analyses: Sequence[Analysis], store: Store
) -> tuple[list[AnalysisTask], list[Missing]]:
    """Lists what the analyses of a sweep consist of.

    Args:
        records: The pairs that are done, in plan order.
        analyses: Which analyses, with their settings.
        store: Where the pairs' checkpoints are.

    Returns:
        The tasks by analysis, and those for which a pair is missing.
    """
    contrasts = contrasts_of(records)
    # Asked for by every analysis, read once.
    checksum = cache(partial(_checkpoint_sha256, store))
    tasks: list[AnalysisTask] = []
    missing: list[Missing] = []
    for analysis in analyses:
        if analysis.needs_both:
            for contrast in contrasts:
                name = f"{analysis.name}/{contrast.name}"
                if len(contrast.pairs) == 2:
                    tasks.append(_task(name, analysis, contrast.pairs, checksum))
                else:
                    lacking = "robust" if contrast.robust is None else "detrimental"
                    missing.append(Missing(name, f"no {lacking} pair is done"))
            continue
        chosen = records if analysis.every_trial else [pair for contrast in contrasts for pair in contrast.pairs]
        tasks += [_task(f"{analysis.name}/{r.name.removeprefix('pair/')}", analysis, (r,), checksum) for r in chosen]
    return tasks, missing


class AnalysisFolder(TrialFolder):
    """Reads and writes the files of one analysis."""

    def __init__(self, store: Store, uid: str) -> None:
        """Points at an analysis; nothing is read or written yet."""
        super().__init__(store, ANALYSIS, uid)

    def write_task(self, task: AnalysisTask) -> None:
        """Writes what is to be computed, before it is."""
        self.folder.write_json(
            RECIPE,
            {
                "schema": ANALYSIS_SCHEMA,
                "uid": task.uid,
                "name": task.name,
                "analysis": task.analysis.name,
                "settings": task.analysis.model_dump(mode="json"),
                "subjects": [record.uid for record in task.subjects],
            },
        )

    def partial(self) -> tuple[list[dict[str, Any]], float]:
        """Returns the rows of the units that are done so far, and the seconds that they took."""
        table = self.folder.read_table(PARTIAL)
        if table is None:
            return [], 0.0
        return table.to_pylist(), float((table.schema.metadata or {}).get(_SECONDS, b"0"))

    def write_partial(self, rows: list[dict[str, Any]], *, seconds: float) -> None:
        """Saves the rows of the units that are done so far."""
        table = pa.Table.from_pylist(rows)
        self.folder.write_table(PARTIAL, table.replace_schema_metadata({_SECONDS: str(seconds)}))

    def write_rows(self, rows: list[dict[str, Any]], *, seconds: float, data_sha256: str) -> None:
        """Saves the whole table, and with it that the analysis is done."""
        content = parquet_bytes(pa.Table.from_pylist(rows))
        self.write_result({}, {ROWS: content}, seconds=seconds, data_sha256=data_sha256)
        self.folder.delete(PARTIAL)

    def rows(self) -> pa.Table:
        """Returns the whole table of an analysis that is done.

        Raises:
            StorageError: It is gone or damaged.
        """
        return pq.read_table(pa.BufferReader(self.read_checked(ROWS)))


def _task(
    name: str, analysis: Analysis, subjects: tuple[PairRecord, ...], checksum: Callable[[str], str]
) -> AnalysisTask:
    identity = {
        "schema": ANALYSIS_SCHEMA,
        "analysis": analysis.name,
        "settings": analysis.model_dump(mode="json"),
        "subjects": [[record.uid, checksum(record.uid)] for record in subjects],
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    uid = hashlib.sha256(text.encode()).hexdigest()[:16]
    return AnalysisTask(uid=uid, name=name, analysis=analysis, subjects=subjects)


def _checkpoint_sha256(store: Store, uid: str) -> str:
    result = TrialFolder(store, Stage.PAIR, uid).result()
    assert result is not None, f"pair {uid} has a record and is not done"
    return str(result["files"][CHECKPOINT])
