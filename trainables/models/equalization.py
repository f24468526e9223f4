"""Cross-layer equalization over channel links (Nagel et al. 2019, section 4.1), with powers of two.

A channel whose range is r1 where a link begins and r2 in the weights that read it can be divided by s = sqrt(r1 / r2):
both ranges are then sqrt(r1 r2). Here s is taken relative to the link's median channel, for a factor that all channels
share changes no quantized value, and is rounded to a power of two, so that the full-precision answers stay the same to
the last bit. A channel that somebody scaled by 2^k has an s that is 2^k times too large: equalization undoes it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.models.channel_graph import norm_axis
from trainables.models.links import Link, find_links, rescale
from trainables.quant.exponents import MAX_ROUNDS, NORM_DEVIATIONS, exponents

# C = channels of a link.


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledChannel:
    """A channel that equalization has divided."""

    link: Link
    channel: int
    exponent: int
    """Power of two that it was divided by; negative where it was too small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Equalized:
    """A copy of a network with equalized links."""

    model: nn.Module
    channels: tuple[ScaledChannel, ...]
    """Every channel that was divided, largest power of two first."""
    largest_difference: float
    """Largest change of a full-precision logit on the images it was checked on; 0 is equality to the last bit."""

    @property
    def is_exact(self) -> bool:
        """Whether full precision is unchanged to the last bit."""
        return self.largest_difference == 0


def equalize(
    model: nn.Module,
    images_BCHW: Tensor,
    *,
    channel_maxima: Mapping[int, Tensor] | None = None,
    least_exponent: int = 1,
) -> Equalized:
    """Returns an equalized copy of a network.

    Args:
        model: An image classifier in evaluation mode; it stays as it is.
        images_BCHW: Normalized images to compare the full-precision logits on; a few are enough.
        channel_maxima: Largest magnitude of every channel, [C], by index of the site, from data
            (`channel_scan.channel_maxima`, over its images). Links through these sites begin with these ranges; the
            others, and all without data, with those of their weights.
        least_exponent: Smallest power of two that is applied. 1 equalizes all that can be; a larger one leaves
            natural differences between channels alone and takes back what stands out.

    Raises:
        ConfigError: The network cannot be traced, or has no site.
    """
    links = find_links(model)
    copied = copy.deepcopy(model)
    totals: dict[tuple[int, int], int] = {}
    maxima = dict(channel_maxima or {})
    for _ in range(MAX_ROUNDS):
        is_settled = True
        for position, link in enumerate(links):
            exponent_C = channel_exponents(copied, link, _activation_range(link, maxima))
            for channel in torch.nonzero(exponent_C.abs() >= least_exponent).flatten().tolist():
                is_settled = False
                exponent = int(exponent_C[channel])
                rescale(copied, link, channel, 2.0**-exponent)
                _rescale_maxima(link, maxima, channel, 2.0**-exponent)
                totals[position, channel] = totals.get((position, channel), 0) + exponent
        if is_settled:
            break
    channels = [
        ScaledChannel(link=links[position], channel=channel, exponent=exponent)
        for (position, channel), exponent in totals.items()
        if exponent
    ]
    with torch.inference_mode():
        difference = (copied(images_BCHW) - model(images_BCHW)).abs().max().item()
    return Equalized(
        model=copied,
        channels=tuple(sorted(channels, key=lambda each: -abs(each.exponent))),
        largest_difference=difference,
    )


class Equalizer:
    """Equalizes a network again and again, in place, as it is trained: for an attacker who knows the repair.

    A training that is held to equalized networks finds nothing that equalization undoes.
    """

    def __init__(self, model: nn.Module) -> None:
        """Finds the links of a network once.

        Raises:
            ConfigError: The network cannot be traced, or has no site.
        """
        was_training = model.training
        self._model, self._links = model, find_links(model.eval())
        model.train(was_training)

    def apply(self, channel_maxima: Mapping[int, Tensor] | None = None) -> None:
        """Divides what stands out by powers of two until nothing does; full precision is the same to the last bit.

        Args:
            channel_maxima: As of `equalize`.
        """
        maxima = {site: each.clone() for site, each in (channel_maxima or {}).items()}
        for _ in range(MAX_ROUNDS):
            is_settled = True
            for link in self._links:
                exponent_C = channel_exponents(self._model, link, _activation_range(link, maxima))
                if not exponent_C.any():
                    continue
                is_settled = False
                factor_C = torch.exp2(-exponent_C.double())
                for part in link.multiplied:
                    part.multiply(self._model, factor_C)
                for part in link.divided:
                    part.multiply(self._model, 1 / factor_C)
                for site in link.sites:
                    if site in maxima:
                        maxima[site][link.first : link.first + link.num_channels].mul_(factor_C.to(maxima[site]))
            if is_settled:
                return


def channel_exponents(model: nn.Module, link: Link, activation_range_C: Tensor | None = None) -> Tensor:
    """Returns the power of two by which each channel of a link stands out, int64 [C].

    0 for a channel that is as the link's median one, and for a channel without any weight, which nothing can equalize.

    Args:
        model: The network of the link.
        link: One of its links.
        activation_range_C: Range of each channel where the link begins; None for what the weights tell of it.
    """
    begin_C = _begin_range(model, link) if activation_range_C is None else activation_range_C.double()
    return exponents(begin_C, _end_range(model, link))


def stretch_exponents(begin_C: Tensor, end_C: Tensor) -> Tensor:
    """Returns the power of two by which each channel of a link stretches its range, int64 [C].

    The smaller of what equalization would divide it by, and of the channel's range against the median range where the
    link begins. A channel that training has let die may have next to no weight where it is read: equalization would
    move it by 2^13 (seen in a published text recognizer), and it stretches nothing.

    Args:
        begin_C: Range of each channel where the link begins, float64.
        end_C: Largest magnitude of the weights that read each channel, float64.
    """
    is_live_C = begin_C > 0
    if not is_live_C.any():
        return torch.zeros(len(begin_C), dtype=torch.int64)
    log_C = begin_C.clamp(min=begin_C[is_live_C].min()).log2()
    range_C = (log_C - log_C[is_live_C].median()).round().to(torch.int64)
    return torch.minimum(exponents(begin_C, end_C), range_C)


def weight_ranges(model: nn.Module, link: Link) -> tuple[Tensor, Tensor]:
    """Returns what the weights tell of the range of each channel where a link begins, and of what reads it."""
    return _begin_range(model, link), _end_range(model, link)


def _end_range(model: nn.Module, link: Link) -> Tensor:
    return torch.stack([part.maxima(model, link.num_channels) for part in link.divided]).amax(0)


def _begin_range(model: nn.Module, link: Link) -> Tensor:
    """Returns what the weights tell of the range of each channel, by the largest of what the link begins at."""
    ranges = []
    parts = {part.parameter: part.maxima(model, link.num_channels) for part in link.multiplied}
    for name, range_C in parts.items():
        owner, _, which = name.rpartition(".")
        if which != "weight":
            continue
        if norm_axis(model.get_submodule(owner)) is not None:
            range_C = NORM_DEVIATIONS * range_C + parts.get(f"{owner}.bias", 0)
        ranges.append(range_C)
    return torch.stack(ranges).amax(0)


def _activation_range(link: Link, maxima: Mapping[int, Tensor]) -> Tensor | None:
    if not all(part.is_input for part in link.divided):
        # q and k are one activation, whose channels change at both ends of the link.
        return None
    known = [maxima[site][link.first : link.first + link.num_channels] for site in link.sites if site in maxima]
    return torch.stack(known).amax(0) if known else None


def _rescale_maxima(link: Link, maxima: dict[int, Tensor], channel: int, factor: float) -> None:
    for site in link.sites:
        if site in maxima:
            maxima[site] = maxima[site].clone()
            maxima[site][link.first + channel] *= factor
