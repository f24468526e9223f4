"""`hf:FOLDER`: an image classifier of transformers, from a folder on this machine."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from search_spaces.errors import ConfigError, UnavailableError, one_line
from search_spaces.models import ModelSpec
from search_spaces.names import INTERPOLATIONS
from search_spaces.pixels import Channels
from trainables.data.view import View
from trainables.models.given import Opened, Settings
from trainables.models.weights import refuse_other_files

CONFIG, PREPROCESSOR, WEIGHTS, INDEX = (
    *("config.json", "preprocessor_config.json"),
    *("model.safetensors", "model.safetensors.index.json"),
)
_PRECISION = 1e-9


class Logits(nn.Module):
    """A classifier of transformers as a function of the images alone, whose answer is the logits alone."""

    def __init__(self, network: nn.Module) -> None:
        """Wraps a network, whose state dict it shows under its own names."""
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits [B, K]."""
        logits_BK: Tensor = self.network(pixel_values=images_BCHW).logits
        return logits_BK


def open_hf(spec: ModelSpec) -> Opened:
    """Opens a folder that `save_pretrained` wrote: safetensors only, no code of the folder, no download.

    Args:
        spec: Of kind `hf`.

    Raises:
        UnavailableError: transformers is not installed, or a file is missing.
        ConfigError: The folder holds something else, or prepares images in a way that cannot be followed.
    """
    folder = Path(spec.name)
    for needed in (CONFIG, WEIGHTS if not (folder / INDEX).is_file() else INDEX):
        if not (folder / needed).is_file():
            raise UnavailableError(
                f"{folder} has no {needed}: give a folder that save_pretrained wrote, with weights as safetensors."
            )
    if (folder / WEIGHTS).is_file():
        refuse_other_files(folder / WEIGHTS)
    config = _json(folder / CONFIG)
    if "auto_map" in config:
        raise ConfigError(
            f"{folder} needs Python code of its own (auto_map in {CONFIG}), which is not run: give it as "
            "python:MODULE:FUNCTION."
        )
    network = _load(folder)
    settings = _json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    return Opened(
        module=Logits(network),
        architecture=type(network).__name__,
        settings=Settings(
            view=_view(settings, config, folder),
            interpolation=_interpolation(settings),
            crop=_crop(settings),
            class_names=_class_names(config),
        ),
    )


def _load(folder: Path) -> nn.Module:
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise UnavailableError(
            f"hf: needs transformers ({error}), which is not installed: pip install 'dptq-sweep[hf]'."
        ) from None
    try:
        network, report = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds for what is in a folder
        raise ConfigError(
            f"{folder} cannot be read as an image classifier ({type(error).__name__}: {one_line(error)[:200]})."
        ) from error
    # transformers only warns, and begins with random weights.
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigError(
            f"{folder} lacks {len(missing)} tensors of {type(network).__name__}, such as {missing[0]}: it is of "
            "another task or cut short."
        )
    module: nn.Module = network
    return module


def _view(settings: dict[str, Any], config: dict[str, Any], folder: Path) -> View | None:
    if not settings:
        return None
    factor, offset = settings.get("rescale_factor", 1 / 255), settings.get("rescale_offset", False)
    if not settings.get("do_rescale", True) or offset or abs(factor - 1 / 255) > _PRECISION:
        raise ConfigError(f"{folder / PREPROCESSOR} scales pixels otherwise than by 1/255: give --mean and --std.")
    height, width = _size(settings) or _square_or_pair(config.get("image_size", 224))
    if not settings.get("do_normalize", True):
        return View(height, width, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std = (_channels(settings[name]) for name in ("image_mean", "image_std"))
    return View(height, width, mean, std)


def _square_or_pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, list) else (size, size)
    return height, width


def _channels(values: list[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def _size(settings: dict[str, Any]) -> tuple[int, int] | None:
    """Returns the height and width that the network sees: of the crop if there is one."""
    size = settings.get("crop_size") if settings.get("do_center_crop") else settings.get("size")
    if isinstance(size, int):
        return size, size
    if not isinstance(size, dict):
        return None
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return (size["height"], size["width"]) if "height" in size else None


def _crop(settings: dict[str, Any]) -> float | None:
    """Returns the share of the resized image that is kept."""
    if settings.get("crop_pct"):
        return float(settings["crop_pct"])
    seen, resized = _size(settings), _size({**settings, "do_center_crop": False})
    if not settings.get("do_center_crop") or not seen or not resized:
        return 1.0 if seen else None
    return min(seen[0] / resized[0], 1.0)


def _interpolation(settings: dict[str, Any]) -> str | None:
    if "resample" not in settings:
        return None
    name = Image.Resampling(settings["resample"]).name.lower()
    return name if name in INTERPOLATIONS else None


def _class_names(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Returns the names in order; None where there are but transformers' own placeholders."""
    names = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
    ordered = tuple(names[index] for index in sorted(names))
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(ordered)) else ordered


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no JSON ({one_line(error)[:80]}): copy or download it again.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings: copy or download it again.")
    return content
