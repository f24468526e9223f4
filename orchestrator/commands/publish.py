"""The end of a command that changed a sweep: its report on disk and everything of it in MLflow."""

from collections.abc import Mapping

from rich.console import Console

from orchestrator.analyses.settings import load_analyses
from orchestrator.analyses.tasks import tasks_of
from orchestrator.plan import Plan
from orchestrator.reports.pages import write_report
from orchestrator.reports.pairs import pair_records
from orchestrator.sweeps import Sweep
from orchestrator.tracking import Tracker
from orchestrator.tracking_analyses import tracked_analyses
from orchestrator.trials import State, states_of


def publish(tracker: Tracker, sweep: Sweep, plan: Plan, facts: Mapping[str, str], console: Console) -> None:
    """Writes the report of a sweep, brings its MLflow runs up to date and closes the tracker."""
    store = sweep.store
    paths = write_report(plan, store, sweep.name, facts=facts)
    if local := sweep.folder.local_path:
        tracker.sweep_artifacts(local)
    tasks, _ = tasks_of(pair_records(plan, store), list(load_analyses(sweep.folder).values()), store)
    tracker.analyses(tracked_analyses(tasks, store, sweep.name))
    is_done = all(state is State.DONE for state in states_of(store, plan).values())
    if behind := tracker.close("FINISHED" if is_done else "FAILED"):
        console.print(
            f"MLflow lacks {len(behind)} runs; the same command replays them when its server answers.", highlight=False
        )
    console.print(f"report: {next(path for path in paths if path.endswith('.html'))}", highlight=False, soft_wrap=True)
