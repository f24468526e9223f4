"""The seam: how the bits of images are chosen, in training and in evaluation.

Shape letters: B = examples, L = sites, O = bit-width options.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Losses = dict[str, Tensor]
"""Losses beside the hinge and the KL term, by name; 0-d tensors."""


def no_losses(hinge_of_each: Callable[[], Tensor]) -> Losses:
    """Adds nothing."""
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What a pass of a training step goes on with."""

    selection_BLO: Tensor
    """One-hot, exactly; its gradient goes on to the policy where the selection passes one on."""
    losses: Callable[[Callable[[], Tensor]], Losses] = no_losses
    """Function that returns what is minimized besides, given one that returns the quantized loss of every example,
    [B], without gradients."""


class Selection(Protocol):
    """Chooses an option per site and image."""

    is_exact: bool
    """Whether the bits of every image sum to the budget."""

    def best(self, scores_BLO: Tensor) -> Tensor:
        """Returns the option_index_BL of an evaluation, deterministic, int64.

        Args:
            scores_BLO: What the policy says, as the recipe's `profits`.
        """

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """Returns the selection of a training step, which may be random."""
