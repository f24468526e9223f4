"""Looks for channels that stand out of their link: what was scaled there can be taken back without a change."""

import pandas as pd
from torch import Tensor, nn

from search_spaces.names import SitePlacement
from trainables.models.equalization import stretch_exponents, weight_ranges
from trainables.models.links import Link, find_links
from trainables.quant.sites import Site
from trainables.runtimes.onnx_links import OnnxLink, Weights, weights_of
from trainables.runtimes.onnxruntime import OnnxNetwork

# C = channels of a link.

COLUMNS = ("link", "kind", "site", "channel", "exponent", "next_exponent")


def scan_links(model: nn.Module, sites: list[Site], placement: SitePlacement = "outputs") -> pd.DataFrame:
    """Measures by the weights how far the outermost channel of every link stands out.

    Args:
        model: A network in evaluation mode.
        sites: Its sites.
        placement: Where they are.

    Returns:
        A row per link: link; kind; site, the name of the first one that holds its channels, empty where none does;
        channel, the outermost one, counted in that site; exponent, the power of two by which it stretches the range
        over the link's median channel, as far as equalization can take it back; next_exponent, that of the second.
    """
    if isinstance(model, OnnxNetwork):
        weights = weights_of(model.file)
        rows = [_onnx_row(weights, link) for link in model.links()]
    else:
        rows = [_row(model, link, sites) for link in find_links(model, placement)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _onnx_row(weights: Weights, link: OnnxLink) -> dict[str, object]:
    begin_C, end_C = link.ranges(weights)
    exponent_C = stretch_exponents(begin_C, end_C)
    return {"link": link.name, "kind": link.kind, "site": link.site, **_outermost(exponent_C, 0)}


def _row(model: nn.Module, link: Link, sites: list[Site]) -> dict[str, object]:
    site, first = sites[link.sites[0]].name if link.sites else "", link.first
    begin_C, end_C = weight_ranges(model, link)
    return {"link": link.name, "kind": link.kind, "site": site, **_outermost(stretch_exponents(begin_C, end_C), first)}


def _outermost(exponent_C: Tensor, first: int) -> dict[str, int]:
    largest = exponent_C.topk(min(2, len(exponent_C)))
    return {
        "channel": first + int(largest.indices[0]),
        "exponent": int(largest.values[0]),
        "next_exponent": int(largest.values[-1]),
    }
