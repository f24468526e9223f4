"""The fingerprint of a network: equal exactly when the weights that it runs with are.

It is made of the loaded module's state dict and not of a file's bytes, so that one network read from two files
(safetensors or torch, whole training checkpoint or weights alone, float16 or its values in float32) has one
fingerprint. Names, dtypes, shapes and bytes count, in the order of the names. Counters of batch norm
(`num_batches_tracked`) do not: evaluation never reads them, and some files leave them out. Code does not count either:
the architecture is named in the URI, and a network from Python code is known by its weights only.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

COUNTER = "num_batches_tracked"
"""Last part of the names of batch norm's counters of batches."""


def state_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Returns the checksum of a state dict, in hex.

    Examples:
        >>> a, b = torch.zeros(2), torch.ones(2)
        >>> state_sha256({"a": a, "b": b}) == state_sha256({"b": b, "a": a}) != state_sha256({"a": b, "b": a})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if is_counter(name):
            continue
        tensor = tensors[name].detach().cpu().contiguous()
        # A line of its own per tensor; names hold no line breaks.
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def is_counter(name: str) -> bool:
    """Tells whether a tensor of this name counts batches and has no part in the answers."""
    return name.rpartition(".")[2] == COUNTER
