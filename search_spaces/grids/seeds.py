"""Seeds of a grid: a list of those of the pairs, or numbers of white boxes and of pairs that are nested in them."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from search_spaces.model import Frozen, check_seed


class NestedSeeds(Frozen):
    """Numbers of trainings that differ in their seeds alone, pairs within white boxes; all share the teacher."""

    white_box: int = Field(ge=1)
    """White boxes per network."""
    pair: int = Field(ge=1)
    """Pairs per white box and cell."""


def _read(value: object, read_list: ValidatorFunctionWrapHandler) -> object:
    # Not a union, whose errors would name its parts as places.
    return NestedSeeds.model_validate(value) if isinstance(value, dict | NestedSeeds) else read_list(value)


def _written(seeds: object) -> object:
    return seeds.model_dump() if isinstance(seeds, NestedSeeds) else seeds


SeedList = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Seeds = tuple[int, ...] | NestedSeeds
ReadSeeds = Annotated[SeedList, WrapValidator(_read), PlainSerializer(_written)]
"""A field of `Seeds`, as a grid file writes it: a list, or a section."""


def seeds_of(seeds: Seeds) -> list[tuple[int, int | None]]:
    """Returns the seed of every pair of a row of cells, and that of its white box where a network has several.

    The first white box has the grid's one seed and the pairs of the list [0, 1, ...], and so shares its trainings with
    a grid that has that list. Pairs of different white boxes have different seeds: they are nested, not crossed.

    Examples:
        >>> seeds_of(NestedSeeds(white_box=2, pair=2))
        [(0, None), (1, None), (2, 1), (3, 1)]
    """
    if not isinstance(seeds, NestedSeeds):
        return [(seed, None) for seed in seeds]
    return [
        (white_box * seeds.pair + pair, white_box or None)
        for white_box in range(seeds.white_box)
        for pair in range(seeds.pair)
    ]


def check_seeds(seeds: Iterable[int], confirm_seeds: int, split_seed: int) -> None:
    """Makes sure that all seeds of a new grid are in range.

    Raises:
        ConfigError: A seed, one of so many that confirm a pair, or that of the splits is not in 0..MAX_SEED.
    """
    check_seed("seed", max(seeds) + confirm_seeds)
    check_seed("dataset.split_seed", split_seed)
