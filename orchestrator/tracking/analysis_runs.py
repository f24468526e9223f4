"""Analyses in MLflow's terms: a run each, whose metrics draw the curves of the paper's figures.

The columns that tell what is measured become the metric's name and the column that counts along becomes its step: the
accuracy of `test/before` over the sites is then a chart of MLflow's, in which pairs are compared.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.plan import ANALYSIS
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import ROWS, UNIT, AnalysisFolder
from orchestrator.store.folder import ERROR, LOG, RECIPE, RESULT
from orchestrator.tracking.runs import STAGE_TAG, UID_TAG, Content, Point, Tracked, error_tag, points_of
from search_spaces.analyses import Analysis
from search_spaces.model import as_text

_CELL = ("architecture", "option_set", "budget_level", "budget")
_ARTIFACTS = {"FINISHED": (RECIPE, RESULT, ROWS), "FAILED": (RECIPE, ERROR, LOG)}


def tracked_analyses(tasks: Sequence[AnalysisTask], snapshot: Snapshot, sweep: str) -> list[Tracked]:
    """Returns the analyses of a sweep that have ended, as something to track."""
    folders = [(task, snapshot.analysis(task.uid)) for task in tasks]
    return [
        Tracked(task.uid, task.name, folder, _tags(task, sweep), partial(read_analysis, task, folder))
        for task, folder in folders
        if folder.state().is_final
    ]


def read_analysis(task: AnalysisTask, folder: AnalysisFolder, status: str) -> Content:
    """Reads what the run of an analysis that has ended should hold.

    Raises:
        StorageError: Its table is gone or damaged.
    """
    params = {name: as_text(value) for name, value in task.analysis.model_dump(mode="json").items()}
    result = folder.result() if status == "FINISHED" else None
    points: list[Point] = []
    if result:
        table, end_ms = folder.rows().to_pandas().drop(columns=UNIT), result.finished_ms
        points = [*analysis_points(task.analysis, table, end_ms), Point("analysis_seconds", result.seconds, end_ms, 0)]
    return Content(
        status=status,
        params=params | {f"{record.goal}_pair": record.uid for record in task.subjects},
        tags={} if result else error_tag(folder),
        points=points,
        artifacts=[name for name in _ARTIFACTS[status] if folder.folder.exists(name)],
        start_ms=int(result.finished_ms - 1000 * result.seconds) if result else None,
        end_ms=result.finished_ms if result else None,
    )


def analysis_points(analysis: Analysis, table: pd.DataFrame, timestamp_ms: int) -> list[Point]:
    """Turns a table into metrics: numbers and truth values, averaged over rows that differ in neither key nor step.

    Examples:
        >>> from search_spaces.analyses import analysis_named
        >>> table = pd.DataFrame({"split": ["test"], "mode": ["before"], "site": [3], "accuracy": [0.5]})
        >>> analysis_points(analysis_named("layers"), table, 7)
        [Point(key='test/before/accuracy', value=0.5, timestamp_ms=7, step=3)]
    """
    by = [*analysis.keys, *([analysis.step] if analysis.step else [])]
    numbers = [name for name in table.select_dtypes([np.number, bool]).columns if name not in by]
    groups = table.groupby(by, sort=False, dropna=False) if by else [((), table)]
    points: list[Point] = []
    for place, rows in groups:
        where: dict[str, Any] = dict(zip(by, place, strict=True))
        prefix = "".join(f"{where[key]}/" for key in analysis.keys if not pd.isna(where[key]))
        step = int(where[analysis.step]) if analysis.step else 0
        means = {f"{prefix}{name}": rows[name].mean() for name in numbers}
        points += points_of(((k, float(v)) for k, v in means.items() if np.isfinite(v)), timestamp_ms, step)
    return points


def _tags(task: AnalysisTask, sweep: str) -> dict[str, str]:
    record = task.subjects[-1]
    return {
        UID_TAG: task.uid,
        STAGE_TAG: ANALYSIS,
        "dptq.analysis": task.analysis.name,
        "dptq.sweep": sweep,
        "dptq.goal": str(record.goal) if len(task.subjects) == 1 else "both",
        **{f"dptq.{name}": str(getattr(record, name)) for name in _CELL},
    }
