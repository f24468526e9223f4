"""timm networks by architecture: fresh, pretrained, or from a trial's checkpoint."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, UnavailableError, shown, unknown_name
from search_spaces.models import MODEL_FORMS
from search_spaces.names import SitePlacement
from search_spaces.pixels import image_size_of
from search_spaces.uris import redact
from trainables.models.fitting import nearest
from trainables.models.weights import read_weights
from trainables.quant.sites import find_sites


def create_backbone(
    architecture: str, num_classes: int | None, *, weights: str = "scratch", image_size: tuple[int, int] | None = None
) -> nn.Module:
    """Builds a timm network with a fresh classifier.

    Args:
        architecture: Any timm model name.
        num_classes: Number of classes, K; None keeps those of timm's pretrained weights, and their classifier.
        weights: `scratch`, `imagenet` (timm's pretrained weights, downloaded once), or a file (`read_weights`) whose
            tensors carry timm's names; a classifier of another size in it is left out.
        image_size: Height and width of the images in pixels. Networks for one size only, such as vision
            transformers, are built for it, and timm fits their pretrained position embeddings; None takes the size
            that timm built them for. The others take any size.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnavailableError: The weights cannot be downloaded or found.
        ConfigError: The file does not fit the architecture, or the architecture does not fit the size.
    """
    check_architecture(architecture)
    size = _size_arguments(architecture, image_size)
    classes = {} if num_classes is None else {"num_classes": num_classes}
    if weights == "imagenet":
        try:
            return timm.create_model(architecture, pretrained=True, **classes, **size)
        except Exception as error:  # the hub's client raises many kinds, none of its own
            raise UnavailableError(
                f"timm's pretrained weights of {architecture} could not be downloaded ({type(error).__name__}). "
                "Connect this machine once, or pass a .safetensors file or scratch as --teacher-weights "
                f"(of a given network: timm:{architecture}@FILE)."
            ) from error
    model = timm.create_model(architecture, **classes, **size)
    if weights != "scratch":
        _load_file(model, architecture, weights)
    return model


def check_architecture(architecture: str) -> None:
    """Makes sure that timm has an architecture.

    Raises:
        UnknownNameError: It has not; names the nearest ones.
        ConfigError: It is the place of a network, or a name of another library.
    """
    if re.search(r"[:/\\@]|^torchvision\.|\.(onnx|pt2?|pth|safetensors|bin)$", architecture):
        raise ConfigError(
            f"architecture {shown(architecture)} is no name of timm's: give one such as resnet18 or resnet18.a1_in1k. "
            f"Networks of another kind are given by --white-box or --teacher, as {', '.join(MODEL_FORMS)}."
        )
    # A name may carry a pretrained tag: `resnet18.a1_in1k`.
    if architecture.split(".")[0] not in architectures():
        raise unknown_name("architecture", architecture, architectures())


def load_backbone(
    architecture: str, num_classes: int, tensors: Mapping[str, Tensor], *, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """Rebuilds a trained network from the tensors of a trial's checkpoint, in evaluation mode and frozen.

    Args:
        architecture: Any timm model name.
        num_classes: Number of classes, K.
        tensors: By timm's names.
        image_size: Height and width of the images it was trained on; see `create_backbone`.
    """
    model = create_backbone(architecture, num_classes, image_size=image_size)
    model.load_state_dict(dict(tensors))
    return model.eval().requires_grad_(False)


def count_sites(architecture: str, placement: SitePlacement = "outputs") -> int:
    """Returns the number of quantizable activations of an architecture, at outputs or inputs, by tracing it.

    Raises:
        UnknownNameError: timm has no such architecture.
        ConfigError: The network cannot be traced, or has no site.
    """
    # The classifier is no site, so the number of classes does not matter.
    return len(find_sites(create_backbone(architecture, num_classes=2), placement))


@cache
def architectures() -> frozenset[str]:
    """Returns the names of timm's architectures, without tags of weights."""
    return frozenset(timm.list_models())


def _size_arguments(architecture: str, image_size: tuple[int, int] | None) -> dict[str, int | tuple[int, int]]:
    """Returns what timm needs to build a network for a size; nothing where it takes images of any size."""
    is_fixed = getattr(timm.get_pretrained_cfg(architecture, allow_unregistered=True), "fixed_input_size", False)
    if not is_fixed or image_size is None:
        return {}
    _check_image_size(architecture, image_size)
    return {"img_size": _for_timm(image_size)}


def _for_timm(size: tuple[int, int]) -> int | tuple[int, int]:
    # Some families take one number only.
    height, width = size
    return height if height == width else size


@cache
def _check_image_size(architecture: str, image_size: tuple[int, int]) -> None:
    try:
        # Cached, so it must not move the random numbers that initial weights come from.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = timm.create_model(architecture, num_classes=2, img_size=_for_timm(image_size)).eval()
            model(torch.zeros(1, 3, *image_size))
    except Exception as error:
        # Every family refuses a size with an error of its own, most of them in the forward pass.
        raise ConfigError(
            f"{architecture} takes no images of {image_size_of(image_size)} px ({type(error).__name__}: {error}): set "
            "another dataset.image_size, such as a multiple of its patch size."
        ) from error


def _load_file(model: nn.Module, architecture: str, weights: str) -> None:
    path = Path(weights)
    if not path.is_file():
        raise UnavailableError(f"weights {weights!r} is no file: give scratch, imagenet or the path of a .safetensors.")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    given = read_weights(path)
    tensors = {name: tensor for name, tensor in given.items() if shapes.get(name) == tensor.shape}
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]  # every timm model has it
    own = {id(parameter) for parameter in classifier.parameters()}
    classifier_names = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    missing = shapes.keys() - tensors.keys() - classifier_names
    if missing:
        fitting = nearest(given, architecture, architectures(), lambda name: build_for(name, given, image_size=None))
        hint = f"It fits {fitting}." if fitting else "Is it of another architecture, or of another image size?"
        raise ConfigError(
            f"{path} does not fit {architecture}: {len(missing)} tensors lack or have another shape, such as "
            f"{min(missing)}. {hint}"
        )
    model.load_state_dict(tensors, strict=False)


def build_for(architecture: str, tensors: Mapping[str, Tensor], *, image_size: tuple[int, int] | None) -> nn.Module:
    """Builds a timm network with as many classes as the classifier among some tensors has, if it is there."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    names = getattr(config, "classifier", None) or ()
    # Distilled transformers have two classifiers of one size.
    first = names if isinstance(names, str) else next(iter(names), "")
    weight = next((tensors[name] for name in (f"{first}.weight", f"{first}.bias") if name in tensors), None)
    return create_backbone(
        architecture, weight.shape[0] if weight is not None and weight.ndim else None, image_size=image_size
    )


def check_weights(architecture: str, weights: str, image_size: tuple[int, int]) -> None:
    """Makes sure that a network can start from some weights, as `create_backbone` would; downloads nothing.

    Raises:
        UnknownNameError: They, or the architecture, have no such name.
        UnavailableError: There is no such file.
        ConfigError: The file is of another kind or architecture, the weights are a URL, or timm has none to download.
    """
    check_architecture(architecture)
    if weights == "scratch":
        return
    if weights == "imagenet":
        config = timm.get_pretrained_cfg(architecture)
        if config is None or not config.has_weights:
            raise ConfigError(f"timm has no pretrained weights of {architecture}: give scratch or a .safetensors file.")
        return
    if "://" in weights:
        raise ConfigError(f"weights {shown(redact(weights))} are a URL: download the file, and give its path.")
    if not Path(weights).is_file() and not re.search(r"[/\\.]", weights):
        raise unknown_name("weights", weights, ("imagenet", "scratch", "FILE.safetensors"))
    with torch.random.fork_rng(devices=[]):
        create_backbone(architecture, 2, weights=weights, image_size=image_size)
