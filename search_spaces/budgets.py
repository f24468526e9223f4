"""What a quantizer can be asked for: option sets, bit budgets (paper sections 3.4 and 4.1), sites and ranges.

A budget is the exact sum of the bit-widths over all sites of one image. A budget that no allocation
meets is refused when the plan is made, with the feasible range; it is never clamped.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator

from search_spaces.errors import ConfigError, InfeasibleBudgetError
from search_spaces.names import RANGE_SCOPES, SITE_PLACEMENTS, RangeScope, SitePlacement

MIN_BIT_WIDTH, MAX_BIT_WIDTH = 1, 16
OPTION_SETS: dict[str, tuple[int, ...]] = {
    # Section 4.1, column "Opts." of Table 1.
    "I": tuple(range(3, 11)),
    "II": tuple(range(4, 11)),
    "III": tuple(range(5, 11)),
}


def none_for(default: object) -> AfterValidator:
    """Makes a later field's default None, spelled out or left out, so that it is one uid: that of earlier results."""
    return AfterValidator(lambda value: None if value == default else value)


PlacementField = Annotated[SitePlacement | None, none_for(SITE_PLACEMENTS[0])]
"""A field's type: the activations that are quantized; None is `outputs`."""
ScopeField = Annotated[RangeScope | None, none_for(RANGE_SCOPES[0])]
"""A field's type: what shares a range; None is `example`."""


def check_bit_widths(bit_widths: Sequence[int]) -> None:
    """Raises `ConfigError` unless the options are distinct, ascending and within 1..16 bits."""
    ascending = all(low < high for low, high in pairwise(bit_widths))
    in_range = all(MIN_BIT_WIDTH <= width <= MAX_BIT_WIDTH for width in bit_widths)
    if not bit_widths or not ascending or not in_range:
        raise ConfigError(
            f"bit-widths {list(bit_widths)} cannot be an option set: list distinct integers in ascending "
            f"order, each from {MIN_BIT_WIDTH} to {MAX_BIT_WIDTH}, for example 3 4 5 6."
        )


@cache
def count_allocations(num_sites: int, bit_widths: tuple[int, ...]) -> dict[int, int]:
    """Counts, for every feasible total, the allocations of bit-widths to sites that sum to it.

    Examples:
        >>> count_allocations(2, (3, 4))
        {6: 1, 7: 2, 8: 1}
    """
    counts = {0: 1}
    for _ in range(num_sites):
        longer: dict[int, int] = {}
        for total, count in counts.items():
            for width in bit_widths:
                longer[total + width] = longer.get(total + width, 0) + count
        counts = longer
    return dict(sorted(counts.items()))


def check_budget(budget: int, num_sites: int, bit_widths: Sequence[int]) -> None:
    """Refuses a budget that no allocation meets exactly.

    Args:
        budget: Sum of the bit-widths over all sites of one image, in bits.
        num_sites: Number of dynamically quantized activations, L.
        bit_widths: Permitted bit-widths, ascending.

    Raises:
        InfeasibleBudgetError: Names the feasible range and the nearest feasible budget.

    Examples:
        >>> check_budget(110, 20, range(3, 11))
        >>> check_budget(340, 77, range(5, 11))
        Traceback (most recent call last):
        ...
        search_spaces.errors.InfeasibleBudgetError: budget of 340 bits cannot be met by 77 sites with \
bit-widths 5..10: every allocation sums to 385..770. The nearest feasible budget is 385.
    """
    check_bit_widths(bit_widths)
    feasible = count_allocations(num_sites, tuple(bit_widths))
    if budget in feasible:
        return
    # Ties go to the smaller budget: it asks for no more bits than the user meant to spend.
    nearest = min(feasible, key=lambda total: (abs(total - budget), total))
    contiguous = len(feasible) == max(feasible) - min(feasible) + 1
    gaps = "" if contiguous else f" ({len(feasible)} of the totals in between)"
    raise InfeasibleBudgetError(
        f"budget of {budget} bits cannot be met by {num_sites} sites with bit-widths "
        f"{format_bit_widths(bit_widths)}: every allocation sums to {min(feasible)}..{max(feasible)}{gaps}. "
        f"The nearest feasible budget is {nearest}."
    )


def check_spared(num_spared: int, num_sites: int) -> None:
    """Makes sure that a site is left to quantize.

    Raises:
        ConfigError: As many sites are spared as there are, or more.
    """
    if num_spared >= num_sites:
        raise ConfigError(
            f"spared_sites={num_spared} leaves none of the {num_sites} sites to quantize: give {num_sites - 1} at most."
        )


def budget_from_average(average_bits: float, num_sites: int) -> int:
    """Turns an average bit-width per site into the nearest whole budget, half to even.

    Examples:
        >>> budget_from_average(5.5, 15)
        82
    """
    return round(average_bits * num_sites)


def format_bit_widths(bit_widths: Sequence[int]) -> str:
    """Writes bit-widths as a range where they are one.

    Examples:
        >>> format_bit_widths((3, 4, 5)), format_bit_widths((4, 8))
        ('3..5', '4,8')
    """
    if len(bit_widths) > 2 and bit_widths[-1] - bit_widths[0] == len(bit_widths) - 1:
        return f"{bit_widths[0]}..{bit_widths[-1]}"
    return ",".join(str(width) for width in bit_widths)


def placement_of(field: SitePlacement | None) -> SitePlacement:
    """Returns what a recipe says of its sites."""
    return field or SITE_PLACEMENTS[0]


def scope_of(field: RangeScope | None) -> RangeScope:
    """Returns what a recipe says of its ranges."""
    return field or RANGE_SCOPES[0]


def check_as_it_is(
    uri: str, placement: SitePlacement | None, scope: RangeScope | None, *, companions: bool = False
) -> None:
    """Makes sure that an ONNX file is quantized where it can be.

    Raises:
        ConfigError: It is to be quantized at the inputs of layers, or with ranges that are no image's own.
    """
    asked = [f"--sites {placement}"] if placement not in (None, SITE_PLACEMENTS[0]) else []
    asked += [f"--range-scope {scope}"] if scope not in (None, RANGE_SCOPES[0]) else []
    asked += ["--companions"] if companions else []
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
