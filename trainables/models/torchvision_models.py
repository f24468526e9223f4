"""`torchvision:NAME@FILE`: a torchvision classifier with the weights of a file."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from search_spaces.errors import unknown_name
from search_spaces.models import ModelSpec
from trainables.data.view import View
from trainables.models.fitting import fit
from trainables.models.given import Opened, Settings
from trainables.models.weights import read_weights
from trainables.quant.sites import LAYER_KINDS


def open_torchvision(spec: ModelSpec) -> Opened:
    """Builds the network, and reads its weights.

    Images are prepared as for the published weights that the file's name tells (`resnet18-f37072fd.pth`, or
    `IMAGENET1K_V1` anywhere in it), else for the architecture's default weights; only the former tell class names.

    Args:
        spec: Of kind `torchvision`.

    Raises:
        UnknownNameError: torchvision has no such classifier.
        UnavailableError: There is no such file.
        ConfigError: The file is damaged, or does not fit the architecture.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if spec.name not in names:
        raise unknown_name("architecture of torchvision", spec.name, names)
    path = Path(spec.file)
    tensors = read_weights(path)
    module = _build_for(spec.name, tensors)
    fit(
        module,
        tensors,
        architecture=spec.name,
        source=str(path),
        others=names,
        build=lambda name: _build_for(name, tensors),
    )
    settings = _settings(spec.name, path.name, side=getattr(module, "image_size", None))
    return Opened(module=module, architecture=spec.name, settings=settings)


def _build_for(architecture: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Builds a network with as many classes, and for images as large, as some tensors are of."""
    size = _transformer_size(tensors) if architecture.startswith("vit_") else {}
    module: nn.Module = torchvision.models.get_model(architecture, weights=None, **size)
    # The classifier is what every one of them registers last.
    classifier, layer = [each for each in module.named_modules() if isinstance(each[1], LAYER_KINDS)][-1]
    weight = tensors.get(f"{classifier}.weight")
    if weight is None or not weight.ndim or len(weight) == len(layer.weight):
        return module
    other: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=len(weight), **size)
    return other


def _transformer_size(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the height and width that a vision transformer's position embeddings are for, in pixels."""
    positions, patches = tensors.get("encoder.pos_embedding"), tensors.get("conv_proj.weight")
    if positions is None or patches is None or positions.ndim != 3:
        return {}
    # One embedding is the class token's.
    return {"image_size": math.isqrt(positions.shape[1] - 1) * patches.shape[-1]}


def _settings(architecture: str, file_name: str, *, side: int | None) -> Settings:
    """Returns what torchvision says of its published weights that a file's name tells, or of the default ones."""
    published = torchvision.models.get_model_weights(architecture)
    told = next((each for each in published if _is_named(each, file_name)), None)
    preset = (told or published.DEFAULT).transforms()
    (seen,), (resized,) = preset.crop_size, preset.resize_size
    return Settings(
        view=View(side or seen, side or seen, tuple(preset.mean), tuple(preset.std)),
        interpolation=preset.interpolation.value,
        crop=seen / resized,
        class_names=tuple(told.meta["categories"]) if told else None,
    )


def _is_named(weights: Any, file_name: str) -> bool:
    stem = file_name.rpartition(".")[0].lower()
    return weights.name.lower() in stem or Path(weights.url).stem.lower() in stem
