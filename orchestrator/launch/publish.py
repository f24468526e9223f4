"""The end of a command that changed a sweep: its report on disk and everything of it in MLflow."""

from collections.abc import Mapping

from rich.console import Console

from orchestrator.analyses.results import SweepTables, tasks_of_sweep
from orchestrator.reports.page import write_report
from orchestrator.results.pairs import records_of
from orchestrator.results.run_facts import run_facts
from orchestrator.results.searches import read_searches
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import read_trials
from orchestrator.results.verdicts import outcome_of
from orchestrator.store.sweep import Sweep
from orchestrator.tracking.analysis_runs import tracked_analyses
from orchestrator.tracking.sweep_metrics import search_metrics
from orchestrator.tracking.tracker import Tracker


def publish(
    tracker: Tracker,
    sweep: Sweep,
    snapshot: Snapshot,
    facts: Mapping[str, str],
    console: Console,
    *,
    analyses: SweepTables | None = None,
) -> Standing:
    """Writes the report of a sweep, brings its MLflow runs up to date and closes the tracker, which is open.

    Without the sweep's tables of `analyses` it reads them from the store. The snapshot is up to date.

    Returns:
        How far the sweep is, once its driver has ended.
    """
    standing = standing_of(snapshot, sweep.folder, is_running=False)
    trials = read_trials(snapshot)
    shown = {**run_facts(snapshot, sweep.folder, trials), **facts}
    paths = write_report(snapshot, sweep.name, facts=shown, standing=standing, analyses=analyses)
    tracker.sweep_artifacts(sweep.folder)
    tracker.sweep_metrics(search_metrics([outcome_of(cell) for cell in read_searches(trials)]))
    tasks = tasks_of_sweep(records_of(trials), snapshot, sweep.folder)
    tracker.analyses(tracked_analyses(tasks, snapshot, sweep.name))
    tracker.sweep_tags(standing.as_tags())
    if behind := tracker.close("FINISHED" if standing.is_complete else "FAILED", snapshot):
        console.print(
            f"MLflow lacks {len(behind)} runs; the same command replays them when its server answers.", highlight=False
        )
    console.print(f"report: {next(path for path in paths if path.endswith('.html'))}", highlight=False, soft_wrap=True)
    return standing
