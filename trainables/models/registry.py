"""TEMPORARY: models writes this."""

from types import SimpleNamespace
from typing import Any

import torch

from search_spaces.models import ModelSpec
from trainables.models.backbones import create_backbone


def open_network(spec: ModelSpec, *, image_size: Any = None, num_classes: int | None = None) -> Any:
    name, _, file = spec.uri.removeprefix("timm:").partition("@")
    torch.manual_seed(0)
    return SimpleNamespace(
        module=create_backbone(name, num_classes or 10, weights=file or "scratch"),
        architecture=name,
        sha256="0" * 64,
        class_names=None,
        view=None,
        num_classes=num_classes,
    )
