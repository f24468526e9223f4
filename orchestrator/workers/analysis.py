"""Analyses inside a Ray worker: read the store, compute unit by unit, write the store, tell how far it is."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import Stage
from orchestrator.store.analysis import UNIT, AnalysisFolder
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.logs import last_lines
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.workers.output import WorkerOutput
from orchestrator.workers.trial import open_trial
from search_spaces.analyses import ANALYSES, Analysis
from search_spaces.model import parse
from trainables.analyses.registry import units_of
from trainables.analyses.trained_pair import Subject, Unit


@dataclass(frozen=True, slots=True)
class _Opened:
    """An analysis ready to be computed."""

    units: list[Unit]
    subjects: list[Subject]
    data_sha256: str


def run_analysis(config: dict[str, Any]) -> Iterator[int]:
    """Computes the units of an analysis that its folder lacks; an error is recorded there and ends it.

    Args:
        config: `storage` (URI), `uid`, `data_dir` (path or None), and `stop_file`: a path in the storage; once it
            exists, the analysis ends after its unit and keeps what it has.

    Yields:
        After every unit the number of images that it passed through a network; first those of units done before.
    """
    store = Store(config["storage"], create=False)
    folder = AnalysisFolder(store, config["uid"])
    folder.clear_error()
    if store.root.exists(config["stop_file"]):
        return  # those that waited for a place end before they load anything
    output = WorkerOutput()
    try:
        yield from _run(store, folder, config["data_dir"], config["stop_file"])
    # Whatever it is, it is recorded, and the other analyses go on.
    except Exception as error:
        folder.write_error(error, log=last_lines(folder, output.lines()))


def estimate(config: dict[str, Any]) -> tuple[dict[str, int], float]:
    """Tells what analyses of one network will cost.

    Args:
        config: `storage` (URI), `uids` of the analyses, and `data_dir` (path or None).

    Returns:
        Images that each analysis passes through a network, by uid, and the seconds of one such pass.
    """
    store = Store(config["storage"], create=False)
    opened = {uid: _open(store, AnalysisFolder(store, uid), config["data_dir"]) for uid in config["uids"]}
    images = {uid: sum(unit.num_images for unit in each.units) for uid, each in opened.items()}
    return images, next(iter(opened.values())).subjects[-1].seconds_per_image()


def _run(store: Store, folder: AnalysisFolder, data_dir: str | None, stop_file: str) -> Iterator[int]:
    opened = _open(store, folder, data_dir)
    rows, seconds = folder.partial()
    done = {row[UNIT] for row in rows}
    yield sum(unit.num_images for unit in opened.units if unit.key in done)
    for unit in opened.units:
        if unit.key in done:
            continue
        start = time.perf_counter()
        rows += [{UNIT: unit.key} | row for row in unit.rows()]
        seconds += time.perf_counter() - start
        folder.write_partial(rows, seconds=seconds)
        done.add(unit.key)
        yield unit.num_images
        if len(done) < len(opened.units) and store.root.exists(stop_file):
            return
    order = {unit.key: number for number, unit in enumerate(opened.units)}
    rows.sort(key=lambda row: order[row[UNIT]])
    folder.write_rows(rows, seconds=seconds, data_sha256=opened.data_sha256)


def _open(store: Store, folder: AnalysisFolder, data_dir: str | None) -> _Opened:
    task = folder.task()
    assert task is not None, f"{folder.folder.root} was handed out without a recipe"
    analysis: Analysis = parse(type(ANALYSES[task.analysis]), task.settings)
    trials = [TrialFolder(store, Stage.PAIR, uid) for uid in task.subjects]
    subjects, data_sha256 = [], ""
    for trial in trials:
        subject, data_sha256 = _subject(store, trial, data_dir)
        subjects.append(subject)
    return _Opened(units_of(analysis, subjects), subjects, data_sha256)


def _subject(store: Store, trial: TrialFolder, data_dir: str | None) -> tuple[Subject, str]:
    """Loads a trained pair with its white box and its data."""
    opened, white_box = open_trial(store, trial, data_dir)
    assert white_box is not None, f"{trial.folder.root} is a pair without a white box"
    content, source = trial.read_checked(CHECKPOINT), f"{trial.folder.root}/{CHECKPOINT}"
    return opened.subject(parent=white_box, checkpoint=content, source=source), opened.data_sha256
