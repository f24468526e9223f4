"""Analyses inside a Ray worker: read the store, compute unit by unit, write the store, tell how far it is."""

import time
from collections.abc import Iterator, Mapping
from socket import gethostname
from typing import Any

from orchestrator.plan import ANALYSIS
from orchestrator.store.analysis import UNIT, AnalysisFolder
from orchestrator.store.failures import full_disk
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.leases.fenced import LostLeaseError
from orchestrator.store.logs import last_lines
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.workers.attempt import at_work, attempt_at
from orchestrator.workers.given_networks import trial_reader
from orchestrator.workers.output import WorkerOutput
from orchestrator.workers.trial import open_trial
from search_spaces.analyses import ANALYSES, Analysis
from search_spaces.model import parse
from search_spaces.stages.registry import Stage
from trainables.analyses.registry import units_of
from trainables.analyses.trained_pair import Subject, Unit


def run_analysis(config: dict[str, Any]) -> Iterator[int]:
    """Computes the units of an analysis that its folder lacks; an error is recorded there and ends it.

    Args:
        config: `storage` (URI), `uid`, `data_dir` (path or None), `typed_models` (as of a trial), and `stop_file`: a
            path in the storage; once it exists, the analysis ends after its unit and keeps what it has. `attempt`: the
            token by which its driver took its lease; see `orchestrator.workers.attempt`.

    Yields:
        After every unit the number of images that it passed through a network; first those of units done before.
    """
    store = Store(config["storage"], create=False)
    folder = AnalysisFolder(store, config["uid"], attempt_at(store, config, ANALYSIS).folder)
    output = WorkerOutput()
    with at_work(folder):
        folder.clear_error()
        if store.root.exists(config["stop_file"]):
            return  # those that waited for a place end before they load anything
        try:
            yield from _run(store, folder, config)
        except LostLeaseError:
            raise
        # Whatever it is, it is recorded, and the other analyses go on.
        except Exception as error:
            folder.write_error(full_disk(error, gethostname()) or error, log=last_lines(folder, output.lines()))


def estimate(config: dict[str, Any]) -> tuple[dict[str, int], float]:
    """Tells what analyses of one network will cost.

    Args:
        config: `storage` (URI), `uids` of the analyses, `data_dir` (path or None), and `typed_models`.

    Returns:
        Images that each analysis passes through a network, by uid, and the seconds of one such pass.
    """
    store = Store(config["storage"], create=False)
    opened = {uid: _open(store, AnalysisFolder(store, uid), config) for uid in config["uids"]}
    images = {uid: sum(unit.num_images for unit in units) for uid, (units, _, _) in opened.items()}
    _, subjects, _ = next(iter(opened.values()))
    return images, subjects[-1].seconds_per_image()


def _run(store: Store, folder: AnalysisFolder, config: Mapping[str, Any]) -> Iterator[int]:
    units, _, data_sha256 = _open(store, folder, config)
    rows, seconds = folder.partial()
    done = {row[UNIT] for row in rows}
    yield sum(unit.num_images for unit in units if unit.key in done)
    for unit in [unit for unit in units if unit.key not in done]:
        start = time.perf_counter()
        rows += [{UNIT: unit.key} | row for row in unit.rows()]
        seconds += time.perf_counter() - start
        folder.write_partial(rows, seconds=seconds)
        done.add(unit.key)
        yield unit.num_images
        if len(done) < len(units) and store.root.exists(config["stop_file"]):
            return
    order = {unit.key: number for number, unit in enumerate(units)}
    rows.sort(key=lambda row: order[row[UNIT]])
    folder.write_rows(rows, seconds=seconds, data_sha256=data_sha256)


def _open(store: Store, folder: AnalysisFolder, config: Mapping[str, Any]) -> tuple[list[Unit], list[Subject], str]:
    """Returns the units of an analysis, its pairs, and the checksum of their data."""
    task = folder.task()
    assert task is not None, f"{folder.folder.root} was handed out without a recipe"
    analysis: Analysis = parse(type(ANALYSES[task.analysis]), task.settings)
    subjects, data_sha256 = [], ""
    for trial in [TrialFolder(store, Stage.PAIR, uid) for uid in task.subjects]:
        opened, white_box = open_trial(store, trial, config["data_dir"])
        content, source = trial.read_checked(CHECKPOINT), f"{trial.folder.root}/{CHECKPOINT}"
        subject = opened.subject(
            parent=white_box,
            checkpoint=content,
            source=source,
            typed_models=config.get("typed_models", ()),
            read_trial=trial_reader(store),
        )
        subjects.append(subject)
        data_sha256 = opened.data_sha256
    return units_of(analysis, subjects), subjects, data_sha256
