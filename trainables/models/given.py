"""A network that is given, whoever trained it: what is known of it, and the checks that let it in.

Everything behind this door takes normalized float images [B, 3, H, W] and gives logits [B, K], is frozen and in
evaluation mode, has finite weights and at least one site, and gives the same answers traced as it does untraced.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, one_line
from trainables.data.view import View
from trainables.models.fingerprint import state_sha256
from trainables.models.fixed_shapes import with_fixed_shapes
from trainables.quant.sites import find_sites
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnxruntime import OnnxNetwork

# B = images, K = classes, C H W = image.

DEFAULT_SIZE = (224, 224)
"""Height and width in pixels of the images of a check, where neither network nor user name a size."""
TOLERANCE = 1e-3
"""Largest difference of a traced network's logits, as a share of their largest: another order of sums, no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a network says of the images that it wants and of its classes; None where it does not say."""

    view: View | None = None
    """Size and normalization."""
    interpolation: str | None = None
    """How images are resized: `nearest`, `bilinear`, `bicubic` or `lanczos`."""
    crop: float | None = None
    """Share of the resized image's shorter side that the network sees, in (0, 1]."""
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What a kind of network gives before anything is checked."""

    module: nn.Module
    """Maps images to logits."""
    architecture: str
    """Name of the architecture, or of the module's class."""
    settings: Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenNetwork:
    """A network with its preprocessing, its class names and its fingerprint."""

    uri: str
    """Canonical URI, as in `ModelSpec`."""
    architecture: str
    """Name of the architecture, or of the module's class."""
    sha256: str
    """Fingerprint of the weights (`trainables.models.fingerprint`), in hex."""
    module: nn.Module
    """Maps normalized float images [B, 3, H, W] to logits [B, K]; frozen, in evaluation mode, on the CPU."""
    view: View | None
    """Size and normalization that it wants; None where it does not say."""
    interpolation: str | None
    """How it wants images resized; None where it does not say."""
    crop: float | None
    """Share of the resized image's shorter side that it wants to see, in (0, 1]; None where it does not say."""
    class_names: tuple[str, ...] | None
    """Names of its classes in its order; None where it does not say."""
    num_classes: int
    """Number of classes, K."""


def give(opened: Opened, *, uri: str, image_size: tuple[int, int] | None = None) -> GivenNetwork:
    """Checks a network and hands it on.

    Args:
        opened: The network; its module is frozen, and turned to evaluation mode and float32.
        uri: Canonical URI.
        image_size: Height and width in pixels of the images that it is to run on; None takes its own.

    Raises:
        ConfigError: Weights are not finite, the network takes other images or gives no logits, cannot be traced or
            has no site, or its names are not as many as its classes.
    """
    module, settings = opened.module.float().eval().requires_grad_(False), opened.settings
    _check_finite(module, uri)
    view = settings.view
    if view and image_size:
        view = replace(view, height=image_size[0], width=image_size[1])
    size = image_size or (view.size if view else DEFAULT_SIZE)
    num_classes = _check_answers(module, uri, size)
    # A file of another runtime finds its sites itself.
    module = module if isinstance(module, OnnxNetwork) else _with_sites(module, uri, size)
    names = settings.class_names
    if names is not None and len(names) != num_classes:
        raise ConfigError(
            f"model {uri} has {num_classes} classes and {len(names)} names of classes: correct its names."
        )
    return GivenNetwork(
        uri=uri,
        architecture=opened.architecture,
        sha256=fingerprint(module),
        module=module,
        view=view,
        interpolation=settings.interpolation,
        crop=settings.crop,
        class_names=names,
        num_classes=num_classes,
    )


def _check_finite(module: nn.Module, uri: str) -> None:
    floats = {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    bad = [name for name, tensor in floats.items() if not tensor.isfinite().all()]
    if bad:
        raise ConfigError(
            f"model {uri} has NaN or infinite weights in {len(bad)} of {len(floats)} tensors, such as {bad[0]}: "
            "its training diverged, or the file is damaged."
        )


def _check_answers(module: nn.Module, uri: str, size: tuple[int, int]) -> int:
    """Runs two images of noise through the network, and returns the number of classes."""
    channels = _first_channels(module)
    if channels not in (3, None):
        raise ConfigError(
            f"model {uri} takes images of {channels} channel{'s' if channels > 1 else ''}; images here have 3 (red, "
            "green, blue): give a network for three."
        )
    images_BCHW = _noise(2, size)
    with torch.no_grad():
        try:
            logits_BK: object = module(images_BCHW)
        except Exception as error:  # the user's own code, or a layer that wants another size
            raise ConfigError(
                f"model {uri} cannot run on images of 3x{size[0]}x{size[1]} ({type(error).__name__}: "
                f"{one_line(error)[:200]}): give the size that it takes as --image-size."
            ) from error
        if not isinstance(logits_BK, Tensor) or logits_BK.ndim != 2 or logits_BK.shape[0] != 2:
            raise ConfigError(
                f"model {uri} answers two images with {_kind(logits_BK)} in place of logits [2, K]: wrap it in a "
                "module that returns the logits alone."
            )
    if not logits_BK.isfinite().all():
        raise ConfigError(f"model {uri} answers images of noise with NaN or infinite logits: its training diverged.")
    return logits_BK.shape[1]


def _with_sites(module: nn.Module, uri: str, size: tuple[int, int]) -> nn.Module:
    """Returns the network, or what it is on images of one size where only that can be traced.

    Raises:
        ConfigError: Neither can be traced, there is no site, or the trace gives other logits.
    """
    traceable = module
    try:
        find_sites(module)
    except ConfigError as error:
        try:
            traceable = with_fixed_shapes(module, size)
            find_sites(traceable)
        except ConfigError:
            raise ConfigError(f"model {uri}: {error}") from error
    # Another number of images than the trace may have seen: a number that it built in would show.
    images_BCHW = _noise(3, size)
    with torch.no_grad():
        logits_BK = module(images_BCHW)
        traced_BK = QuantizedStudent(traceable).eval().observe(images_BCHW, None, lambda index, x: None)
    if (traced_BK - logits_BK).abs().max() > TOLERANCE * logits_BK.abs().max().clamp(min=1):
        raise ConfigError(
            f"model {uri} gives other logits when traced than when called, so its sites cannot be trusted: choose a "
            "model whose forward pass does not depend on hooks, randomness or the values of tensors."
        )
    return traceable


def _noise(num_images: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(num_images, 3, *size, generator=torch.Generator().manual_seed(0))


def _first_channels(module: nn.Module) -> int | None:
    """Returns the channels that the first convolution takes; None where a network begins with something else."""
    first = next((each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)), None)
    return first.in_channels if isinstance(first, nn.Conv2d) else None


def _kind(answer: object) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {list(answer.shape)}"
    if isinstance(answer, dict):
        return f"a {type(answer).__name__} ({', '.join(map(str, answer))})"
    return f"a {type(answer).__name__}"


def fingerprint(network: nn.Module) -> str:
    """Returns the fingerprint of a network in hex: of its state dict, or of graph and weights of an ONNX file."""
    return network.sha256 if isinstance(network, OnnxNetwork) else state_sha256(network.state_dict())
