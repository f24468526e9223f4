"""Networks that are given, as a worker and the driver open them: with the trials of the storage at hand."""

from functools import partial
from pathlib import Path

from orchestrator.store.store import Store
from orchestrator.workers.trained import trained_network
from search_spaces.datasets import DatasetSpec
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from trainables.assessment.facts import look_at
from trainables.models.labels import read_labels
from trainables.models.trial_models import ReadTrial


def trial_reader(store: Store) -> ReadTrial:
    """Returns a function that reads the network which a trial of a storage trained, by its uid."""
    return partial(trained_network, store)


def look_at_network(
    uri: str,
    dataset: DatasetSpec,
    settings: ImageSettings,
    *,
    data_dir: Path,
    labels_file: Path | None,
    has_labels: bool,
    storage: str,
    has_same_classes: bool = False,
    is_typed: bool = True,
) -> tuple[NetworkFacts, tuple[str, ...] | None]:
    """Opens a network; see `trainables.assessment.facts.look_at`.

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
        has_same_classes=has_same_classes,
        is_typed=is_typed,
        read_trial=trial_reader(Store(storage, create=False)),
    )
    return facts, class_names
