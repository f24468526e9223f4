"""An analysis's folder in the store."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.plan import ANALYSIS
from orchestrator.store.folder import RECIPE, RESUME_FOLDER, Folder, parquet_bytes
from orchestrator.store.records import AnalysisRecord
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from search_spaces.analyses import Analysis

ANALYSIS_SCHEMA = 1
"""Raised when a change makes stored tables mean something else; part of every uid."""
ROWS = "rows.parquet"
PARTIAL = f"{RESUME_FOLDER}/{ROWS}"
UNIT = "unit"
"""Column that tells to which unit of work a row belongs."""
_SECONDS = b"seconds"


class AnalysisFolder(TrialFolder):
    """Reads and writes the files of one analysis."""

    def __init__(self, store: Store, uid: str, folder: Folder | None = None) -> None:
        """Points at an analysis; nothing is read or written yet."""
        super().__init__(store, ANALYSIS, uid, folder)

    def write_task(self, name: str, analysis: Analysis, subjects: Sequence[str]) -> None:
        """Writes what is to be computed of the pairs with some uids, before it is."""
        record = AnalysisRecord(
            uid=self.uid,
            name=name,
            analysis=analysis.name,
            settings=analysis.model_dump(mode="json"),
            subjects=tuple(subjects),
        )
        self.folder.write_json(RECIPE, record.as_json(ANALYSIS_SCHEMA))

    def task(self) -> AnalysisRecord | None:
        """Returns what `write_task` wrote, or None if the analysis never started."""
        return self._read_recipe(AnalysisRecord)

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
