"""What is measured of the network itself: where it loses, which channels carry ranges, and what repairs it.

Sites and repairs are chosen on images of the validation split, under one allocation that makes the network fail: 8 bits
everywhere where that costs more than `FAILS`, or else 4 bits everywhere. Repairs are measured on test images.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from search_spaces.stages.assessment import INT8
from trainables.assessment.channel_scan import scan
from trainables.assessment.cure_files import (
    as_json,
    modelopt_rules,
    onnxruntime_exclusions,
    our_yaml,
    torchao_exclusions,
)
from trainables.assessment.cures import Cure, measure_cures, smallest_sites, standard_cures
from trainables.assessment.ladder import Measured
from trainables.assessment.link_scan import scan_links
from trainables.assessment.sites import measure_sites
from trainables.assessment.subject import Images, Network, Subject, logits
from trainables.assessment.verdict import LEAST_EXPONENT
from trainables.quant.sites import Site
from trainables.runtimes.onnxruntime import OnnxNetwork

FAILS = 0.02
"""Loss of accuracy from which on there is something to repair."""
FEW_BITS = 4
"""Bits of every site where 8 do no harm: the smallest of the usual budgets."""
MOST_SITES = 8
"""Largest number of sites that a repair leaves out: more of them are another format."""


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


def measure_repairs(
    subject: Subject, sites: pd.DataFrame, links: pd.DataFrame, num_images: int
) -> dict[str, pd.DataFrame]:
    """Returns the repairs with their accuracies on the test images, and their configuration files; none if all is well.

    The columns are name, kind, the accuracies `uniform` and `full_precision`, and the files ours, onnxruntime, torchao
    and modelopt, empty where a tool cannot express the repair.
    """
    network, bits, few = subject.network, int(sites["bits"].iloc[0]), subject.selection.first(num_images)

    def accuracy(images: Images, repaired: Network, bits: int) -> float:
        bit_width_BL = torch.full((len(images), repaired.num_sites), bits, dtype=torch.int64) if bits else None
        return (logits(repaired, images, bit_width_BL).argmax(dim=-1) == images.labels_B).double().mean().item()

    full, failing = accuracy(few, network, 0), accuracy(few, network, bits)
    columns = ["name", "kind", "uniform", "full_precision", "ours", "onnxruntime", "torchao", "modelopt"]
    # What was rescaled can be undone, whether it does harm here or not.
    is_scaled = bool((links["exponent"] >= LEAST_EXPONENT).any())
    if full - failing <= FAILS and not is_scaled:
        return {"cures": pd.DataFrame(columns=columns)}
    ranking = sites.sort_values("given_back", ascending=False, kind="stable")["site"].tolist()
    some_BCHW = few.read(0, min(len(few), 8))
    # A file's sites can be spared; its weights and its quantizer stay as they are.
    cures = [] if isinstance(network, OnnxNetwork) else standard_cures(network.range_scope)
    for width in (0, INT8)[: 1 + (bits < INT8)] if full - failing > FAILS else ():
        found = smallest_sites(
            network,
            some_BCHW,
            ranking,
            lambda repaired: accuracy(few, repaired, bits),
            target=full - FAILS,
            bit_width=width,
            most=MOST_SITES,
        )
        cures += [found] if found else []
    measures = {
        "uniform": lambda repaired: accuracy(subject.test, repaired, bits),
        "full_precision": lambda repaired: accuracy(subject.test, repaired, 0),
    }
    measured = measure_cures(network, some_BCHW, cures, measures)
    return {"cures": pd.DataFrame([_cure_row(cure, network) for cure in measured], columns=columns)}


def failing_bits(subject: Subject, int8: Measured) -> int:
    """Returns the bits that sites and repairs are measured at."""
    reference = subject.reference
    full = (reference.predictions_B == reference.labels_B).mean()
    eight = (int8.predictions_DB[0] == subject.test.labels_B).double().mean().item()
    return INT8 if full - eight > FAILS else FEW_BITS


def _cure_row(cure: Cure, network: Network) -> dict[str, object]:
    files = {"ours": our_yaml(cure, network.sites)}
    if cure.kind == "sites" and not cure.bit_width:
        spared = [network.sites[site] for site in cure.sites]
        files |= _files(network, spared)
    return {"name": cure.name, "kind": cure.kind, **dict(cure.accuracies), **files}


def _files(network: Network, spared: Sequence[Site]) -> dict[str, str]:
    if isinstance(network, OnnxNetwork):
        return {"onnxruntime": as_json(network.readers(spared))}
    return {
        "onnxruntime": onnxruntime_exclusions(network.model, spared),
        "torchao": torchao_exclusions(network.model, spared),
        "modelopt": modelopt_rules(network.model, spared),
    }
