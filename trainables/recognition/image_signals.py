"""What is known of an image while it is answered, by which answers that quantization has changed can be told.

The early warning of an image costs no label and no full-precision pass: its quantized pass, a second one at uniform
bits of the same budget, and ranges that a quantizer computes anyway, against those of calibration images.

Shape letters: B = images, L = sites, K = classes, C H W = image.
"""

import pandas as pd
import torch
from torch import Tensor

from trainables.attacks.uniform import uniform
from trainables.quant.quantizable import Quantizable
from trainables.recognition.signals import BATCH, few_bits, probabilities

IMAGE_SIGNALS: dict[str, str] = {
    "margin": "probability of the quantized answer minus that of the second class",
    "disagreement": "total variation distance of the probabilities at the given and at uniform bits, in [0, 1]",
    "range_ratio": "largest ratio over the sites of the image's range to the calibration images' median, in bits",
}
"""Signals of an image."""


def image_signals(network: Quantizable, images_BCHW: Tensor, bit_width_BL: Tensor, median_L: Tensor) -> pd.DataFrame:
    """Measures images at given bit-widths.

    Args:
        network: In evaluation mode.
        images_BCHW: Normalized images.
        bit_width_BL: What they are answered at.
        median_L: Median range of every site over calibration images at such bit-widths; see `median_ranges`.

    Returns:
        A row per image: the values of `IMAGE_SIGNALS`, and answer, the class.
    """
    probs_BK = probabilities(network, images_BCHW, bit_width_BL)
    other_BK = probabilities(network, images_BCHW, uniform(len(images_BCHW), few_bits(network)))
    first_B, second_B = probs_BK.topk(2, dim=1).values.unbind(1)
    stretch_BL = ranges(network, images_BCHW, bit_width_BL) / median_L.clamp(min=torch.finfo(torch.float32).tiny)
    return pd.DataFrame(
        {
            "margin": (first_B - second_B).double(),
            "disagreement": ((probs_BK - other_BK).abs().sum(1) / 2).double(),
            "range_ratio": stretch_BL.amax(1).clamp(min=torch.finfo(torch.float32).tiny).log2().double(),
            "answer": probs_BK.argmax(1),
        }
    )


def median_ranges(network: Quantizable, images_BCHW: Tensor, bit_width_BL: Tensor) -> Tensor:
    """Returns the median range of every site over calibration images, [L]."""
    return ranges(network, images_BCHW, bit_width_BL).median(0).values


@torch.inference_mode()
def ranges(network: Quantizable, images_BCHW: Tensor, bit_width_BL: Tensor) -> Tensor:
    """Returns the range of every activation as the quantizer has it, zero included, float32 [B, L] on the CPU."""
    parts = []
    for images, bits in zip(images_BCHW.split(BATCH), bit_width_BL.split(BATCH), strict=True):
        range_BL = torch.zeros(len(images), network.num_sites)

        def show(site: int, x: Tensor, range_BL: Tensor = range_BL) -> None:
            values = x.reshape(len(range_BL), -1)
            range_BL[:, site] = (values.amax(1).clamp(min=0) - values.amin(1).clamp(max=0)).cpu()

        network.observe(images, bits, show)
        parts.append(range_BL)
    return torch.cat(parts)
