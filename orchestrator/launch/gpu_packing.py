"""How many trials share a GPU: by the memory that one training takes, measured before the first trial is scheduled.

A Ray task for every kind of training that is about to run has a whole GPU to itself and runs two steps. Its result is
kept in the store, for later launches on the same kind of GPU. Where a cluster has several kinds, the task ran on one of
them; a trial that does not fit its share of a smaller one is tried once more with a whole one
(`orchestrator.launch.frontier`).
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict, PositiveInt

from cluster.runtime.resources import GPU_SHARE, share_of, shares_per_gpu, trials_per_gpu
from orchestrator.plan import Node, Plan
from orchestrator.store.folder import Folder
from orchestrator.store.store import Store
from orchestrator.workers import entry_points
from orchestrator.workers.entry_points import count_bytes
from search_spaces.errors import StorageError
from search_spaces.pixels import image_size_of
from search_spaces.stages.registry import STAGES

PROBE_VERSION = 2
"""Raised when a change of the stages changes how much memory they take."""
# All other fields are taken to matter, also those that do not exist yet.
FIELDS_OF_EQUAL_MEMORY = frozenset(
    {"epochs", "learning_rate", "final_learning_rate", "weight_decay", "weights", "label_smoothing", "goal", "loss"}
    | {"bit_widths", "budget", "hinge_weight", "kd_weight", "margin", "temperature", "kd_scaled", "gradient_clip"}
    | {"white_box", "black_box"}
)
Workload = dict[str, Any]
"""What is measured, as plain values; see `trainables.memory_probe.measure`."""


class Measured(BaseModel):
    """Memory of one training on one kind of GPU."""

    model_config = ConfigDict(frozen=True, strict=True)

    peak_bytes: PositiveInt
    total_bytes: PositiveInt
    fits: bool
    """False if it ran out of memory with a whole GPU; the trial itself will then say so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prober:
    """What runs in the worker that has the GPU."""

    identify: Callable[[], dict[str, str]] = entry_points.identify_gpu
    measure: Callable[[Workload], dict[str, Any]] = entry_points.measure_memory
    seconds: float = 600
    """Longest wait, in which a cluster that others use must also free one whole GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the probe of one workload ended."""

    measured: Measured | None = None
    is_cached: bool = False
    error: str = ""
    """Why there is no measurement."""


def choose_gpu_shares(
    nodes: Sequence[Node],
    plan: Plan,
    store: Store,
    cluster_resources: Mapping[str, float],
    *,
    gpus_per_trial: float | None = None,
    data_dir: Path | None = None,
    say: Callable[[str], None],
    prober: Prober | None = None,
) -> dict[str, float]:
    """Returns the share of a GPU that every trial asks for, by uid; 0 where the cluster has no GPU, unless chosen.

    Args:
        nodes: What is about to run.
        plan: Has their parents.
        store: Where earlier measurements are, and new ones go.
        cluster_resources: As `cluster.runtime.session.session` yields them.
        gpus_per_trial: The user's own choice for all trials; nothing is measured then.
        data_dir: Folder of datasets: of `folder:` and `parquet:` data only the files tell how large it is.
        say: Takes one line about every measurement.
        prober: What measures; None for the real training.
    """
    if gpus_per_trial:
        return {node.uid: gpus_per_trial for node in nodes}
    if not cluster_resources.get("GPU"):
        return {node.uid: 0.0 for node in nodes}
    measured = [node for node in nodes if _can_be_measured(node)]
    num_bytes = {
        dataset: count_bytes(dataset, data_dir) for dataset in dict.fromkeys(node.dataset for node in measured)
    }
    trainings = {node.uid: workload_of(node, plan, num_bytes[node.dataset]) for node in measured}
    kinds = {uid: _digest(_what_matters(workload)) for uid, workload in trainings.items()}
    workloads = {kinds[uid]: workload for uid, workload in trainings.items()}
    outcomes: Mapping[str, Outcome] = {}
    if workloads:
        say(f"measuring the memory of {len(workloads)} kinds of training on one GPU")
        outcomes = _probe_on_a_gpu(store, workloads, prober or Prober())
    shares: dict[str, float] = {}
    for kind, workload in workloads.items():
        shares[kind] = _share(outcomes[kind], workload["stage"], cluster_resources)
        say(_line(outcomes[kind], workload, shares_per_gpu(shares[kind])))
    return {node.uid: shares[kinds[node.uid]] if node.uid in kinds else GPU_SHARE[node.stage] for node in nodes}


def _can_be_measured(node: Node) -> bool:
    """Tells whether the probe can build what a node trains: timm's architectures, given or not."""
    given = node.recipe.given
    return STAGES[node.stage].is_training and (given is None or given.kind == "timm")


def workload_of(node: Node, plan: Plan, dataset_bytes: int) -> Workload:
    """Describes the training of a node to the probe.

    A dataset counts with its official number of images, if it has one: a sample on disk takes less.
    """
    parents = [plan.node(uid).recipe.architecture for uid in node.parents]
    if node.recipe.given:
        parents = [node.recipe.given.name]
    return {
        "stage": str(node.stage),
        "recipe": node.recipe.model_dump(mode="json"),
        "parent": parents[0] if parents else None,
        "image_size": node.dataset.image_size,
        "stored_size": image_size_of(node.dataset.stored_size),
        "dataset_bytes": dataset_bytes,
    }


def _what_matters(workload: Workload) -> Workload:
    """Returns the workload without what takes no memory, so that most cells of a grid are one measurement."""
    recipe = {name: value for name, value in workload["recipe"].items() if name not in FIELDS_OF_EQUAL_MEMORY}
    return workload | {"recipe": recipe}


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _share(outcome: Outcome, stage: str, cluster_resources: Mapping[str, float]) -> float:
    if (measured := outcome.measured) is None:
        return GPU_SHARE[stage]
    if not measured.fits:
        return 1.0
    return share_of(trials_per_gpu(measured.peak_bytes, measured.total_bytes, cluster_resources))


def _line(outcome: Outcome, workload: Workload, num_trials: int) -> str:
    """Says what was measured.

    Examples:
        >>> measured = Measured(peak_bytes=6_100_000_000, total_bytes=80_000_000_000, fits=True)
        >>> recipe = {"architecture": "resnet18", "batch_size": 64}
        >>> workload = {"stage": "pair", "recipe": recipe, "parent": "resnet18", "image_size": 224}
        >>> _line(Outcome(measured=measured), workload, 8)
        'probed pair/resnet18 224 px batch 64: 6.1 GB of 80.0 GB, 8 per GPU'
    """
    recipe, parent = workload["recipe"], workload["parent"]
    teacher = f" from {parent}" if parent and parent != recipe["architecture"] else ""
    size = f"{workload['image_size']} px batch {recipe['batch_size']}"
    name = f"{workload['stage']}/{recipe['architecture']}{teacher} {size}"
    if (measured := outcome.measured) is None:
        return f"probe of {name} failed ({outcome.error}): {num_trials} per GPU, the fixed share of its stage"
    total = f"{measured.total_bytes / 1e9:.1f} GB"
    found = f"{measured.peak_bytes / 1e9:.1f} GB of {total}" if measured.fits else f"does not fit {total}"
    return f"probed {name}{' before' if outcome.is_cached else ''}: {found}, {num_trials} per GPU"


def _probe_on_a_gpu(store: Store, workloads: dict[str, Workload], prober: Prober) -> dict[str, Outcome]:
    """Runs every probe as a Ray task of its own; one that fails takes no other along."""
    # A process per workload: CUDA graphs of one training may stay in memory and would count in the next measurement.
    probe = ray.remote(num_cpus=1, num_gpus=1, max_retries=0, max_calls=1)(_probe_in_worker)
    pending = {kind: probe.remote(store.uri, workload, prober) for kind, workload in workloads.items()}
    deadline = time.monotonic() + prober.seconds
    return {kind: _outcome_of(task, deadline, prober) for kind, task in pending.items()}


def _outcome_of(task: ray.ObjectRef, deadline: float, prober: Prober) -> Outcome:
    try:
        outcome: Outcome = ray.get(task, timeout=max(0.0, deadline - time.monotonic()))
        return outcome
    except ray.exceptions.GetTimeoutError:
        ray.cancel(task, force=True)
        return Outcome(error=f"not over within {prober.seconds:g} s; is a whole GPU free?")
    except ray.exceptions.RayTaskError as error:
        return Outcome(error=_headline(error.cause))
    except ray.exceptions.RayError as error:
        return Outcome(error=_headline(error))


def _probe_in_worker(storage: str, workload: Workload, prober: Prober) -> Outcome:
    probes, gpu = Store(storage, create=False).root.folder("probes"), prober.identify()
    return _probe(probes, gpu, workload, prober)


def _probe(probes: Folder, gpu: dict[str, str], workload: Workload, prober: Prober) -> Outcome:
    about = {"version": PROBE_VERSION, "gpu": gpu, "workload": _what_matters(workload)}
    path = f"{_digest(about)}.json"
    # One that is damaged is measured again and replaced.
    with suppress(StorageError, ValueError):
        if content := probes.read_json(path):
            return Outcome(measured=Measured.model_validate(content.get("measured")), is_cached=True)
    try:
        measured = Measured.model_validate(prober.measure(workload))
    # Whatever it is, the launch goes on with a fixed share and says why.
    except Exception as error:
        return Outcome(error=_headline(error))
    if measured.fits:
        # A full GPU may have been another program's doing, and is measured again next time.
        probes.write_json(path, about | {"measured": measured.model_dump()})
    return Outcome(measured=measured)


def _headline(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
