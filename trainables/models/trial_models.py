"""`trial:UID`: a network that an earlier trial of the same storage trained, teacher, white box or a pair's student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, one_line
from search_spaces.models import ModelSpec
from trainables.data.view import view_of
from trainables.models.backbones import build_for
from trainables.models.given import Opened, Settings
from trainables.models.timm_models import fit_timm


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """The checkpoint of a trial, and what its recipe says of it."""

    architecture: str
    dataset: DatasetSpec
    """What it was trained on."""
    tensors: Mapping[str, Tensor]
    """By timm's names; of a pair those of the student."""
    source: str
    """Origin of the checkpoint, for errors."""
    white_box: ModelSpec | None = None
    """Of a pair whose white box was given: its student has that architecture."""


ReadTrial = Callable[[str], TrainedNetwork]
"""Function that reads the network which a trial trained, by its uid."""


def open_trial(spec: ModelSpec, trained: TrainedNetwork) -> Opened:
    """Rebuilds the network of a trial; of a pair the student alone, without its policy.

    Args:
        spec: Of kind `trial`.
        trained: Its checkpoint.

    Raises:
        ConfigError: It does not fit the architecture.
    """
    view, dataset = view_of(trained.dataset), trained.dataset
    module = build_for(trained.architecture, trained.tensors, image_size=view.size)
    fit_timm(module, trained.tensors, architecture=trained.architecture, source=trained.source)
    settings = Settings(view=view, interpolation=dataset.interpolation, crop=dataset.crop)
    return Opened(module=module, architecture=trained.architecture, settings=settings)


def open_student(trained: TrainedNetwork, white_box: Opened) -> Opened:
    """Puts the tensors of a pair's student into its white box, which was given and is opened again.

    Raises:
        ConfigError: They do not fit: the white box is another network now.
    """
    try:
        white_box.module.load_state_dict(dict(trained.tensors))
    except RuntimeError as error:
        raise ConfigError(f"{trained.source} does not fit its white box any more ({one_line(error)[:200]}).") from error
    dataset = trained.dataset
    settings = Settings(view=view_of(dataset), interpolation=dataset.interpolation, crop=dataset.crop)
    return Opened(
        module=white_box.module,
        architecture=trained.architecture,
        settings=replace(settings, class_names=white_box.settings.class_names),
    )
