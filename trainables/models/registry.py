"""The kinds of networks by name, and the one function that opens any of them. A new kind is a module and one line."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from search_spaces.errors import ConfigError
from search_spaces.models import ModelSpec
from trainables.models.given import GivenNetwork, Opened, give
from trainables.models.hf_models import open_hf
from trainables.models.onnx_models import open_onnx
from trainables.models.python_models import open_python
from trainables.models.timm_models import open_timm
from trainables.models.torchvision_models import open_torchvision
from trainables.models.trial_models import ReadTrial, open_student, open_trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is asked of a kind besides its URI."""

    image_size: tuple[int, int] | None
    """Height and width in pixels; None takes the network's own."""
    is_typed: bool
    """Whether the user typed the URI in this command on this machine."""
    read_trial: ReadTrial | None
    """Reads the checkpoint of a trial by its uid; None where there is no storage."""


def _open_trial(spec: ModelSpec, asked: Asked) -> Opened:
    if asked.read_trial is None:
        raise ConfigError(f"model {spec.uri} lies in a storage, and none is given: give --storage.")
    trained = asked.read_trial(spec.name)
    # timm's architectures are built by name, and need no file.
    if trained.white_box is None or trained.white_box.kind == "timm":
        return open_trial(spec, trained)
    # The user typed the trial's uid; what its recipe names, a storage says.
    return open_student(trained, KINDS[trained.white_box.kind](trained.white_box, replace(asked, is_typed=False)))


KINDS: dict[str, Callable[[ModelSpec, Asked], Opened]] = {
    "timm": lambda spec, asked: open_timm(spec, asked.image_size),
    "torchvision": lambda spec, asked: open_torchvision(spec),
    "hf": lambda spec, asked: open_hf(spec),
    "onnx": lambda spec, asked: open_onnx(spec),
    "python": lambda spec, asked: open_python(spec, is_typed=asked.is_typed),
    "trial": _open_trial,
}


def open_network(
    spec: ModelSpec,
    *,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    is_typed: bool = False,
    read_trial: ReadTrial | None = None,
) -> GivenNetwork:
    """Opens a network and checks it: weights, channels, logits, trace and sites, and its fingerprint if one is known.

    No random number is drawn from the global generator; what a network draws while it is built comes from seed 0.

    Args:
        spec: Which one.
        image_size: Height and width in pixels of the images that it is to run on; None takes its own, and 224 where it
            does not say.
        num_classes: Number of classes that it must have; None takes any.
        is_typed: Whether the user typed the URI in this command on this machine; `python:` runs for those only.
        read_trial: Reads the checkpoint of a trial by its uid; needed for `trial:`.

    Raises:
        UnknownNameError: There is no such architecture.
        UnavailableError: Weights cannot be found or downloaded, or a library is not installed.
        ConfigError: One line for whatever is wrong with a file, a network or its answers.
        StorageError: A trial's checkpoint is missing or damaged.

    Examples:
        >>> from search_spaces.models import model_spec
        >>> open_network(model_spec("python:nets:make"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        search_spaces.errors.ConfigError: model python:nets:make is code, which runs only for ...
    """
    asked = Asked(image_size=image_size, is_typed=is_typed, read_trial=read_trial)
    with torch.random.fork_rng(devices=[]):
        # So that a function that builds a network with random weights builds the same one again.
        torch.default_generator.manual_seed(0)
        network = give(KINDS[spec.kind](spec, asked), uri=spec.uri, image_size=image_size)
    if spec.sha256 not in (None, network.sha256):
        raise ConfigError(
            f"model {spec.uri} has other weights ({network.sha256[:12]}) than when the plan was made "
            f"({str(spec.sha256)[:12]}): give back the weights of then, or plan again."
        )
    if num_classes not in (None, network.num_classes):
        raise ConfigError(f"model {spec.uri} has {network.num_classes} classes, and {num_classes} are asked for.")
    return network
