"""Fits the tensors of a file to a network, and says in one line what does not fit and which network it would."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from trainables.models.fingerprint import is_counter

MAX_TRIED = 24
"""How many architectures of near names an error may try for the one that fits; each takes some 50 ms."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Names of tensors that do not fit, in the network's order."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)


def compare(module: nn.Module, tensors: Mapping[str, Tensor]) -> Misfit:
    """Returns what a network needs and tensors lack, and the other way round; batch norm's counters may be missing."""
    own = module.state_dict()
    return Misfit(
        missing=tuple(name for name in own if name not in tensors and not is_counter(name)),
        unexpected=tuple(name for name in tensors if name not in own),
        reshaped=tuple(name for name in own if name in tensors and own[name].shape != tensors[name].shape),
    )


def fit(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    architecture: str,
    source: str,
    others: Iterable[str] = (),
    build: Callable[[str], nn.Module] | None = None,
) -> None:
    """Puts the tensors of a file into a network.

    Args:
        module: Takes them, in its own dtype.
        tensors: By the network's names.
        architecture: Name of the network, for the error.
        source: Where the tensors come from, for the error.
        others: Architectures that the error may name if one of them fits.
        build: Builds one of `others`.

    Raises:
        ConfigError: A tensor is missing, is not the network's, or has another shape.
    """
    misfit = compare(module, tensors)
    if misfit:
        own = module.state_dict()
        if channels := _channels_if_first(own, tensors, misfit):
            raise ConfigError(
                f"{source} holds a {architecture} for images of {channels} channel{'s' if channels > 1 else ''}; "
                "images here have 3 (red, green, blue): give a network for three."
            )
        found = nearest(tensors, architecture, others, build) if build else None
        hint = f"It fits {found}." if found else _size_hint(misfit) or "Is it of another architecture?"
        raise ConfigError(f"{source} does not fit {architecture}: {_counts(misfit, own, tensors)}. {hint}")
    module.load_state_dict(dict(tensors), strict=False)


def _counts(misfit: Misfit, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    parts = []
    if misfit.missing:
        parts.append(f"{_tensors(misfit.missing)} missing (such as {misfit.missing[0]})")
    if misfit.unexpected:
        parts.append(f"{_tensors(misfit.unexpected)} not of this network (such as {misfit.unexpected[0]})")
    if misfit.reshaped:
        name = misfit.reshaped[0]
        shapes = f"{list(tensors[name].shape)} in place of {list(own[name].shape)}"
        parts.append(f"{_tensors(misfit.reshaped)} of another shape (such as {name}: {shapes})")
    return ", ".join(parts)


def _tensors(names: tuple[str, ...]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _channels_if_first(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], misfit: Misfit) -> int | None:
    """Returns the channels of the file's first convolution where that is all that differs."""
    first = next((name for name, tensor in own.items() if tensor.ndim == 4 and name in tensors), None)
    if first is None or misfit.missing or misfit.unexpected or misfit.reshaped != (first,):
        return None
    (out, channels, *kernel), (own_out, _, *own_kernel) = tensors[first].shape, own[first].shape
    return channels if (out, kernel) == (own_out, own_kernel) else None


def _size_hint(misfit: Misfit) -> str:
    is_position = all("pos_embed" in name or "position" in name or "attn_mask" in name for name in misfit.reshaped)
    if misfit.reshaped and is_position and not misfit.missing and not misfit.unexpected:
        return "It was made for images of another size: give it as --image-size."
    return ""


def nearest(
    tensors: Mapping[str, Tensor], architecture: str, others: Iterable[str], build: Callable[[str], nn.Module]
) -> str | None:
    """Returns one of some other architectures, of a near name, that the tensors fit."""
    names = [name for name in others if name != architecture]
    for name in difflib.get_close_matches(architecture, names, n=MAX_TRIED, cutoff=0.3):
        try:
            # Shapes only: nothing is allocated, and no random number is drawn.
            with torch.device("meta"):
                misfit = compare(build(name), tensors)
        except Exception:  # only a hint: some architectures cannot be built without memory
            continue
        if not misfit:
            return name
    return None
