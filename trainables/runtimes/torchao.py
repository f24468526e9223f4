"""torchao's dynamic int8, where it is installed: the Linear layers of a network, exported with `torch.export`.

`Int8DynamicActivationInt8WeightConfig` quantizes what a Linear layer reads to int8, symmetric, with a range per token,
and its weights with one scale per output. It has no dynamic int8 of convolutions.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.errors import one_line
from trainables.quant.quantizable import Quantizable
from trainables.quant.sites import LAYER_KINDS
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.quiet import quietly

IS_INSTALLED = importlib.util.find_spec("torchao") is not None


@dataclass(frozen=True, slots=True)
class LinearInt8:
    """What torchao can do with a network."""

    note: str
    """One line: how many layers it quantizes, or why none."""
    run: Callable[[Tensor], np.ndarray] | None
    """Returns logits_BK of one image; None where it quantizes no layer."""


def linear_int8(network: Quantizable, size: tuple[int, int]) -> LinearInt8 | None:
    """Quantizes a copy of a network with torchao; None where torchao is not installed.

    Args:
        network: In evaluation mode, on the CPU.
        size: Height and width of the images, in pixels.
    """
    if not IS_INSTALLED:
        return None
    if not isinstance(network, QuantizedStudent):
        return LinearInt8("torchao quantizes modules of torch; this is an ONNX file.", None)
    layers = [layer for layer in network.model.modules() if isinstance(layer, LAYER_KINDS)]
    num_linear = sum(isinstance(layer, nn.Linear) for layer in layers)
    note = f"torchao's dynamic int8 quantizes Linear layers: {num_linear} of the {len(layers)} layers of this network."
    if not num_linear:
        return LinearInt8(note, None)
    try:
        return LinearInt8(note, _exported(network.model, size))
    # Its errors have no common class but Exception.
    except Exception as error:
        return LinearInt8(f"{note} It cannot run it: {type(error).__name__}: {one_line(error)[:200]}.", None)


def _exported(model: nn.Module, size: tuple[int, int]) -> Callable[[Tensor], np.ndarray]:
    with quietly("torch.utils._pytree"), torch.inference_mode(False), torch.no_grad():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        own = copy.deepcopy(model).eval()
        quantize_(own, Int8DynamicActivationInt8WeightConfig())
        program = torch.export.export(own, (torch.zeros(1, 3, *size),)).module()

    def run(images_BCHW: Tensor) -> np.ndarray:
        with torch.inference_mode(False), torch.no_grad():
            return np.asarray(program(images_BCHW.clone()))

    return run
