"""What the driver needs of `trainables`, imported only when it is asked for.

Importing torch and timm takes four seconds. Workers pay them once; `plan`, `status` and a launch of a finished sweep
never do. This is the one place that imports by name.
"""

import importlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.plan import ANALYSIS
from orchestrator.store.failures import cannot_import
from orchestrator.store.store import Store
from orchestrator.workers.attempt import attempt_at
from search_spaces import paper
from search_spaces.dataset_kinds import DATASETS
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError, one_line
from search_spaces.models import ModelSpec
from search_spaces.names import SitePlacement
from search_spaces.recipes import TeacherRecipe
from search_spaces.stages.assessment import ImageSettings, NetworkFacts

KNOWN_NUM_SITES = paper.NUM_SITES | {"test_resnet": 15}
"""Checked against the tracer by a test; other networks are built and traced."""
KNOWN_RESCALABLE = ("test_resnet", "test_efficientnet")
"""Checked against the links by a test; other networks are built and looked at."""
_USUAL_TEACHERS = (paper.TEACHER, "resnet10t")
"""Of the named grids; timm has weights of them, so that their plans need no import of it."""


@cache
def num_sites(architecture: str, placement: SitePlacement = "outputs") -> int:
    """Returns the number of quantizable sites of a timm architecture, at outputs or inputs of its layers.

    Raises:
        UnknownNameError: timm has no such architecture; names the nearest ones.
        ConfigError: The network cannot be traced, or has no site.
    """
    if placement == "outputs" and architecture in KNOWN_NUM_SITES:
        return KNOWN_NUM_SITES[architecture]
    return int(importlib.import_module("trainables.models.backbones").count_sites(architecture, placement))


def check_teacher(recipe: TeacherRecipe, dataset: DatasetSpec) -> None:
    """Makes sure, before anything runs, that a teacher can start from its weights; downloads nothing.

    Raises:
        UnknownNameError: timm has no such architecture, or there are no such weights.
        UnavailableError: The file of weights is not on this machine.
        ConfigError: The file is damaged, something else, or of another architecture.
    """
    if recipe.weights in ("imagenet", "scratch") and recipe.architecture in _USUAL_TEACHERS:
        return
    backbones = importlib.import_module("trainables.models.backbones")
    backbones.check_weights(recipe.architecture, recipe.weights, dataset.seen_size)


@cache
def check_rescalable(architecture: str, exponent: int) -> None:
    """Makes sure, before anything runs, that a timm architecture can be rescaled.

    Raises:
        ConfigError: It has no link of the kinds that are scaled.
    """
    if architecture not in KNOWN_RESCALABLE:
        importlib.import_module("trainables.stages.rescaled").check_links(architecture, exponent)


def look_at_network(
    uri: str, dataset: DatasetSpec, settings: ImageSettings, **others: Any
) -> tuple[NetworkFacts, tuple[str, ...] | None]:
    """Opens a network and tells what a plan needs to know of it.

    `others` are those of `orchestrator.workers.given_networks.look_at_network`.

    Raises:
        ConfigError: It cannot be read, does not fit the data, or cannot be quantized.
        UnavailableError: A file or a library is not on this machine.
    """
    facts: tuple[NetworkFacts, tuple[str, ...] | None] = importlib.import_module(
        "orchestrator.workers.given_networks"
    ).look_at_network(uri, dataset, settings, **others)
    return facts


def look_at_quantized_file(uri: str, reference: NetworkFacts) -> ModelSpec:
    """Opens a quantized ONNX file and tells its checksum.

    Raises:
        ConfigError: It is no quantized classifier of images, or does not fit the reference.
        UnavailableError: It is not on this machine.
    """
    spec: ModelSpec = importlib.import_module("trainables.assessment.facts").look_at_quantized_file(uri, reference)
    return spec


def export_network(*arguments: Any, **settings: Any) -> None:
    """Writes a network as ONNX; see `orchestrator.workers.deployed.export_network`."""
    importlib.import_module("orchestrator.workers.deployed").export_network(*arguments, **settings)


def export_served(*arguments: Any, **settings: Any) -> dict[str, Any]:
    """Writes what a served model loads; see `orchestrator.workers.deployed.export_served`."""
    facts: dict[str, Any] = importlib.import_module("orchestrator.workers.deployed").export_served(
        *arguments, **settings
    )
    return facts


def verify_network(*arguments: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Compares simulation and ONNX Runtime; see `orchestrator.workers.deployed.verify_network`."""
    found: tuple[Any, dict[str, Any]] = importlib.import_module("orchestrator.workers.deployed").verify_network(
        *arguments, **settings
    )
    return found


def data_checksum(spec: DatasetSpec, data_dir: Path) -> str:
    """Returns the checksum of a dataset's images and labels, which are decoded for it, and cached for the trials.

    Raises:
        UnavailableError: Its files are not on this machine.
        ConfigError: Its images cannot be split as the specification asks.
    """
    data = importlib.import_module("trainables.data.loading").load_dataset(spec, data_dir)
    return str(data.sha256())


def check_dataset(
    spec: DatasetSpec, data_dir: Path, *, download: bool = False, needs_labels: bool = True
) -> tuple[str, ...]:
    """Makes sure, before anything runs, that every trial can load a dataset; decodes nothing.

    Args:
        spec: The dataset.
        data_dir: Folder of datasets.
        download: Fetch its files if they are not there.
        needs_labels: Whether images without labels are refused.

    Returns:
        What is to be said of it, such as files that are left out, a line each.

    Raises:
        UnavailableError: Files are missing or cannot be fetched; says what to put where.
        ConfigError: The images cannot be split as asked, lack labels, or there is nothing to download.
    """
    is_sure = DATASETS[spec.kind].is_bundled and spec.train_images is None and spec.test_images is None
    if download or not is_sure:
        check_available = importlib.import_module("trainables.data.loading").check_available
        return tuple(check_available(spec, data_dir, download=download, needs_labels=needs_labels))
    return ()


def images_to_decode(spec: DatasetSpec, data_dir: Path | None) -> tuple[int, Path] | None:
    """Returns how many images are decoded, and into which file; see `trainables.data.loading.images_to_decode`."""
    found: tuple[int, Path] | None = importlib.import_module("trainables.data.loading").images_to_decode(spec, data_dir)
    return found


def count_bytes(spec: DatasetSpec, data_dir: Path | None) -> int:
    """Returns the bytes of a dataset's images in memory, whoever knows them: the specification, or the files.

    Raises:
        UnavailableError: Only the files tell, and they are not on this machine.
    """
    return spec.num_bytes or int(importlib.import_module("trainables.data.loading").count_bytes(spec, data_dir))


def count_trained(spec: DatasetSpec, data_dir: Path) -> int:
    """Returns how many images of a dataset are trained on; see `trainables.data.loading.count_trained`."""
    return int(importlib.import_module("trainables.data.loading").count_trained(spec, data_dir))


def identify_gpu() -> dict[str, str]:
    """Names the GPU of a Ray worker and its torch; see `trainables.memory_probe.identify_gpu`."""
    facts: dict[str, str] = importlib.import_module("trainables.memory_probe").identify_gpu()
    return facts


def measure_memory(workload: dict[str, Any]) -> dict[str, Any]:
    """Measures the memory of a training in a Ray worker; see `trainables.memory_probe.measure`."""
    measured: dict[str, Any] = importlib.import_module("trainables.memory_probe").measure_on_gpu(workload)
    return measured


def run_trial(config: dict[str, Any]) -> None:
    """Runs one trial in a Ray worker; see `orchestrator.workers.trial.run_trial`.

    A library that the worker lacks is recorded in the trial's folder.
    """
    with _recording_what_is_missing(config, config["stage"]):
        importlib.import_module("orchestrator.workers.trial").run_trial(config)


def run_analysis(config: dict[str, Any]) -> Iterator[int]:
    """Computes an analysis in a Ray worker; see `orchestrator.workers.analysis.run_analysis`.

    A library that the worker lacks is recorded in the folder of the analysis.
    """
    with _recording_what_is_missing(config, ANALYSIS):
        yield from importlib.import_module("orchestrator.workers.analysis").run_analysis(config)


def estimate_analyses(config: dict[str, Any]) -> tuple[dict[str, int], float]:
    """Tells in a Ray worker what analyses cost; see `orchestrator.workers.analysis.estimate`.

    Raises:
        UnavailableError: The worker lacks a library.
    """
    with _naming_what_is_missing():
        cost: tuple[dict[str, int], float] = importlib.import_module("orchestrator.workers.analysis").estimate(config)
    return cost


@contextmanager
def _naming_what_is_missing() -> Iterator[None]:
    """Turns a failed import into one line with the node and the hint."""
    try:
        yield
    except ImportError as error:
        raise cannot_import(one_line(error), socket.gethostname()) from error


@contextmanager
def _recording_what_is_missing(config: dict[str, Any], stage: str) -> Iterator[None]:
    """Writes a failed import where the driver looks, since the module that records all other errors is not there."""
    try:
        with _naming_what_is_missing():
            yield
    except UnavailableError as error:
        folder = attempt_at(Store(config["storage"], create=False), config, stage)
        folder.write_error(error, log=folder.log())
