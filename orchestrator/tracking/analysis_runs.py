"""Analyses in MLflow's terms: a run each, whose metrics draw the curves of the paper's figures.

Few columns are charted, so that the list of metrics of an experiment stays readable: the accuracy of `layers/before`
over the sites is a chart of MLflow's, in which pairs are compared. All other means are one table, which MLflow shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.plan import ANALYSIS
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.analysis import ROWS, UNIT, AnalysisFolder
from orchestrator.store.folder import ERROR, LOG, RECIPE, RESULT
from orchestrator.tracking.descriptions import TABLE
from orchestrator.tracking.names import analysis_name
from orchestrator.tracking.points import FINAL, Point, points_of
from orchestrator.tracking.runs import ERROR_TAG, STAGE_TAG, UID_TAG, Content, Tracked, error_tag
from orchestrator.tracking.tables import table_json
from search_spaces.analyses import Analysis
from search_spaces.model import as_text

_CELL = ("architecture", "option_set", "budget_level", "budget")
_ARTIFACTS = {"FINISHED": (RECIPE, RESULT, ROWS), "FAILED": (RECIPE, ERROR, LOG)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Charted:
    """What MLflow charts of an analysis: the mean of some columns over the rows that count."""

    columns: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of the rows that count, by column."""
    by: tuple[str, ...] = ()
    """Columns whose values are part of a metric's name."""
    step: str | None = None
    """Column that is the metric's step; a metric without one is a bar. What is no number counts by its place."""


CHARTED: dict[str, Charted] = {
    "transitory": Charted(columns=("is_transitory",)),
    "cross_policy": Charted(columns=("accuracy_delta",), where={"network": ("detrimental",)}, by=("policy",)),
    "layers": Charted(columns=("accuracy",), where={"split": ("test",)}, by=("mode",), step="site"),
    "histograms": Charted(columns=("sqnr_db",), step="site"),
    "corruptions": Charted(columns=("accuracy_fp", "accuracy_q"), step="degree"),
    "mitigation": Charted(
        columns=("accuracy_q",),
        where={"kind": ("scale_quantile", "sites_at_full_precision")},
        by=("kind",),
        step="value",
    ),
    "repairs": Charted(
        columns=("drop",),
        where={"allocation": ("policy",), "repair": ("plain", "channel_ranges", "spared_sites", "least_bits")},
        by=("repair",),
        step="value",
    ),
    "twins": Charted(columns=("accuracy_q",), where={"twin": ("own", "common", "int8", "per_channel")}, by=("twin",)),
    "adverse_inputs": Charted(
        columns=("accuracy_q",),
        where={"network": ("student",), "images": ("adverse",)},
        by=("aim",),
        step="radius",
    ),
    "indicators": Charted(columns=("margin_mean", "corruption_loss")),
}
"""By analysis; all numbers are charted of one that is not listed."""


def tracked_analyses(tasks: Sequence[AnalysisTask], snapshot: Snapshot, sweep: str) -> list[Tracked]:
    """Returns the analyses of a sweep that have ended, as something to track."""
    tracked: list[Tracked] = []
    for task in tasks:
        folder, name = snapshot.analysis(task.uid), analysis_name(task, snapshot.plan)
        if folder.state().is_final:
            read = partial(read_analysis, task, folder)
            tracked.append(Tracked(task.uid, name, folder, _tags(task, sweep), read))
    return tracked


def read_analysis(task: AnalysisTask, folder: AnalysisFolder, status: str) -> Content:
    """Reads what the run of an analysis that has ended should hold.

    Raises:
        StorageError: Its table is gone or damaged.
    """
    params = {name: as_text(value) for name, value in task.analysis.model_dump(mode="json").items()}
    result = folder.result() if status == "FINISHED" else None
    tags = {} if result else error_tag(folder)
    points: list[Point] = []
    made: dict[str, bytes] = {}
    if result:
        table, end_ms = folder.rows().to_pandas().drop(columns=UNIT), result.finished_ms
        points = [*analysis_points(task.analysis, table, end_ms), Point("trial_seconds", result.seconds, end_ms, FINAL)]
        made = {TABLE: table_json(means(task.analysis, table))}
    return Content(
        status=status,
        params=params | {f"{record.goal}_pair": record.uid for record in task.subjects},
        tags=tags,
        points=points,
        note=_note(task, tags.get(ERROR_TAG, "")),
        artifacts=[name for name in _ARTIFACTS[status] if folder.folder.exists(name)],
        made=made,
        start_ms=int(result.finished_ms - 1000 * result.seconds) if result else None,
        end_ms=result.finished_ms if result else None,
    )


def analysis_points(analysis: Analysis, table: pd.DataFrame, timestamp_ms: int) -> list[Point]:
    """Turns a table into metrics: means over the rows that differ in neither name nor step.

    Examples:
        >>> from search_spaces.analyses import analysis_named
        >>> table = pd.DataFrame({"split": ["test"], "mode": ["before"], "site": [3], "accuracy": [0.5]})
        >>> analysis_points(analysis_named("layers"), table, 7)
        [Point(key='layers/before/accuracy', value=0.5, timestamp_ms=7, step=3)]
    """
    everything = Charted(columns=_numbers(analysis, table), by=analysis.keys, step=analysis.step)
    charted = CHARTED.get(analysis.name, everything)
    for column, values in charted.where.items():
        table = table[table[column].isin(values)]
    points: list[Point] = []
    for place, rows in _groups(table, charted.by):
        prefix = "".join(f"{value}/" for value in (analysis.name, *place) if not pd.isna(value))
        steps = _groups(rows, (charted.step,)) if charted.step else [((FINAL,), rows)]
        for number, ((step,), of_step) in enumerate(steps):
            averages = {f"{prefix}{name}": float(of_step[name].mean()) for name in charted.columns if name in of_step}
            finite = [(key, value) for key, value in averages.items() if np.isfinite(value)]
            is_number = isinstance(step, (int, np.integer))
            points += points_of(finite, timestamp_ms, int(step) if is_number else number)
    return points


def means(analysis: Analysis, table: pd.DataFrame) -> pd.DataFrame:
    """Averages the numbers and truth values of a table over the rows that differ in neither key nor step."""
    by = [*analysis.keys, *([analysis.step] if analysis.step else [])]
    numbers = list(_numbers(analysis, table))
    if not by:
        return table[numbers].astype(float).mean().to_frame().T
    return table.groupby(by, sort=False, dropna=False)[numbers].mean().reset_index()


def _numbers(analysis: Analysis, table: pd.DataFrame) -> tuple[str, ...]:
    columns = table.select_dtypes([np.number, bool]).columns
    return tuple(name for name in columns if name not in (*analysis.keys, analysis.step))


def _groups(table: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    if not by:
        return [((), table)]
    return [(place, rows) for place, rows in table.groupby(list(by), sort=False, dropna=False)]


def _note(task: AnalysisTask, error: str) -> str:
    pairs = " and ".join(f"`{record.uid}` ({record.name})" for record in task.subjects)
    outcome = f"**failed**: {error}" if error else f"`{TABLE}` has its means, `{ROWS}` all its rows."
    return f"**{task.analysis.title}** of {pairs}.\n\n{outcome}"


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
