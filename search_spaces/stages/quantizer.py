"""How recipes say where activations are quantized, and what shares a range there."""

from typing import Annotated

from pydantic import AfterValidator

from search_spaces.errors import ConfigError
from search_spaces.names import RANGE_SCOPES, SITE_PLACEMENTS, RangeScope, SitePlacement

# The default is None, spelled out or left out, so that it is one uid: that of results from before these fields.
PlacementField = Annotated[
    SitePlacement | None, AfterValidator(lambda value: None if value == SITE_PLACEMENTS[0] else value)
]
"""A field's type: the activations that are quantized; None is `outputs`."""
ScopeField = Annotated[RangeScope | None, AfterValidator(lambda value: None if value == RANGE_SCOPES[0] else value)]
"""A field's type: what shares a range; None is `example`."""


def placement_of(field: SitePlacement | None) -> SitePlacement:
    """Returns what a recipe says of its sites."""
    return field or SITE_PLACEMENTS[0]


def scope_of(field: RangeScope | None) -> RangeScope:
    """Returns what a recipe says of its ranges."""
    return field or RANGE_SCOPES[0]


def check_as_it_is(uri: str, placement: SitePlacement | None, scope: RangeScope | None) -> None:
    """Makes sure that an ONNX file is quantized where it can be.

    Raises:
        ConfigError: It is to be quantized at the inputs of layers, or with ranges that are no image's own.
    """
    asked = [
        f"{option} {value}"
        for option, value, default in (
            ("--sites", placement, SITE_PLACEMENTS[0]),
            ("--range-scope", scope, RANGE_SCOPES[0]),
        )
        if value not in (None, default)
    ]
    if asked:
        raise ConfigError(
            f"{' '.join(asked)}: {uri} runs with a range per image at the outputs of its layers; give the network as a "
            "module."
        )


def check_scope(scope: RangeScope, scale_quantile: float) -> None:
    """Makes sure that ranges can end where they are to.

    Raises:
        ConfigError: Ranges over a batch are to end at quantiles.
    """
    if scope == "batch" and scale_quantile < 1:
        raise ConfigError(
            f"scale_quantile={scale_quantile} with range_scope=batch: a range over a batch ends at its extremes, as in "
            "runtimes; set scale_quantile to 1, or range_scope to example or channel."
        )
