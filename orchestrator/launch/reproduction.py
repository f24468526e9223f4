"""One trial run again from its stored recipe, in this process, and compared with what the store has of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT, PREDICTIONS, parquet_bytes
from orchestrator.store.provenance.facts import differences, environment
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from orchestrator.workers.given_networks import trial_reader
from orchestrator.workers.trial import open_trial
from search_spaces.errors import ConfigError
from trainables.checkpoints import from_bytes
from trainables.stage_runner import checkpoint_bytes, has_gpu, predictions_table
from trainables.training_loop import finish

GPU_TOLERANCE = 0.02
"""Accuracies that differ by no more count as equal where a GPU took part: its sums have no fixed order."""
CPU = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What running a trial again gave."""

    environment: list[str]
    """What is different about code, versions, device and data."""
    metrics: list[str]
    """Metrics that differ by more than the tolerance."""
    tensors: list[str]
    """Tensors of the checkpoint that differ at all."""
    tolerance: float
    """0 means bit by bit, and that the tensors count."""

    @property
    def is_equal(self) -> bool:
        """Whether the trial was reproduced."""
        return not self.metrics and (self.tolerance > 0 or not self.tensors)


def reproduce(
    trial: TrialFolder, store: Store, scratch: Store, data_dir: str | None, say: Callable[[str], None]
) -> Comparison:
    """Runs a finished trial again and compares.

    Args:
        trial: What to run again.
        store: Where it and its parents are; only read.
        scratch: Where the new result goes.
        data_dir: Folder of datasets.
        say: Takes a line per epoch.

    Raises:
        ConfigError: The trial is not done.
        StorageError: A file of it or of its parent is damaged, or the data is not what it was trained on.
    """
    result, recipe = trial.result(), trial.recipe()
    if result is None or recipe is None:
        reason = "only one that is done can be reproduced: finish it first."
        raise ConfigError(f"trial {trial.uid} is {trial.state()}, {reason}")
    before = trial.folder.read_json(ENVIRONMENT) or {"versions": result.versions}
    expected = _arrays(trial.read_checked(CHECKPOINT), source=f"{trial.folder.root}/{CHECKPOINT}")
    was_on_cpu = str(before.get("device", CPU)).split()[0] == CPU
    running, parent = open_trial(store, trial, data_dir, use_gpu=not was_on_cpu and has_gpu())
    if running.num_threads > 1:
        say(f"{running.num_threads} threads, as it was trained with")
    now = environment(device=running.device_name, data_sha256=running.data_sha256, seeds=recipe.seeds)
    again = finish(
        running.start(parent=parent, read_trial=trial_reader(store)),
        lambda report: say(f"epoch {report.epoch}/{report.num_epochs}  {report.seconds:.1f} s"),
    )
    checkpoint = checkpoint_bytes(again)
    copy = TrialFolder(scratch, trial.stage, trial.uid)
    files = {CHECKPOINT: checkpoint, PREDICTIONS: parquet_bytes(predictions_table(again))}
    copy.write_result(again.metrics, files, seconds=0.0, data_sha256=running.data_sha256)
    tolerance = 0.0 if was_on_cpu and now["device"].split()[0] == CPU else GPU_TOLERANCE
    return Comparison(
        environment=differences(before | {"data_sha256": result.data_sha256}, now),
        metrics=compare_metrics(result.metrics, again.metrics, tolerance),
        tensors=compare_tensors(expected, _arrays(checkpoint, source="the new checkpoint")),
        tolerance=tolerance,
    )


def compare_metrics(before: Mapping[str, float], now: Mapping[str, float], tolerance: float) -> list[str]:
    """Returns a line for every metric that differs by more than a tolerance, or that only one of them has.

    Examples:
        >>> compare_metrics({"a": 0.5, "b": 1.0}, {"a": 0.5, "b": 0.75}, 0.0)
        ['b: 1.0 stored, 0.75 now']
    """
    return [
        f"{name}: {before.get(name)} stored, {now.get(name)} now"
        for name in {**before, **now}
        if name not in before or name not in now or not _is_close(before[name], now[name], tolerance)
    ]


def compare_tensors(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for every tensor that differs in a single bit, or that only one of them has."""
    lines = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            lines.append(f"{name}: only {'now' if old is None else 'stored'}")
        elif (old.shape, old.dtype) != (new.shape, new.dtype):
            lines.append(f"{name}: {old.dtype}{list(old.shape)} stored, {new.dtype}{list(new.shape)} now")
        elif old.tobytes() != new.tobytes():
            largest = np.abs(old.astype(np.float64) - new.astype(np.float64)).max()
            lines.append(f"{name}: differs by up to {largest:.3g}")
    return lines


def _arrays(content: bytes, *, source: str) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in from_bytes(content, source=source).items()}


def _is_close(before: float, now: float, tolerance: float) -> bool:
    return before == now or abs(before - now) <= tolerance or (before != before and now != now)
