"""The passes of a pair's training step as CUDA graphs.

A step launches thousands of small kernels, and a CPU launches them more slowly than a large GPU runs them. A graph
launches a whole pass at once. What lies between the passes stays as it is: losses, the knapsack, the optimizer.
"""

import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.recipes import WHOLE_PAIR, PairRecipe
from trainables.quant.student import QuantizedStudent

# B = examples, K = classes, L = sites, O = bit-width options, C H W = image.

GRAPHS_VARIABLE = "DPTQ_GRAPHS"
_LOGGER = logging.getLogger(__name__)


class OptionsPass(nn.Module):
    """The pass of a student with a gradient for every option, as a module: a graph looks for parameters in one."""

    def __init__(self, student: QuantizedStudent, bit_widths: Sequence[int]) -> None:
        super().__init__()
        self.student = student
        self.bit_widths = tuple(bit_widths)

    def forward(self, images_BCHW: Tensor, selection_BLO: Tensor) -> Tensor:
        """Returns the logits_BK of `QuantizedStudent.forward_options`."""
        return self.student.forward_options(images_BCHW, selection_BLO, self.bit_widths)


def are_wanted(device: torch.device) -> bool:
    """Tells whether passes become graphs: on a GPU, unless `DPTQ_GRAPHS=off`.

    Raises:
        ConfigError: The variable holds another word than on or off.
    """
    match os.environ.get(GRAPHS_VARIABLE):
        case None | "" | "on":
            return device.type == "cuda"
        case "off":
            return False
        case other:
            raise ConfigError(f"{GRAPHS_VARIABLE}={other!r} says neither on nor off: set it to one, or unset it.")


def can_be_captured(recipe: PairRecipe) -> bool:
    """Tells whether passes can become graphs; a log line says why not."""
    if recipe.batch_norm != "frozen":
        reason = f"batch_norm={recipe.batch_norm}: a pass that moves statistics cannot be captured"
    elif set(recipe.train) != set(WHOLE_PAIR):
        reason = f"train={list(recipe.train)}: a pass without a gradient cannot be captured"
    elif recipe.spared_sites:
        reason = f"spared_sites={recipe.spared_sites}: other sites are spared in every step"
    else:
        return True
    _LOGGER.warning("trains without CUDA graphs, more slowly, with %s", reason)
    return False


def capture_passes(policy: nn.Module, quantized: OptionsPass, images_BCHW: Tensor) -> bool:
    """Lets student, policy and quantized pass replay graphs in training mode; in evaluation mode they stay as they are.

    Parameters keep their addresses, so that an optimizer and `load_state_dict` reach the graphs. Batch norm must not
    move its statistics: the passes that warm a capture up would.

    Args:
        policy: Maps images to its output, from which profits are made.
        quantized: The quantized pass; its student is captured at full precision, too.
        images_BCHW: A batch, normalized, of the shape and layout of all batches to come.

    Returns:
        Whether it could be done. A network that waits for the GPU on the way cannot be captured; a log line says so.
    """
    student = quantized.student
    images_BCHW = images_BCHW.clone(memory_format=torch.preserve_format)
    shape = (len(images_BCHW), student.num_sites, len(quantized.bit_widths))
    selection_BLO = torch.zeros(shape, device=images_BCHW.device)
    selection_BLO[..., 0] = 1
    inputs: dict[nn.Module, tuple[Tensor, ...]] = {
        student: (images_BCHW,),
        policy: (images_BCHW,),
        quantized: (images_BCHW, selection_BLO.requires_grad_()),
    }
    # Gradients are made on the stream of the capture and added up on another one, which the engine takes care of.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    for module, example in inputs.items():
        if reason := _why_not(module, example):
            _LOGGER.warning("trains without CUDA graphs, more slowly, since a pass cannot be captured: %s", reason)
            return False
    for module, example in inputs.items():
        # One by one: graphs that are captured together share memory, and may run in that order only.
        torch.cuda.make_graphed_callables(module, example, allow_unused_input=True)
    return True


def _why_not(module: nn.Module, example: tuple[Tensor, ...]) -> str | None:
    """Says what a pass waits for on the way, None where it waits for nothing.

    Asked before any capture, since one that fails leaves the allocator as if it still went on, and memory is then not
    given back.
    """
    # What is made once, such as a table on the device, is made now.
    module(*example).sum().backward()
    mode = torch.cuda.get_sync_debug_mode()
    try:
        torch.cuda.set_sync_debug_mode("error")
        module(*example).sum().backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        module.zero_grad(set_to_none=True)
        for tensor in example:
            tensor.grad = None
    return None
