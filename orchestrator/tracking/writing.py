"""What is written into runs that are not running: the content of a trial or an analysis, and that of a sweep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.plan import Plan
from orchestrator.store.folder import Folder
from orchestrator.store.pages import CHARTS
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.tracking.client import Experiment, KnownRun, note_tags
from orchestrator.tracking.descriptions import PREVIEW
from orchestrator.tracking.pages import STANDS_TAG, artifact_page, comparison, experiment_tags, run_page, runs_page
from orchestrator.tracking.points import Point
from orchestrator.tracking.runs import Content, Draw
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
    experiment.log(run, points=content.points, tags=tags | note_tags(run, content.note))
    if content.status != "FAILED":
        experiment.clear_error(run)
    if content.data:
        experiment.log_data(run, content.data)
    experiment.log_files(run, folder, content.artifacts)
    experiment.log_made(run, content.made)


def draw_searched(experiment: Experiment, plan: Plan, content: SweepContent, store: Store, draw: Draw) -> None:
    """Draws the pairs that stand for their cells now and were found by a search, which drew none of its trials."""
    by_uid = plan.by_uid()
    for uid in content.chosen:
        run = experiment.runs.get(uid)
        if run and by_uid[uid].is_of_search and STANDS_TAG not in run.tags:
            picture = draw(trial_of(store, by_uid[uid]))
            experiment.log_made(run, {PREVIEW: picture} if picture else {})


def write_sweep(
    experiment: Experiment,
    plan: Plan,
    content: SweepContent | None,
    reports: Sequence[Folder],
    standing_tags: Mapping[str, str],
    status: str,
) -> None:
    """Ends the parent run with what it says of the sweep; runs of an earlier plan that died with their driver, too.

    Without content, what stands there of an earlier launch stays.
    """
    parent, uids = experiment.parent, plan.by_uid()
    for uid, run in experiment.runs.items():
        if uid not in uids and run.status == "RUNNING":
            experiment.end(run, "KILLED")
    experiment.log(
        parent, tags={"dptq.grid": plan.grid.name, "dptq.cells_refused": str(len(plan.refused)), **standing_tags}
    )
    for folder in reports:
        experiment.log_folder(parent, folder)
    if content:
        _write_content(experiment, content)
    experiment.end(parent, status)


def _write_content(experiment: Experiment, content: SweepContent) -> None:
    """Writes what a sweep says of itself, marks the pairs that stand for their cells, and makes them the view."""
    parent = experiment.parent
    files = [f"{parent.name}/report.html", *content.tables]
    links = [f"[{name}]({artifact_page(experiment.experiment_id, parent.run_id, name)})" for name in files]
    note = f"{content.note}\n\nArtifacts: {', '.join(links)}"
    tags = note_tags(parent, note) | {TABLES_TAG: tables_tag([*content.tables])}
    experiment.log(parent, points=content.points, tags=tags)
    experiment.log_made(parent, content.tables)
    for uid, run in experiment.runs.items():
        experiment.mark(run, STANDS_TAG, is_so=uid in content.chosen)
    experiment.show(experiment_tags(has_chosen=bool(content.chosen)))


def pages_on(
    experiment: Experiment, address: str, uids: Sequence[str], trials: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the addresses of a sweep's pages on a server.

    Args:
        experiment: Of the sweep.
        address: Of the server.
        uids: Of the pairs to compare, in order.
        trials: Uids of the sweep's trials.

    Returns:
        Its charts, and the comparison of some of its pairs, by what they show; and the runs of its trials, by uid.
    """
    number, runs = experiment.experiment_id, {uid: run.run_id for uid, run in experiment.runs.items()}
    compared = comparison(address, number, [runs[uid] for uid in uids if uid in runs])
    pages = {CHARTS: runs_page(address, number)} | compared
    return pages, {uid: run_page(address, number, runs[uid]) for uid in trials if uid in runs}
