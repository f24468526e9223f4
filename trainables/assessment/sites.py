"""What each site costs under a given allocation: left out, alone, and what its own quantization loses.

*Leave-one-out* is the quantity by which repairs are ranked: how much accuracy returns when this site alone goes back to
full precision. *Alone* is its counterpart: how much is lost when nothing else is quantized.
"""

import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from trainables.quant.quantizable import Quantizable

# B = images, L = sites, K = classes.

BATCH = 32
"""Images per pass: the full-precision activations of a whole batch are held for comparison."""


def measure_sites(
    network: Quantizable,
    images_BCHW: Tensor,
    labels_B: Tensor,
    bit_width_BL: Tensor,
    *,
    sites: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Measures every site of a network under an allocation, in 2 + 2 L passes per image.

    Args:
        network: What is assessed.
        images_BCHW: Normalized images.
        labels_B: Their classes; without labels the network's own full-precision answers.
        bit_width_BL: The allocation, bits in 0..16.
        sites: Which ones to measure; None for all.
        on_progress: Called with the passes of images that are done, and with their total.

    Returns:
        A row per site: site; name; given_back, the accuracy with this site at full precision minus that of the
        allocation; accuracy_alone, with this site quantized only; sqnr_db, the signal-to-noise ratio of its own
        quantization in decibels, over all values, infinite without noise; and share_zeroed, of the values that are not
        zero at full precision those that quantization makes zero.
    """
    chosen = list(range(network.num_sites)) if sites is None else list(sites)
    tallies = {site: _Tally() for site in chosen}
    num_right, done, total = 0, 0, len(labels_B) * (2 + 2 * len(chosen))
    for start in range(0, len(labels_B), BATCH):
        rows = slice(start, start + BATCH)
        batch = _Batch(network, images_BCHW[rows], labels_B[rows], bit_width_BL[rows])
        num_right += batch.num_right(batch.bit_width_BL)
        done += 2 * len(batch.labels_B)
        for site, tally in tallies.items():
            batch.measure(site, tally)
            done += 2 * len(batch.labels_B)
            on_progress(done, total)
    accuracy = num_right / len(labels_B)
    return pd.DataFrame(
        {
            "site": site,
            "name": network.sites[site].name,
            "given_back": tally.num_right_without / len(labels_B) - accuracy,
            "accuracy_alone": tally.num_right_alone / len(labels_B),
            "sqnr_db": tally.sqnr_db,
            "share_zeroed": tally.num_zeroed / max(tally.num_nonzero, 1),
        }
        for site, tally in tallies.items()
    )


class _Tally:
    """Sums over the images that a site has been measured on."""

    def __init__(self) -> None:
        self.num_right_without = self.num_right_alone = self.num_zeroed = self.num_nonzero = 0
        self.signal = self.noise = 0.0

    def add(self, exact: Tensor, quantized: Tensor) -> None:
        self.signal += exact.double().square().sum().item()
        self.noise += (exact.double() - quantized.double()).square().sum().item()
        self.num_nonzero += int((exact != 0).sum())
        self.num_zeroed += int(((exact != 0) & (quantized == 0)).sum())

    @property
    def sqnr_db(self) -> float:
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf


class _Batch:
    """Some images with their full-precision activations."""

    def __init__(self, network: Quantizable, images_BCHW: Tensor, labels_B: Tensor, bit_width_BL: Tensor) -> None:
        self.network, self.images_BCHW, self.labels_B = network, images_BCHW, labels_B
        self.bit_width_BL = bit_width_BL
        self.exact: dict[int, Tensor] = {}
        # No site is quantized, but the weights are: what is left is the noise of the site alone.
        self.num_right(torch.zeros_like(bit_width_BL), lambda site, x: self.exact.update({site: x.clone()}))

    @torch.inference_mode()
    def num_right(self, bit_width_BL: Tensor, show: Callable[[int, Tensor], None] = lambda site, x: None) -> int:
        logits_BK = self.network.observe(self.images_BCHW, bit_width_BL, show)
        return int((logits_BK.argmax(1) == self.labels_B).sum())

    def measure(self, site: int, tally: _Tally) -> None:
        without_BL, alone_BL = self.bit_width_BL.clone(), torch.zeros_like(self.bit_width_BL)
        without_BL[:, site], alone_BL[:, site] = 0, self.bit_width_BL[:, site]

        def compare(shown: int, x: Tensor) -> None:
            if shown == site:
                tally.add(self.exact[site], x)

        tally.num_right_without += self.num_right(without_BL)
        tally.num_right_alone += self.num_right(alone_BL, compare)
