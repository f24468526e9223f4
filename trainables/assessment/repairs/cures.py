"""Repairs of a network that fails: each a setting of the quantizer, or an exact rewriting of the weights.

A cure leaves the network as it is, so that whatever measures a network, an attack that knows the cure included, can
be given the repaired one. What a cure is worth is always measured again; nothing is taken from the ranking that led to
it.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.names import RangeScope
from trainables.assessment.subject import Network
from trainables.models.equalization import equalize
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_equalization import equalize_onnx
from trainables.runtimes.onnxruntime import OnnxNetwork

Measure = Callable[[Network], float]
"""Function from a network to its accuracy, in [0, 1], under an allocation of the caller's choice."""
Kind = Literal["sites", "channel_ranges", "quantile_ranges", "equalization"]

DEFAULT_QUANTILES = (0.999, 0.99)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cure:
    """A repair."""

    kind: Kind
    sites: tuple[int, ...] = ()
    """Sites with a bit-width of their own, ascending; of kind `sites`."""
    bit_width: int = 0
    """That bit-width; 0 is full precision."""
    scale_quantile: float = 1.0
    """Quantile at which ranges end; of kind `quantile_ranges`."""
    accuracies: tuple[tuple[str, float], ...] = ()
    """What was measured of the repaired network, by the name of the measurement."""

    @property
    def name(self) -> str:
        """What it does, for people.

        Examples:
            >>> Cure(kind="sites", sites=(3, 5)).name
            '2 sites at full precision'
        """
        match self.kind:
            case "sites":
                number = f"{len(self.sites)} site{'s' * (len(self.sites) != 1)}"
                return f"{number} at {f'{self.bit_width} bits' if self.bit_width else 'full precision'}"
            case "quantile_ranges":
                return f"ranges end at the {self.scale_quantile} quantile"
            case "channel_ranges":
                return "ranges per channel"
            case "equalization":
                return "equalized links"

    def applied_to(self, network: Network, images_BCHW: Tensor) -> Network:
        """Returns the repaired network: a copy, which shares the model where only sites are spared.

        Args:
            network: In evaluation mode; it stays as it is.
            images_BCHW: A few normalized images, on which equalization checks that full precision is unchanged.

        Raises:
            ConfigError: The network is an ONNX file, whose sites can be spared and whose links can be equalized, and
                nothing else.
        """
        if self.kind == "sites":
            return network.with_pinned(dict.fromkeys(self.sites, self.bit_width))
        if isinstance(network, OnnxNetwork):
            return self._applied_to_file(network, images_BCHW)
        settings = {
            "weight_bit_width": network.weight_bit_width,
            "scale_quantile": self.scale_quantile if self.kind == "quantile_ranges" else network.scale_quantile,
            "range_scope": "channel" if self.kind == "channel_ranges" else network.range_scope,
            "sites": network.placement,
            "pinned": network.pinned,
        }
        if self.kind == "equalization":
            model = equalize(network.model, images_BCHW).model
        else:
            model = copy.deepcopy(network.model)
        return QuantizedStudent(model, **settings).eval().requires_grad_(False)  # type: ignore[arg-type]

    def _applied_to_file(self, network: OnnxNetwork, images_BCHW: Tensor) -> OnnxNetwork:
        if self.kind != "equalization":
            raise ConfigError(
                f"{self.name}: of an ONNX file only sites can be spared and links equalized; its quantizer has one "
                "range per image."
            )
        return equalize_onnx(network, images_BCHW).network


def standard_cures(range_scope: RangeScope = "example", quantiles: Sequence[float] = DEFAULT_QUANTILES) -> list[Cure]:
    """Lists the cures that need no search, and that change something where ranges have a scope."""
    cures = [] if range_scope == "channel" else [Cure(kind="channel_ranges")]
    # A range over a batch ends at its extremes.
    if range_scope != "batch":
        cures += [Cure(kind="quantile_ranges", scale_quantile=quantile) for quantile in quantiles]
    return [*cures, Cure(kind="equalization")]


def smallest_sites(
    network: Network,
    images_BCHW: Tensor,
    ranking: Sequence[int],
    measure: Measure,
    *,
    target: float,
    bit_width: int = 0,
    most: int | None = None,
) -> Cure | None:
    """Searches for the fewest sites that have to be spared.

    The sites that give back most alone come first, until the target is reached; then each is taken out again if the
    target holds without it, least important first. So no member can be left out, though another set of the same size
    or a smaller one may exist.

    Args:
        network: What fails.
        images_BCHW: As in `Cure.applied_to`.
        ranking: Sites in descending order of what they give back (`sites.measure_sites`).
        measure: Accuracy that is to reach the target.
        target: Accuracy, in [0, 1].
        bit_width: Of the sites that are spared; 0 is full precision.
        most: Largest number of sites to try; None for all.

    Returns:
        The cure, or None where the target is out of reach. Without any site if the network is good enough as it is.
    """

    def reaches(sites: Sequence[int]) -> bool:
        cure = Cure(kind="sites", sites=tuple(sorted(sites)), bit_width=bit_width)
        return measure(cure.applied_to(network, images_BCHW)) >= target

    limit = len(ranking) if most is None else min(most, len(ranking))
    number = next((number for number in range(limit + 1) if reaches(ranking[:number])), None)
    if number is None:
        return None
    chosen = list(ranking[:number])
    # The last one was needed for the target: it is not tried.
    for site in reversed(chosen[:-1]):
        without = [each for each in chosen if each != site]
        if reaches(without):
            chosen = without
    return Cure(kind="sites", sites=tuple(sorted(chosen)), bit_width=bit_width)
