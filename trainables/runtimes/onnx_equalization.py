"""Equalizes the channel links of an ONNX file, as `trainables.models.equalization` does those of a module.

Factors are powers of two, and are left out where they would not come back from the constants' precision, so that the
answers at full precision stay the same to the last bit. Constants that something else reads, too, are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from trainables.quant.exponents import MAX_ROUNDS, exponents
from trainables.runtimes.onnx_links import OnnxLink, OnnxPart, weights_of
from trainables.runtimes.onnxruntime import OnnxNetwork

# C = channels of a link.


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualizedOnnx:
    """A copy of a network with equalized links."""

    network: OnnxNetwork
    num_channels: int
    """Channels that were divided."""
    largest_difference: float
    """Largest change of a full-precision logit on the images it was checked on; 0 is equality to the last bit."""

    @property
    def is_exact(self) -> bool:
        """Whether full precision is unchanged to the last bit."""
        return self.largest_difference == 0


def equalize_onnx(network: OnnxNetwork, images_BCHW: Tensor) -> EqualizedOnnx:
    """Returns an equalized copy of a network.

    Args:
        network: It stays as it is.
        images_BCHW: Normalized images to compare the full-precision logits on; a few are enough.
    """
    weights = weights_of(network.file)
    links = [link for link in network.links() if link.is_scalable]
    changed: set[tuple[str, int]] = set()
    # A layer between two links gets columns from one and rows from the other.
    for _ in range(MAX_ROUNDS):
        is_settled = True
        for link in links:
            exponent_C = exponents(*link.ranges(weights)).numpy()
            scaled, exponent_C = _divided(link, weights, exponent_C)
            if exponent_C.any():
                is_settled = False
                weights |= scaled
                changed |= {(link.name, channel) for channel in np.flatnonzero(exponent_C).tolist()}
        if is_settled:
            break
    equalized = network.with_weights(weights)
    difference = (equalized(images_BCHW) - network(images_BCHW)).abs().max().item()
    return EqualizedOnnx(network=equalized, num_channels=len(changed), largest_difference=difference)


def _divided(
    link: OnnxLink, weights: Mapping[str, np.ndarray], exponent_C: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Divides the channels of a link, and multiplies what reads them.

    Returns:
        The changed constants, and the exponents without those that a constant's precision does not hold.
    """
    parts = [(part, -1) for part in link.multiplied] + [(part, 1) for part in link.reading]
    for part, sign in parts:
        exponent_C = np.where(_comes_back(part, weights, sign * exponent_C), exponent_C, 0)
    return {part.name: part.scaled(weights, 2.0 ** (sign * exponent_C)) for part, sign in parts}, exponent_C


def _comes_back(part: OnnxPart, weights: Mapping[str, np.ndarray], exponent_C: np.ndarray) -> np.ndarray:
    """Tells for every channel whether dividing by the factor again gives the same numbers."""
    with np.errstate(over="ignore", under="ignore"):
        there = {part.name: part.scaled(weights, 2.0**exponent_C)}
        back = part.scaled(there, 2.0**-exponent_C)
    is_lost = (back != weights[part.name]).astype(np.float32)
    lost: np.ndarray = part.maxima({part.name: is_lost})
    return lost == 0
