"""A network or a pair of the storage on its way to a runtime: exported, served, and verified there."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.inventory import find_trial
from orchestrator.store.store import Store
from orchestrator.workers.given_networks import trial_reader
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError
from search_spaces.model import parse, vary
from search_spaces.models import ModelSpec, model_spec
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import ImageSettings
from search_spaces.stages.registry import Stage
from trainables.assessment.facts import look_at
from trainables.checkpoints import from_bytes, strip_prefix
from trainables.data.loading import class_names_of, load_dataset
from trainables.deployment import served
from trainables.deployment.export import bits_file, integer_file, policy_file, policy_path, save
from trainables.deployment.network import Deployed, deployed, deployed_pair
from trainables.deployment.record import Verification
from trainables.deployment.verify import OnProgress, verify
from trainables.models.labels import read_labels
from trainables.models.registry import open_network
from trainables.runtimes.onnxruntime import OnnxNetwork
from trainables.stages.pair import POLICY

TRIAL = "trial:"
_TRIAL = re.compile(r"[0-9a-f]{1,16}|(teacher|distill|pair)/.+")
"""The beginning of a uid, or the name of a trial; whatever else is a network's URI."""


def model_of(store: Store, text: str) -> ModelSpec:
    """Returns the network that a UID (its beginning, or a trial's name) or a URI names.

    Raises:
        ConfigError: There is no such trial or kind of network, or more than one trial.
    """
    name = text.removeprefix(TRIAL)
    return model_spec(TRIAL + find_trial(store, name).uid if _TRIAL.fullmatch(name) else text)


def open_deployed(store: Store, spec: ModelSpec, image_size: tuple[int, int] | None) -> Deployed:
    """Opens a network; of a trained pair its policy, too.

    Raises:
        ConfigError: It cannot be read, or the trial is not done.
        UnavailableError: A file or a library is not on this machine.
        StorageError: A file of the trial is missing or damaged.
    """
    given = open_network(spec, image_size=image_size, is_typed=True, read_trial=trial_reader(store))
    folder = find_trial(store, spec.name) if spec.kind == "trial" else None
    record = folder.recipe() if folder else None
    if folder is None or record is None or folder.stage != Stage.PAIR:
        return deployed(given)
    tensors = from_bytes(folder.read_checked(CHECKPOINT), source=f"{folder.folder.root}/{CHECKPOINT}")
    return deployed_pair(given, parse(PairRecipe, record.recipe), strip_prefix(POLICY, tensors))


def export_network(
    storage: str,
    text: str,
    path: Path,
    *,
    image_size: tuple[int, int] | None,
    is_integer: bool,
    exclude: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Writes a network as ONNX, and the policy of a pair beside it.

    Args:
        storage: Where trials are.
        text: A UID or the URI of a network.
        path: Of the file.
        image_size: Height and width in pixels; None takes the network's own, 224 where it does not say.
        is_integer: Write ONNX Runtime's integer kernels at 8 bits, in place of bit-widths as an input.
        exclude: Nodes that stay at full precision there.
        say: Takes a line per file.

    Raises:
        SweepError: One line for whatever is wrong with the network, its export or the file.
    """
    store = Store(storage, create=False)
    opened = open_deployed(store, model_of(store, text), image_size)
    size = opened.size if image_size is None else image_size
    facts = opened.facts() | {"image_size": list(size)}
    if is_integer:
        integer = {"form": "integer", "ranges": "per batch", "weight_bit_width": 8, "nodes_to_exclude": list(exclude)}
        save(integer_file(opened.network, size, exclude), path, facts | integer)
        say(f"wrote {path}: integer kernels at 8 bits; ranges are over all images of a run.")
        return
    save(bits_file(opened.network, size), path, facts | {"form": "bits", "ranges": "per image"})
    say(f"wrote {path}: bits of {opened.network.num_sites} sites as an input; ranges are per image.")
    if opened.pair and opened.pair.recipe.selection == "static":
        say("wrote no policy: all images get the same bits.")
    elif opened.pair:
        recipe = opened.pair.recipe
        policy = policy_file(opened.pair.policy, recipe.profits, size)
        # By default the knapsack chooses by the profits.
        selection = {"selection": recipe.selection} if recipe.selection else {}
        save(policy, policy_path(path), facts | {"form": "policy"} | selection)
        say(f"wrote {policy_path(path)}: its policy, from images to profits.")


def export_served(
    storage: str,
    text: str,
    folder: Path,
    *,
    image_size: tuple[int, int] | None,
    data_dir: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Writes what `trainables.deployment.served.ServedNetwork` loads.

    Args:
        storage: Where trials are.
        text: A UID or the URI of a network.
        folder: An empty one.
        image_size: Height and width in pixels; None takes the network's own, 224 where it does not say.
        data_dir: Folder of datasets, which know the names of the classes of a trial.
        say: Takes a line about what the folder lacks.

    Returns:
        What is known of the network, as the folder says it.

    Raises:
        SweepError: One line for whatever is wrong with the network or its export.
    """
    store = Store(storage, create=False)
    spec = model_of(store, text)
    opened = open_deployed(store, spec, image_size)
    size, network = opened.size if image_size is None else image_size, opened.network
    facts = opened.facts() | {
        "class_names": opened.given.class_names or _class_names(store, spec, data_dir, say),
        "image_size": list(size),
        "batch_size": network.file.batch_size if isinstance(network, OnnxNetwork) else None,
        "num_classes": opened.given.num_classes,
    }
    save(bits_file(network, size), folder / served.NETWORK, facts | {"form": "bits", "ranges": "per image"})
    if opened.pair:
        policy = policy_file(opened.pair.policy, opened.pair.recipe.profits, size)
        save(policy, folder / served.POLICY, facts | {"form": "policy"})
    served.seal(folder, facts)
    return facts


def verify_network(
    storage: str,
    text: str,
    dataset: DatasetSpec,
    settings: ImageSettings,
    *,
    data_dir: Path,
    labels_file: Path | None,
    has_labels: bool,
    on_progress: OnProgress,
) -> tuple[Verification, dict[str, Any]]:
    """Runs a network over the test images of a dataset in simulation and in ONNX Runtime.

    Args:
        storage: Where trials are.
        text: A UID or the URI of a network.
        dataset: Where the trial was trained on data of this name, it sees them as it did then.
        settings: How the user wants images prepared.
        data_dir: Folder of datasets.
        labels_file: Names of the network's classes, if the user gave them.
        has_labels: Whether the labels of the data count; else the network's answers at full precision do.
        on_progress: Told of every batch.

    Returns:
        What was found, and what it was found of.

    Raises:
        SweepError: One line for whatever is wrong with the network, the data or the runtime.
    """
    store = Store(storage, create=False)
    spec = model_of(store, text)
    class_names = read_labels(labels_file) if labels_file else None
    facts = look_at(
        spec.uri,
        _as_trained(store, spec, dataset),
        settings,
        data_dir=data_dir,
        class_names=class_names,
        has_labels=has_labels,
        read_trial=trial_reader(store),
    )
    opened = open_deployed(store, facts.model, facts.dataset.seen_size)
    images = opened.test_images(load_dataset(facts.dataset, data_dir), class_names, has_labels=has_labels)
    choose = opened.pair.bit_widths if opened.pair else None
    found = verify(opened.network, images, choose_bits=choose, on_progress=on_progress)
    return found, opened.facts() | {"dataset": facts.dataset.title, "how_labelled": facts.how_labelled}


def _class_names(store: Store, spec: ModelSpec, data_dir: Path, say: Callable[[str], None]) -> tuple[str, ...] | None:
    """Returns the classes of the data that a trial was trained on; None where nothing here tells them."""
    record = find_trial(store, spec.name).recipe() if spec.kind == "trial" else None
    if record is None:
        return None
    try:
        return class_names_of(parse(DatasetSpec, record.dataset), data_dir)
    except UnavailableError as error:
        say(f"without the names of the classes: {error}")
        return None


def _as_trained(store: Store, spec: ModelSpec, dataset: DatasetSpec) -> DatasetSpec:
    """Returns a dataset as a trial saw it, where it was trained on data of this name."""
    record = find_trial(store, spec.name).recipe() if spec.kind == "trial" else None
    if record is None:
        return dataset
    trained = parse(DatasetSpec, record.dataset)
    if trained.name != dataset.name:
        return dataset
    return trained if dataset.test_images is None else vary(trained, test_images=dataset.test_images)
