"""What is measured of the network itself: where it loses, and which channels carry ranges.

Sites are measured on images of the validation split, under one allocation that makes the network fail: 8 bits
everywhere where that costs more than `FAILS`, or else 4 bits everywhere.
"""

import pandas as pd
import torch

from search_spaces.stages.assessment import INT8
from trainables.assessment.channel_scan import scan
from trainables.assessment.ladder import Measured
from trainables.assessment.link_scan import scan_links
from trainables.assessment.sites import measure_sites
from trainables.assessment.subject import Network, Subject
from trainables.runtimes.onnxruntime import OnnxNetwork

FAILS = 0.02
"""Loss of accuracy from which on there is something to repair."""
FEW_BITS = 4
"""Bits of every site where 8 do no harm: the smallest of the usual budgets."""


def measure_channels(subject: Subject, num_images: int) -> dict[str, pd.DataFrame]:
    """Returns the channel scan of the sites, and that of the links by the weights."""
    batches = (images_BCHW for _, images_BCHW in subject.selection.first(num_images).batches())
    channels = scan(subject.network, batches)
    return {"channels": channels, "links": _links(subject.network)}


def _links(network: Network) -> pd.DataFrame:
    if isinstance(network, OnnxNetwork):
        return scan_links(network, network.sites)
    return scan_links(network.model, network.sites, network.placement)


def measure_all_sites(subject: Subject, int8: Measured, num_images: int) -> dict[str, pd.DataFrame]:
    """Returns what every site costs under the allocation that makes the network fail."""
    images, bits = subject.selection.first(num_images), failing_bits(subject, int8)
    bit_width_BL = torch.full((len(images), subject.network.num_sites), bits, dtype=torch.int64)
    table = measure_sites(subject.network, images.all(), images.labels_B, bit_width_BL)
    return {"sites": table.assign(bits=bits)}


def failing_bits(subject: Subject, int8: Measured) -> int:
    """Returns the bits that sites and repairs are measured at."""
    reference = subject.reference
    full = (reference.predictions_B == reference.labels_B).mean()
    eight = (int8.predictions_DB[0] == subject.test.labels_B).double().mean().item()
    return INT8 if full - eight > FAILS else FEW_BITS
