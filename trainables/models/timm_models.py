"""`timm:NAME[@FILE]`: a timm network with its own pretrained weights, or with those of a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.models import ModelSpec
from trainables.data.view import View
from trainables.models.backbones import architectures, build_for, create_backbone
from trainables.models.fitting import fit
from trainables.models.given import Opened, Settings
from trainables.models.weights import read_weights

CONFIG = "config.json"
"""What timm writes beside weights that it publishes: architecture, `pretrained_cfg`, names of classes."""


def open_timm(spec: ModelSpec, image_size: tuple[int, int] | None) -> Opened:
    """Builds the network, and reads its weights.

    Size, normalization, interpolation and crop are those of the `config.json` beside the file where it is of this
    architecture, else of timm's own `pretrained_cfg`.

    Args:
        spec: Of kind `timm`.
        image_size: Height and width in pixels, for networks that are built for one size; None takes their own.

    Raises:
        UnknownNameError: timm has no such architecture.
        UnavailableError: The weights cannot be downloaded or found.
        ConfigError: The file is damaged, or does not fit the architecture.
    """
    if not spec.file:
        module = create_backbone(spec.name, None, weights="imagenet", image_size=image_size)
        settings = settings_of(_config_of(module), class_names=_imagenet_names(module))
        return Opened(module=module, architecture=spec.name, settings=settings)
    path = Path(spec.file)
    tensors = read_weights(path)
    config = _config_beside(path, spec.name)
    own = settings_of(config.get("pretrained_cfg", {}), class_names=config.get("label_names"))
    module = build_for(spec.name, tensors, image_size=image_size or (own.view.size if own.view else None))
    fit_timm(module, tensors, architecture=spec.name, source=str(path))
    settings = settings_of({**_config_of(module), **config.get("pretrained_cfg", {})}, class_names=own.class_names)
    return Opened(module=module, architecture=spec.name, settings=settings)


def fit_timm(module: nn.Module, tensors: Mapping[str, Tensor], *, architecture: str, source: str) -> None:
    """Puts tensors into a timm network.

    Raises:
        ConfigError: They do not fit; names the timm network that they fit, if one of a near name does.
    """
    fit(
        module,
        tensors,
        architecture=architecture.split(".")[0],
        source=source,
        others=architectures(),
        build=lambda name: build_for(name, tensors, image_size=None),
    )


def settings_of(config: Mapping[str, Any], *, class_names: object = None) -> Settings:
    """Returns what timm's `pretrained_cfg` says of images and classes; what it leaves out is None."""
    size, names = config.get("input_size"), class_names or config.get("label_names")
    view = None
    if size and config.get("mean") and config.get("std"):
        red, green, blue = config["mean"]
        spread = tuple(config["std"])
        view = View(int(size[1]), int(size[2]), (red, green, blue), (spread[0], spread[1], spread[2]))
    return Settings(
        view=view,
        interpolation=config.get("interpolation"),
        crop=config.get("crop_pct"),
        class_names=tuple(map(str, names)) if isinstance(names, list | tuple) else None,
    )


def _config_of(module: nn.Module) -> Mapping[str, Any]:
    config: Any = module.pretrained_cfg
    return {name: value for name, value in config.items() if value is not None}


def _imagenet_names(module: nn.Module) -> tuple[str, ...] | None:
    subset = infer_imagenet_subset(module)
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else None


def _config_beside(path: Path, architecture: str) -> dict[str, Any]:
    """Returns timm's settings beside a file of weights; nothing if there are none, or they are of another network."""
    config = path.with_name(CONFIG)
    try:
        content = json.loads(config.read_text()) if config.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config} beside the weights is no JSON ({error}): correct or remove it.") from None
    if not isinstance(content, dict) or content.get("architecture") != architecture.split(".")[0]:
        return {}
    if content.get("model_args"):
        raise ConfigError(
            f"{config} builds {architecture} with other arguments ({', '.join(content['model_args'])}): give such a "
            "network as python:MODULE:FUNCTION."
        )
    return content
