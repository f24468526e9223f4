"""Networks that are given, as a worker and the driver open them: with the trials of the storage at hand."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.inventory import find_trial
from orchestrator.store.store import Store
from search_spaces.assessment.recipes import ImageSettings, NetworkFacts
from search_spaces.datasets import DatasetSpec
from search_spaces.model import parse
from trainables.assessment.facts import look_at
from trainables.models.labels import read_labels
from trainables.models.trial_models import TrainedNetwork


def trial_reader(store: Store) -> Callable[[str], TrainedNetwork]:
    """Returns a function that reads the network which a trial of a storage trained, by its uid."""

    def read(uid: str) -> TrainedNetwork:
        trial = find_trial(store, uid)
        content, record = trial.read_checked(CHECKPOINT), trial.recipe()
        assert record is not None, f"{trial.folder.root} is done without a recipe"
        return TrainedNetwork(
            architecture=record.architecture,
            dataset=parse(DatasetSpec, record.dataset),
            content=content,
            source=f"{trial.folder.root}/{CHECKPOINT}",
        )

    return read


def look_at_network(
    uri: str,
    dataset: DatasetSpec,
    settings: ImageSettings,
    *,
    data_dir: Path,
    labels_file: Path | None,
    has_labels: bool,
    storage: str,
) -> tuple[NetworkFacts, tuple[str, ...] | None]:
    """Opens a network whose URI was typed in this command; see `trainables.assessment.facts.look_at`.

    Returns:
        What a plan needs to know, and the names of the network's classes that a file of labels holds.
    """
    class_names = read_labels(labels_file) if labels_file else None
    facts = look_at(
        uri,
        dataset,
        settings,
        data_dir=data_dir,
        class_names=class_names,
        has_labels=has_labels,
        read_trial=trial_reader(Store(storage, create=False)),
    )
    return facts, class_names
