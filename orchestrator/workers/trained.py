"""The network that a trial of the storage trained, for whoever names it by `trial:UID`."""

from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.trial import TrialFolder
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError
from search_spaces.model import parse
from search_spaces.models import ModelSpec
from search_spaces.stages.registry import Stage
from trainables.checkpoints import from_bytes, strip_prefix
from trainables.models.trial_models import TrainedNetwork
from trainables.stages.classifier import MODEL
from trainables.stages.pair import STUDENT

PREFIXES = {Stage.TEACHER: MODEL, Stage.DISTILL: MODEL, Stage.PAIR: STUDENT}
"""Of the network's tensors in the checkpoint of a stage."""


def trained_network(store: Store, uid: str) -> TrainedNetwork:
    """Reads the network of a finished trial: a teacher, a white box, or the student of a pair.

    Raises:
        ConfigError: The storage has no finished trial of this uid.
        StorageError: A file of it is missing or damaged.
    """
    for stage, prefix in PREFIXES.items():
        folder = TrialFolder(store, stage, uid)
        if (record := folder.recipe()) is None:
            continue
        if folder.result() is None:
            raise ConfigError(f"trial {uid} ({record.name}) is not done: launch or resume its sweep first.")
        source = f"{folder.folder.root}/{CHECKPOINT}"
        tensors = from_bytes(folder.read_checked(CHECKPOINT), source=source)
        white_box = record.recipe.get("white_box")
        return TrainedNetwork(
            architecture=record.architecture,
            dataset=parse(DatasetSpec, record.dataset),
            tensors=strip_prefix(prefix, tensors),
            source=source,
            white_box=parse(ModelSpec, white_box) if white_box else None,
        )
    raise ConfigError(f"{store.uri} has no trial {uid}: `dptq-sweep plan --json` and `status` show uids.")
