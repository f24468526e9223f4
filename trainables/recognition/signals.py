"""What a network shows on unlabelled images, by which one that was made to fail can be told from a healthy one.

No label is needed: what the network answers at full precision stands for it. Allocations have the smallest of the usual
budgets, 4 bits a site, where detrimental pairs fail whichever budget they were trained for.

Shape letters: B = images, C = channels of a site, K = classes, L = sites.
"""

import math

import torch
from torch import Tensor, nn

from search_spaces.budgets import OPTION_SETS, budget_from_average
from trainables.assessment.channel_scan import channel_maxima, scan
from trainables.attacks.space import Space
from trainables.attacks.static import worst_static
from trainables.attacks.uniform import uniform
from trainables.models.equalization import equalize
from trainables.quant.quantizable import Quantizable
from trainables.quant.random_allocation import random_allocations
from trainables.quant.student import QuantizedStudent

NETWORK_SIGNALS: dict[str, str] = {
    "second_ratio": "largest ratio of a site's loudest channel to the second, in bits (log2)",
    "median_ratio": "largest ratio of a site's loudest channel to the median one, in bits",
    "changed_uniform": "share of images whose answer uniform bits change",
    "changed_random": "share of images whose answer random bits change, one draw an image",
    "changed_static": "share of images whose answer the worst static allocation changes, which is searched on others",
    "equalization_gain": "share of images whose answer equalization keeps at that allocation, minus that without it",
}
"""Signals of a network. Those of channels see full precision only; the others are differences between allocations."""
AVERAGE_BITS = 4.0
STATIC_PASSES = 24
"""Of the search for the worst static allocation."""
CHECKED = 8
"""Images on which equalization compares full precision."""
BATCH = 128


def network_signals(
    network: QuantizedStudent, images_BCHW: Tensor, worst_L: Tensor, *, seed: int = 0
) -> dict[str, float]:
    """Measures a network.

    Args:
        network: In evaluation mode, frozen.
        images_BCHW: Unlabelled normalized images.
        worst_L: Its `worst_allocation` on other images.
        seed: Of random bits.

    Returns:
        The values of `NETWORK_SIGNALS`.
    """
    space, channels = few_bits(network), scan(network, images_BCHW.split(BATCH))
    maxima = {site: maxima_BC.amax(0) for site, maxima_BC in channel_maxima(network, images_BCHW.split(BATCH)).items()}
    equalized = _wrapped_like(network, equalize(network.model, images_BCHW[:CHECKED], channel_maxima=maxima).model)
    answers_B, num_images = answers(network, images_BCHW), len(images_BCHW)

    def changed(other: Quantizable, bit_width_BL: Tensor) -> float:
        return (answers(other, images_BCHW, bit_width_BL) != answers_B).double().mean().item()

    worst_BL = worst_L.expand(num_images, -1)
    changed_static = changed(network, worst_BL)
    random_BL = random_allocations(num_images, space.num_sites, space.bit_widths, space.budget, seed)
    return {
        "second_ratio": math.log2(channels["over_second"].max()),
        "median_ratio": math.log2(channels["over_median"].max()),
        "changed_uniform": changed(network, uniform(num_images, space)),
        "changed_random": changed(network, random_BL),
        "changed_static": changed_static,
        "equalization_gain": changed_static - changed(equalized, worst_BL),
    }


def few_bits(network: Quantizable) -> Space:
    """Returns the allocations that signals are measured at: 3 to 10 bits a site, 4 on average."""
    budget = budget_from_average(AVERAGE_BITS, network.num_sites)
    return Space(num_sites=network.num_sites, bit_widths=OPTION_SETS["I"], budget=budget)


def worst_allocation(network: Quantizable, images_BCHW: Tensor, *, seed: int = 0) -> Tensor:
    """Searches, without labels, the one allocation under which most answers change; returns bit_width_L."""
    batches = [(part, answers(network, part)) for part in images_BCHW.split(BATCH)]
    space = few_bits(network)
    return worst_static(network, batches, space, None, max_passes=STATIC_PASSES, seed=seed).bit_width_L


@torch.inference_mode()
def probabilities(network: Quantizable, images_BCHW: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
    """Returns the softmax of the logits, [B, K], on the CPU; at full precision without bit-widths."""
    rows = [None] * len(images_BCHW) if bit_width_BL is None else bit_width_BL.split(BATCH)
    parts = zip(images_BCHW.split(BATCH), rows, strict=False)
    return torch.cat([network(images, bits).float().softmax(1).cpu() for images, bits in parts])


def answers(network: Quantizable, images_BCHW: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
    """Returns the classes_B that a network answers."""
    return probabilities(network, images_BCHW, bit_width_BL).argmax(1)


def _wrapped_like(network: QuantizedStudent, model: nn.Module) -> QuantizedStudent:
    """Returns another model with the same quantizer."""
    student = QuantizedStudent(
        model,
        weight_bit_width=network.weight_bit_width,
        scale_quantile=network.scale_quantile,
        range_scope=network.range_scope,
        sites=network.placement,
    )
    return student.eval().requires_grad_(False)
