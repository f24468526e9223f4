"""Looks for channels that stand out of their link: what was scaled there can be taken back without a change."""

import pandas as pd
from torch import nn

from trainables.models.equalization import stretch_exponents
from trainables.models.links import Link, find_links
from trainables.quant.sites import Site


def scan_links(model: nn.Module, sites: list[Site]) -> pd.DataFrame:
    """Measures by the weights how far the outermost channel of every link stands out.

    Args:
        model: A network in evaluation mode.
        sites: Its sites.

    Returns:
        A row per link: link; kind; site, the name of the first one that holds its channels, empty where none does;
        channel, the outermost one, counted in that site; exponent, the power of two by which it stretches the range
        over the link's median channel, as far as equalization can take it back; next_exponent, that of the second.
    """
    columns = ["link", "kind", "site", "channel", "exponent", "next_exponent"]
    return pd.DataFrame([_row(model, link, sites) for link in find_links(model)], columns=columns)


def _row(model: nn.Module, link: Link, sites: list[Site]) -> dict[str, object]:
    exponent_C = stretch_exponents(model, link)
    largest = exponent_C.topk(min(2, link.num_channels))
    return {
        "link": link.name,
        "kind": link.kind,
        "site": sites[link.sites[0]].name if link.sites else "",
        "channel": link.first + int(largest.indices[0]),
        "exponent": int(largest.values[0]),
        "next_exponent": int(largest.values[-1]),
    }
