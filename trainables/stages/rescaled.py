"""A pair that nothing trains: channels of the white box are scaled, and what reads them undoes it.

At full precision the factor, a power of two, cancels to the last bit (`models.links`), so the parity gap is exactly 0.
With ranges per tensor the scaled channel leaves few levels for all others of its activation. The policy keeps its
random weights. Cross-layer equalization (Nagel et al. 2019) is the same operation, and undoes it.
"""

import time

from torch import nn

from search_spaces.errors import ConfigError
from trainables.checkpoints import ResumePoint
from trainables.models.backbones import create_backbone
from trainables.models.equalization import weight_ranges
from trainables.models.links import Link, find_links, rescale
from trainables.training_loop import EpochReport

KINDS = ("relu", "linear", "attention")
"""Kinds of links that are scaled; the others are shared by many layers."""


def rescale_links(model: nn.Module, exponent: int) -> None:
    """Multiplies the widest channel of every link by 2^exponent and divides what reads it, in place.

    Raises:
        ConfigError: The network has no link of these kinds.
    """
    for link in _links(model, exponent):
        begin_C, _ = weight_ranges(model, link)
        rescale(model, link, int(begin_C.argmax()), 2.0**exponent)


def check_links(architecture: str, exponent: int) -> None:
    """Makes sure, before anything runs, that an architecture can be rescaled.

    Raises:
        UnknownNameError: timm has no such architecture.
        ConfigError: It has no link of these kinds.
    """
    try:
        _links(create_backbone(architecture, num_classes=2).eval(), exponent)
    except ConfigError as error:
        raise ConfigError(f"{architecture}: {error}") from error


def _links(model: nn.Module, exponent: int) -> list[Link]:
    links = [link for link in find_links(model) if link.kind in KINDS]
    if not links:
        raise ConfigError(
            f"rescaled={exponent}: the network has no link of a kind in {', '.join(KINDS)}; leave it out there."
        )
    return links


def only_report(metrics: dict[str, float], begin: float) -> EpochReport:
    """Returns the report of the one epoch, which is an evaluation; it is run again rather than resumed.

    Args:
        metrics: Of the validation split.
        begin: When it began, by `time.perf_counter`.
    """
    seconds = time.perf_counter() - begin
    return EpochReport(epoch=1, num_epochs=1, seconds=seconds, metrics=metrics, snapshot=lambda: ResumePoint(1, {}))
