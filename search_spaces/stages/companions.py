"""How the images that share a batch are tried out: a further part of an assessment (`assess --companions`)."""

from pydantic import Field

from search_spaces.budgets import OPTION_SETS
from search_spaces.model import Frozen

MEASURED = ("batch_size", "padding", "real", "optimized")
"""What is measured at every allocation, in this order."""


class Companions(Frozen):
    """What an image shares its batch with, at 8 bits and at uniform bits of some budgets."""

    budgets: tuple[int, ...] = ()
    """Sums of the bits over all sites of an image, ascending."""
    bit_widths: tuple[int, ...] = OPTION_SETS["I"]
    """Options at every site, in bits, ascending."""
    images: int = Field(default=512, ge=1)
    """Most test images that are measured."""
    batch_sizes: tuple[int, ...] = (1, 2, 8, 32, 128)
    draws: int = Field(default=5, ge=1)
    """Random partitions of the images into batches of one size."""
    candidates: int = Field(default=48, ge=2)
    """Most images of the validation split that are tried as companions, half of them the loudest."""
    steps: int = Field(default=40, ge=1)
    """Of an ascent; there are nine from three starts, and a step is a pass of 32 pairs, forward and backward."""

    @property
    def allocations(self) -> tuple[int, ...]:
        """The budget of every allocation that is measured; 0 stands for 8 bits at every site."""
        return (0, *self.budgets)

    @property
    def measured(self) -> tuple[str, ...]:
        """The steps of the part, in order."""
        names = [f"{budget}b" if budget else "int8" for budget in self.allocations]
        return tuple(f"{name}/{what}" for name in names for what in MEASURED)


HEAVY_COMPANIONS = {"images": 64, "draws": 2, "candidates": 8, "steps": 15}
"""What is measured where a pass is heavy."""
