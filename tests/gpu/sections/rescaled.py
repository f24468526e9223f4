"""A network that fails under quantization without any training: a channel times 2^k, its next weights over 2^k.

Behind batch norm and ReLU a power of two passes through to the next convolution, where its inverse cancels it to the
last bit; the range of the activation has grown by it meanwhile, and all other channels fall onto few levels.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import paper
from search_spaces.budgets import OPTION_SETS
from tests.gpu.jobs import Context
from trainables.data.images import TEST, ImageData
from trainables.evaluation import classify, classify_quantized
from trainables.memory_format import place
from trainables.quant.knapsack import bit_widths_of, select
from trainables.quant.student import QuantizedStudent

# B = examples, L = sites.

EXPONENTS = (4, 6, 8, 10)
CELL: tuple[str, str] = ("II", "B")


def measure_rescaled(white_box: nn.Module, data: ImageData, context: Context) -> list[dict[str, Any]]:
    """Measures the white box as it is and rescaled, in one link and in all: exact, at 8 bits, at uniform bits."""
    rows = [_row("as it is", white_box, white_box, data, context)]
    num_links = len(_links(white_box))
    for exponent in EXPONENTS[-1:] if context.is_tiny else EXPONENTS:
        for number in (1, num_links):
            scaled = rescaled(white_box, exponent, number)
            rows.append(_row(f"2^{exponent} in {number} links", scaled, white_box, data, context))
    return rows


def rescaled(network: nn.Module, exponent: int, num_links: int) -> nn.Module:
    """Returns a copy whose first links carry one channel scaled by a power of two."""
    network = copy.deepcopy(network)
    factor = 2.0**exponent
    with torch.no_grad():
        for norm, conv in _links(network)[:num_links]:
            channel = int(norm.weight.abs().argmax())
            norm.weight[channel] *= factor
            norm.bias[channel] *= factor
            conv.weight[:, channel] /= factor
    return network


def _links(network: nn.Module) -> list[tuple[Any, Any]]:
    """Returns the pairs of batch norm and convolution with nothing but a ReLU between them: one in every block."""
    blocks = [block for layer in (network.layer1, network.layer2, network.layer3, network.layer4) for block in layer]
    return [(block.bn1, block.conv2) for block in blocks]


def _row(name: str, network: nn.Module, original: nn.Module, data: ImageData, context: Context) -> dict[str, Any]:
    device, split = context.device, data.splits[TEST]
    student = QuantizedStudent(place(copy.deepcopy(network), device)).eval()
    with torch.inference_mode():
        exact = classify(student, split, data.view)
        expected = classify(place(copy.deepcopy(original), device), split, data.view)
    accuracies = {
        at: classify_quantized(student, split, data.view, bit_width_BL.to(device)).accuracy
        for at, bit_width_BL in _allocations(len(split), student.num_sites).items()
    }
    return {
        "network": name,
        "accuracy_fp": exact.accuracy,
        "largest_difference_of_a_logit": (exact.logits_BK - expected.logits_BK).abs().max().item(),
        **accuracies,
    }


def _allocations(num_images: int, num_sites: int) -> dict[str, Tensor]:
    """Returns the bit_width_BL of 8 bits everywhere, and the most even one of the paper's example."""
    option_set, level = CELL
    widths = OPTION_SETS[option_set]
    # With equal profits the knapsack takes the most even allocation.
    even_1L = bit_widths_of(
        select(torch.zeros(1, num_sites, len(widths)), widths, paper.total_bits("resnet18", option_set, level)), widths
    )
    eight_1L = torch.full_like(even_1L, 8)
    return {
        "accuracy_at_8_bits": eight_1L.expand(num_images, -1),
        "accuracy_uniform": even_1L.expand(num_images, -1),
    }
