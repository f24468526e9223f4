"""`trial:UID`: a network that an earlier trial of the same storage trained, teacher, white box or a pair's student."""

from dataclasses import dataclass

from search_spaces.datasets import DatasetSpec
from search_spaces.models import ModelSpec
from trainables.checkpoints import from_bytes, strip_prefix
from trainables.data.view import view_of
from trainables.models.given import Opened, Settings
from trainables.models.timm_models import build_for, fit_timm
from trainables.stages.classifier import MODEL
from trainables.stages.pair import STUDENT


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """The checkpoint of a trial, and what its recipe says of it."""

    architecture: str
    dataset: DatasetSpec
    """What it was trained on."""
    content: bytes
    """Tensors `model.*` or, of a pair, `student.*`, as safetensors."""
    source: str
    """Origin of the checkpoint, for errors."""


def open_trial(spec: ModelSpec, trained: TrainedNetwork) -> Opened:
    """Rebuilds the network of a trial; of a pair the student alone, without its policy.

    Args:
        spec: Of kind `trial`.
        trained: Its checkpoint.

    Raises:
        StorageError: The checkpoint is damaged.
        ConfigError: It does not fit the architecture.
    """
    tensors = from_bytes(trained.content, source=trained.source)
    own = strip_prefix(STUDENT, tensors) or strip_prefix(MODEL, tensors)
    view = view_of(trained.dataset)
    module = build_for(trained.architecture, own, image_size=view.size)
    fit_timm(module, own, architecture=trained.architecture, source=trained.source)
    return Opened(module=module, architecture=trained.architecture, settings=Settings(view=view))
