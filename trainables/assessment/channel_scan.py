"""Looks for channels that decide on the range of a site: all others then fall on few levels.

A detrimental pair has one by training, a rescaled network by construction, a transformer may have one by nature.
Full-precision passes only, so the scan needs no bit-widths and no labels.
"""

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor

from trainables.quant.quantizable import Quantizable

# B = images, C = channels of a site.

LARGEST_RATIO = 2.0**16
"""Ratios end here: beyond it the other channels are below one step of 16 bits."""


def scan(network: Quantizable, batches: Iterable[Tensor]) -> pd.DataFrame:
    """Measures which channel carries the range of every site.

    Args:
        network: Runs at full precision.
        batches: Normalized images, [B, 3, H, W] each.

    Returns:
        A row per site: site; name; num_channels; channel, the one with the largest mean magnitude; maximum, the mean
        over the images of its largest magnitude; over_second and over_median, the ratios of `maximum` to that of the
        second and of the median channel, at most 65,536, where channels that are silent in all images do not count; and
        carries, the share of images in which it holds the largest magnitude of the site.
    """
    maxima_BC = channel_maxima(network, batches)
    return pd.DataFrame([_row(network, site, maxima_BC[site]) for site in sorted(maxima_BC)])


@torch.inference_mode()
def channel_maxima(network: Quantizable, batches: Iterable[Tensor]) -> dict[int, Tensor]:
    """Returns by index of the site the largest magnitude of every channel in every image, float32 [B, C] on the CPU."""
    parts: dict[int, list[Tensor]] = {}

    def show(site: int, x: Tensor) -> None:
        channels = x.movedim(network.sites[site].channel_axis, 1)
        positions = channels.flatten(2) if x.dim() > 2 else channels[..., None]
        parts.setdefault(site, []).append(positions.abs().amax(2).float().cpu())

    for images_BCHW in batches:
        network.observe(images_BCHW, None, show)
    return {site: torch.cat(part) for site, part in parts.items()}


def _row(network: Quantizable, site: int, maxima_BC: Tensor) -> dict[str, object]:
    mean_C = maxima_BC.double().mean(0)
    channel = int(mean_C.argmax())
    largest = mean_C[channel].item()
    # A silent channel loses nothing to the range of another, so it is not compared.
    others_C = mean_C[(torch.arange(len(mean_C)) != channel) & (mean_C > 0)]
    return {
        "site": site,
        "name": network.sites[site].name,
        "num_channels": len(mean_C),
        "channel": channel,
        "maximum": largest,
        "over_second": _ratio(largest, others_C.max().item() if len(others_C) else largest),
        "over_median": _ratio(largest, mean_C[mean_C > 0].median().item() if largest else 0.0),
        "carries": (maxima_BC.argmax(1) == channel).double().mean().item(),
    }


def _ratio(largest: float, other: float) -> float:
    """Returns a ratio that ends at `LARGEST_RATIO`, and is 1 where all channels are silent."""
    return min(largest / other, LARGEST_RATIO) if largest else 1.0
