"""Analyses of a sweep, run from the driver: which there are, which are left, and how they ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cluster.runtime.resources import analysis_resources, max_concurrent_trials
from orchestrator.analyses.runner import AnalysisRun
from orchestrator.analyses.tasks import AnalysisTask, checksums_of, tasks_of
from orchestrator.console import line_printer
from orchestrator.progress.analyses import AnalysisProgress, render_cost
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.states import State
from orchestrator.store.sweep import Sweep
from search_spaces.analyses import Analysis
from search_spaces.errors import ConfigError
from search_spaces.names import Goal


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysesEnd:
    """How analyses ended that are not done."""

    errors: Mapping[str, str] = field(default_factory=dict)
    """What went wrong, in one line each, by name of the analysis."""
    num_stopped: int = 0
    """Those that were stopped, begun or not."""


def say_stopped(num_stopped: int, sweep: Sweep, console: Console) -> None:
    """Says that analyses were stopped, and how to go on with them."""
    line_printer(console)(f"stopped, {num_stopped} analyses are not done; go on with: {sweep.command('analyze')}")


def list_tasks(sweep: Sweep, snapshot: Snapshot, analyses: Sequence[Analysis], console: Console) -> list[AnalysisTask]:
    """Lists the analyses that can be made of the pairs that are done, and says which cannot.

    Raises:
        ConfigError: None can be made.
    """
    tasks, missing = tasks_of(pair_records(snapshot), analyses, checksums_of(snapshot))
    if not tasks:
        lacking = f"{missing[0].reason} for {missing[0].name}" if missing else "no pair is done"
        has_both = len({cell.goal for cell in snapshot.plan.grid.cells}) == len(Goal)
        hint = f"Finish it with: {sweep.resume_command()}" if has_both else "Launch a grid with both goals."
        raise ConfigError(f"sweep {sweep.name!r} has nothing to analyze: {lacking}. {hint}")
    for each in missing:
        console.print(f"cannot analyze {each.name}: {each.reason}", highlight=False, soft_wrap=True)
    return tasks


def not_done(tasks: Sequence[AnalysisTask], snapshot: Snapshot, console: Console) -> list[AnalysisTask]:
    """Returns the analyses that are left to do, and says how many are done."""
    pending = [task for task in tasks if snapshot.analysis(task.uid).state() is not State.DONE]
    console.print(f"{len(tasks)} analyses, {len(tasks) - len(pending)} done already", highlight=False)
    return pending


def run_tasks(
    tasks: Sequence[AnalysisTask],
    sweep: Sweep,
    data_dir: Path | None,
    resources: dict[str, float],
    console: Console,
    *,
    typed_models: Collection[str] = (),
) -> AnalysesEnd:
    """Says what the analyses cost and runs them with the resources of a cluster.

    `typed_models` are the URIs of networks that the user typed in this command.
    """
    run = AnalysisRun(
        tasks=tasks, sweep=sweep, data_dir=data_dir, cluster_resources=resources, typed_models=typed_models
    )
    cost = run.estimate()
    num_parallel = max_concurrent_trials(resources, [analysis_resources(resources).get("num_gpus", 0)])
    console.print(render_cost(tasks, cost, num_parallel))
    with AnalysisProgress(tasks, cost, console) as progress:
        num_stopped = run.run(progress, line_printer(console))
    return AnalysesEnd(errors=progress.errors, num_stopped=num_stopped)
