"""Names of the arms of a comparison of searches; imports nothing, so that help can list them at once."""

from enum import StrEnum


class Arm(StrEnum):
    """A way to look for catastrophic pairs."""

    AS_PUBLISHED = "as-published"
    """The paper's recipe as published, one trial per cell."""
    RECIPE = "recipe"
    """Our own recipe, one trial per cell."""
    RANDOM = "random"
    """Random points of the space, nothing else."""
    SEARCH = "search"
    """The grid's search, which begins with the recipe and the one as published."""
