"""The stage generators as one Ray function trainable: read the store, run, write the store, report epochs."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from socket import gethostname
from typing import Any

import pyarrow as pa
import ray
from ray import tune

from orchestrator.store.failures import full_disk
from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT, PREDICTIONS, RESUME, parquet_bytes
from orchestrator.store.leases.fenced import LostLeaseError
from orchestrator.store.logs import last_lines
from orchestrator.store.provenance.facts import code_names, environment, with_attempt
from orchestrator.store.records import TrialRecord
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import ROW, TrialFolder, now_ms, parent_stage
from orchestrator.store.usage import GPU_SECONDS
from orchestrator.workers.attempt import at_work, attempt_at
from orchestrator.workers.given_networks import trial_reader
from orchestrator.workers.output import WorkerOutput
from orchestrator.workers.stalled import StallWatch
from orchestrator.workers.verified import verify_result
from search_spaces.errors import SweepError
from search_spaces.stages.registry import STAGES, Stage
from trainables.stage_runner import ParentCheckpoint, Trial, TrialSpec, checkpoint_bytes, predictions_table
from trainables.training_loop import EpochReport, finish


class StoppedError(Exception):
    """The sweep is being stopped, and the trial saved what it has; no failure."""


def run_trial(config: dict[str, Any]) -> None:
    """Runs one trial to its end, from its own resume state if there is one.

    Every error is recorded in the trial's folder. Those that a user can fix and divergence end here. All others are
    raised too, so that Ray ends this process: it may be broken, or hold the memory that the next trial needs. Who tries
    again, and how often, the frontier decides.

    Args:
        config: `storage` (URI), `stage`, `uid`, `data_dir` (path or None), `typed_models` (URIs of networks that the
            user typed in this command), and `stop_file`: a path in the storage; once it exists, the trial ends after
            its epoch. `attempt`: the token by which its driver took the trial's lease; see
            `orchestrator.workers.attempt`. `verify_images`: run the first so many test images in ONNX Runtime in
            the end; 0 runs none.
    """
    store = Store(config["storage"], create=False)
    trial = attempt_at(store, config, config["stage"])
    if trial.state() is State.DONE:
        # Finished meanwhile by a worker that outlived its driver for a moment.
        return
    output = WorkerOutput()
    with at_work(trial):
        try:
            _run(store, trial, config, lambda: store.root.exists(config["stop_file"]))
        except StoppedError:
            pass
        except LostLeaseError:
            raise
        except Exception as error:
            trial.write_error(full_disk(error, gethostname()) or error, log=last_lines(trial, output.lines()))
            if not isinstance(error, SweepError):
                raise


def _run(store: Store, trial: TrialFolder, config: dict[str, Any], is_stopping: Callable[[], bool]) -> None:
    running, parent = open_trial(store, trial, config["data_dir"])
    seeds = _record_of(trial).seeds
    facts = environment(device=running.device_name, data_sha256=running.data_sha256, seeds=seeds)
    facts["num_threads"] = running.num_threads
    resume = trial.folder.read_bytes(RESUME)
    rows = trial.epochs() if resume else []
    before = trial.folder.read_json(ENVIRONMENT) if resume else None
    ran_with = with_attempt(before, facts, first_epoch=len(rows) + 1)
    trial.folder.write_json(ENVIRONMENT, ran_with)
    run = running.start(
        parent=parent,
        resume=resume,
        resume_source=f"{trial.folder.root}/{RESUME}",
        typed_models=config.get("typed_models", ()),
        read_trial=trial_reader(store),
    )
    gpu_share = _gpu_share()
    longest = max((row["seconds"] for row in rows), default=None)
    watch = StallWatch(lambda error: trial.write_error(error, log=last_lines(trial)), longest)

    def on_epoch(report: EpochReport) -> None:
        nonlocal ran_with
        if report.epoch < ran_with["first_epoch"]:
            # The epoch of the last row was not saved, and is run again.
            ran_with = with_attempt(before, facts, first_epoch=report.epoch)
            trial.folder.write_json(ENVIRONMENT, ran_with)
        # Rows past the resume point belong to epochs that were lost and are run again.
        del rows[report.epoch - 1 :]
        row = {"epoch": report.epoch, "seconds": report.seconds, "timestamp_ms": now_ms()} | report.metrics
        if gpu_share:
            row[GPU_SECONDS] = gpu_share * report.seconds
        rows.append(row)
        trial.write_epoch(rows, report.snapshot().to_bytes())
        watch.epoch(report.seconds)
        tune.report({ROW: row, "num_epochs": report.num_epochs})
        if report.epoch < report.num_epochs and is_stopping():
            raise StoppedError

    with watch if STAGES[Stage(trial.stage)].is_training else nullcontext():
        result = finish(run, on_epoch)
    if num_images := config.get("verify_images", 0):
        verify_result(store, trial, running, result, num_images, typed_models=config.get("typed_models", ()))
    trial.write_result(
        result.metrics,
        {CHECKPOINT: checkpoint_bytes(result), PREDICTIONS: parquet_bytes(predictions_table(result))}
        | {f"{name}.parquet": parquet_bytes(pa.Table.from_pandas(each)) for name, each in result.tables.items()},
        seconds=sum(row["seconds"] for row in rows),
        data_sha256=running.data_sha256,
        code=code_names(ran_with),
    )


def _gpu_share() -> float:
    """Returns the share of a GPU that this worker's trial has, 0 without one."""
    if not ray.get_gpu_ids():
        return 0.0
    return float(tune.get_context().get_trial_resources().required_resources["GPU"])


def open_trial(
    store: Store, trial: TrialFolder, data_dir: str | None, *, use_gpu: bool | None = None
) -> tuple[Trial, ParentCheckpoint | None]:
    """Prepares a trial from its recipe in the store, on a GPU or not; None asks Ray whether this worker has one.

    Returns:
        The trial with its data, and the checkpoint that it starts from; None for a teacher.
    """
    record = _record_of(trial)
    spec = TrialSpec(
        stage=trial.stage,
        recipe=record.recipe,
        dataset=record.dataset,
        seed=record.seed,
        data_dir=Path(data_dir) if data_dir else None,
    )
    use_gpu = bool(ray.get_gpu_ids()) if use_gpu is None else use_gpu
    return Trial(spec, use_gpu=use_gpu, num_threads=record.num_threads), _parent(store, trial.stage, record.parents)


def _record_of(trial: TrialFolder) -> TrialRecord:
    """Returns what a trial runs, which stands there before any worker hears of it."""
    record = trial.recipe()
    assert record is not None, f"{trial.folder.root} was handed out without a recipe"
    return record


def _parent(store: Store, stage: str, parents: Sequence[str]) -> ParentCheckpoint | None:
    """Fetches the checkpoint that a trial starts from; every stage has at most one parent."""
    if not parents:
        return None
    parent = TrialFolder(store, parent_stage(stage), parents[0])
    result = parent.result()
    assert result is not None, f"{parent.folder.root} was handed out as a parent and is not done"
    return ParentCheckpoint(
        architecture=_record_of(parent).architecture,
        content=parent.read_checked(CHECKPOINT, result),
        source=f"{parent.folder.root}/{CHECKPOINT}",
        data_sha256=result.data_sha256,
    )
