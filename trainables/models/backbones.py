"""timm networks by architecture: fresh, pretrained, or from a trial's checkpoint."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from search_spaces.errors import ConfigError, UnavailableError, unknown_name
from trainables.quant.sites import find_sites


def check_architecture(architecture: str) -> None:
    """Raises `UnknownNameError`, with the nearest names, unless timm has the architecture."""
    names = _architectures()
    # A name may carry a pretrained tag: `resnet18.a1_in1k`.
    if architecture.split(".")[0] not in names:
        raise unknown_name("architecture", architecture, names)


def create_backbone(architecture: str, num_classes: int, *, weights: str = "scratch") -> nn.Module:
    """Builds a timm network with a fresh classifier.

    Args:
        architecture: Any timm model name.
        num_classes: Number of classes, K.
        weights: `scratch`, `imagenet` (timm's pretrained weights, downloaded once), or a .safetensors file whose
            tensors carry timm's names; a classifier of another size in it is left out.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnavailableError: The weights cannot be downloaded or found.
        ConfigError: The file does not fit the architecture.
    """
    check_architecture(architecture)
    if weights == "scratch":
        return timm.create_model(architecture, num_classes=num_classes)
    if weights == "imagenet":
        return _pretrained(architecture, num_classes)
    path = Path(weights)
    if not path.is_file():
        raise UnavailableError(f"weights {weights!r} is no file: give scratch, imagenet or the path of a .safetensors.")
    model = timm.create_model(architecture, num_classes=num_classes)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    tensors = {name: tensor for name, tensor in load_file(path).items() if shapes.get(name) == tensor.shape}
    missing = shapes.keys() - tensors.keys() - _classifier_names(model)
    if missing:
        raise ConfigError(f"{path} does not fit {architecture}: {len(missing)} tensors lack, such as {min(missing)}.")
    model.load_state_dict(tensors, strict=False)
    return model


def load_backbone(architecture: str, num_classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Rebuilds a trained network from the tensors of a trial's checkpoint, in evaluation mode and frozen."""
    model = create_backbone(architecture, num_classes)
    model.load_state_dict(dict(tensors))
    return model.eval().requires_grad_(False)


def count_sites(architecture: str) -> int:
    """Returns the number of quantizable activations of an architecture, by tracing it.

    Raises:
        UnknownNameError: timm has no such architecture.
        ConfigError: The network cannot be traced, or has no site.
    """
    # The classifier is no site, so the number of classes does not matter.
    return len(find_sites(create_backbone(architecture, num_classes=2)))


@cache
def _architectures() -> frozenset[str]:
    return frozenset(timm.list_models())


def _pretrained(architecture: str, num_classes: int) -> nn.Module:
    try:
        return timm.create_model(architecture, pretrained=True, num_classes=num_classes)
    except Exception as error:  # the hub's client raises many kinds, none of its own
        raise UnavailableError(
            f"timm's pretrained weights of {architecture} could not be downloaded ({type(error).__name__}). Connect "
            "this machine once, or pass a .safetensors file or scratch as --teacher-weights."
        ) from error


def _classifier_names(model: nn.Module) -> set[str]:
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]  # every timm model has it
    own = {id(parameter) for parameter in classifier.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}
