"""What is written into runs that are not running: the content of a trial or an analysis, and that of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.plan import Plan
from orchestrator.store.folder import Folder
from orchestrator.tracking.client import Experiment, KnownRun
from orchestrator.tracking.pages import STANDS_TAG, experiment_tags
from orchestrator.tracking.points import Point
from orchestrator.tracking.runs import Content
from orchestrator.tracking.tables import TABLES_TAG, tables_tag


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepContent:
    """What the parent run of a sweep says of the whole."""

    note: str = ""
    """Description, in Markdown."""
    points: Sequence[Point] = ()
    tables: Mapping[str, bytes] = field(default_factory=dict)
    """By the path of the artifact; from `table_json`."""
    chosen: tuple[str, ...] = ()
    """Uids of the pairs that stand for their cells, robust before detrimental."""


def write_run(experiment: Experiment, run: KnownRun, content: Content, folder: Folder) -> None:
    """Makes a run hold its content; may be repeated. Its status and its mark come after it."""
    tables = [name for name in content.made if name.endswith(".json")]
    tags = content.tags | ({TABLES_TAG: tables_tag(tables)} if tables else {})
    experiment.log(run, points=content.points, tags=tags)
    experiment.describe(run, content.note)
    if content.status != "FAILED":
        experiment.clear_error(run)
    if content.data:
        experiment.log_data(run, content.data)
    experiment.log_files(run, folder, content.artifacts)
    experiment.log_made(run, content.made)


def write_sweep(
    experiment: Experiment,
    plan: Plan,
    content: SweepContent,
    reports: Sequence[Folder],
    tags: Mapping[str, str],
    status: str,
) -> None:
    """Ends the parent run with what it says, marks the pairs that stand for their cells, and sets the view of both.

    Runs of an earlier plan that died with their driver end as well.
    """
    parent, uids = experiment.parent, plan.by_uid()
    for uid, run in experiment.runs.items():
        if uid not in uids and run.status == "RUNNING":
            experiment.end(run, "KILLED")
        experiment.mark(run, STANDS_TAG, is_so=uid in content.chosen)
    named = {TABLES_TAG: tables_tag([*content.tables])} if content.tables else {}
    experiment.log(parent, points=content.points, tags={**tags, **named})
    experiment.describe(parent, content.note)
    experiment.log_made(parent, content.tables)
    for folder in reports:
        experiment.log_folder(parent, folder)
    experiment.show(experiment_tags(has_chosen=bool(content.chosen)))
    experiment.end(parent, status)
