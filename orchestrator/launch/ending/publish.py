"""The end of a command that changed a sweep: its report on disk and everything of it in MLflow."""

from collections.abc import Mapping

from rich.console import Console

from orchestrator.analyses.results import SweepTables, tasks_of_sweep
from orchestrator.reports.for_mlflow.note import sweep_note
from orchestrator.reports.page import write_report
from orchestrator.results.pairs import records_of
from orchestrator.results.run_facts import run_facts
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.standing import Standing, standing_of
from orchestrator.results.trials import read_trials
from orchestrator.store.pages import save_pages
from orchestrator.store.sweep import Sweep
from orchestrator.tracking.analysis_runs import tracked_analyses
from orchestrator.tracking.sweep_content import sweep_content
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
    content = sweep_content(trials, sweep_note(snapshot, sweep.name, standing))
    tasks = tasks_of_sweep(records_of(trials), snapshot, sweep.folder)
    tracker.analyses(tracked_analyses(tasks, snapshot, sweep.name))
    tracker.sweep_content(content)
    # Before the report, which links to the runs.
    tracker.catch_up(snapshot)
    save_pages(sweep, *tracker.pages(content.chosen))
    paths = write_report(snapshot, sweep.name, facts=shown, standing=standing, analyses=analyses)
    tracker.sweep_artifacts(sweep.folder)
    tracker.sweep_tags(standing.as_tags())
    if behind := tracker.close("FINISHED" if standing.is_complete else "FAILED", snapshot):
        console.print(
            f"MLflow lacks {len(behind)} runs; the same command replays them when its server answers.", highlight=False
        )
    console.print(f"report: {next(path for path in paths if path.endswith('.html'))}", highlight=False, soft_wrap=True)
    return standing
