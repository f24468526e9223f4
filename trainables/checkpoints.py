"""Tensors to bytes and back, and the state that lets a training go on as if it had never stopped.

Everything is safetensors: no code runs when a checkpoint is read. Random numbers need no state of their own: the
training loop seeds every epoch from the trial's seed and the epoch's number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn, optim

from search_spaces.errors import StorageError

MODULE, OPTIMIZER, EPOCH = "module.", "optimizer.", "epoch"


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serializes named tensors as safetensors."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(content: bytes, *, source: str) -> dict[str, Tensor]:
    """Reads named tensors.

    Args:
        content: What `to_bytes` returned.
        source: Where it comes from, for the error.

    Raises:
        StorageError: The content is cut short or is no safetensors.
    """
    try:
        return load(content)
    except SafetensorError as error:
        raise StorageError(
            f"{source} is no complete safetensors file ({error}). Remove it and launch again."
        ) from error


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors under prefixed names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The state of a training after some whole epochs."""

    epoch: int
    """Number of finished epochs."""
    tensors: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        """Serializes the state as one safetensors file."""
        return to_bytes(self.tensors | {EPOCH: torch.tensor(self.epoch)})

    @staticmethod
    def from_bytes(content: bytes, *, source: str) -> "ResumePoint":
        """Reads a state.

        Raises:
            StorageError: The content is cut short or is no safetensors.
        """
        tensors = from_bytes(content, source=source)
        return ResumePoint(int(tensors.pop(EPOCH)), tensors)


def capture(module: nn.Module, optimizer: optim.Optimizer, epoch: int) -> ResumePoint:
    """Copies the state of a training after `epoch` whole epochs."""
    tensors = with_prefix(MODULE, module.state_dict())
    for index, slots in optimizer.state_dict()["state"].items():
        # SGD holds None for a momentum that has not begun.
        tensors |= {f"{OPTIMIZER}{index}.{name}": value for name, value in slots.items() if value is not None}
    return ResumePoint(epoch, {name: tensor.detach().clone() for name, tensor in tensors.items()})


def restore(point: ResumePoint, module: nn.Module, optimizer: optim.Optimizer) -> None:
    """Puts a state back into a module and an optimizer that were built as before."""
    module.load_state_dict(strip_prefix(MODULE, point.tensors))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in strip_prefix(OPTIMIZER, point.tensors).items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
