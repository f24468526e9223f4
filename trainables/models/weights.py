"""Files of weights: read without running code, and fitted to a network, with one line for whatever is wrong."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from search_spaces.errors import ConfigError, UnavailableError, one_line

# As timm's load_state_dict has them: averaged weights first, since they are what such a training evaluates.
_HOLDERS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Put before every name by DataParallel and averaging, by torch.compile, and by Lightning."""
_ZIP, _PICKLE, _LFS = b"PK\x03\x04", b"\x80", b"version https://git-lfs"
_TORCH_PICKLE = b"\x80\x02"
"""Start of what torch.save wrote before it wrote zip archives."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a network: safetensors, or what `torch.save` wrote, by its content and not by its name.

    A state dict may lie below `state_dict`, `model` and the like; averaged weights (`state_dict_ema`, `model_ema`,
    `ema`) come first. Prefixes that all names share (`module.`, `_orig_mod.`, `model.`) are left out.

    Raises:
        UnavailableError: There is no such file.
        ConfigError: The file is damaged, is something else, or holds Python objects.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise UnavailableError(f"weights {str(path)!r} is {what}: give a .safetensors, .pt or .pth file.")
    start = refuse_other_files(path)
    is_torch = start.startswith((_ZIP, _TORCH_PICKLE)) and not is_safetensors(start)
    tensors = _read_torch(path) if is_torch else _read_safetensors(path)
    return _without_prefixes(tensors)


def refuse_other_files(path: Path) -> bytes:
    """Looks at a file's first bytes and returns them.

    Raises:
        ConfigError: The file is empty, a pointer, a web page, or an archive of another kind.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    text = start.lstrip().lower()
    if not start:
        raise ConfigError(f"{path} is empty: copy or download it again.")
    if start.startswith(_LFS):
        raise ConfigError(f"{path} is a pointer of Git LFS and holds no weights: run `git lfs pull` there.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ConfigError(
            f"{path} is a web page and holds no weights: a download was answered with an error or a form."
        )
    if is_safetensors(start):
        return start
    if start.startswith(_PICKLE) and not start.startswith(_TORCH_PICKLE):
        raise ConfigError(f"{path} is a pickle that torch.save did not write, and reading it would run its code.")
    if start.startswith(_ZIP):
        _refuse_other_archives(path)
    return start


def is_safetensors(start: bytes) -> bool:
    """Tells by a file's first bytes: a header of JSON behind its length, whose bytes may look like anything."""
    return start[8:9] == b"{"


def _refuse_other_archives(path: Path) -> None:
    try:
        names = zipfile.ZipFile(path).namelist()
    except zipfile.BadZipFile:
        raise _damaged(path, "its end is missing") from None
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        raise ConfigError(
            f"{path} is a TorchScript archive, whose code would run: save the state_dict() of its module."
        )
    if any(name.startswith("models/") for name in inside):
        raise ConfigError(f"{path} is an archive of torch.export: save the state_dict() of the module in its place.")
    if "data.pkl" not in inside:
        raise ConfigError(f"{path} is a zip archive, and no checkpoint: give what torch.save wrote, or safetensors.")


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise many kinds for bytes that are missing
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise ConfigError(
                f"{path} holds Python objects ({found[1]}), and reading them would run code of the file: save "
                "model.state_dict() alone, or convert it to safetensors."
            ) from None
        # What torch says of files that it did not write begins with advice to read them unsafely.
        text = one_line(error)
        raise _damaged(path, (text.partition(". ")[2] if "weights_only" in text else text)[:80]) from None
    return _state_dict_of(path, content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, json.JSONDecodeError, ValueError) as error:
        raise ConfigError(
            f"{path} is neither safetensors nor what torch.save wrote, or is cut short ({one_line(error)[:80]})."
        ) from None


def _state_dict_of(path: Path, content: Any) -> dict[str, Tensor]:
    for holder in _HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(holder), Mapping):
            content = content[holder]
            break
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    kind = f"a mapping with {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else "none"
    raise ConfigError(f"{path} holds no state dict ({kind}): save model.state_dict(), or a mapping with it as `model`.")


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # The count of torch's AveragedModel stands beside the network.
    tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    for prefix in _PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is damaged or cut short ({why}): copy or download it again.")
