"""A penalty on the squared distance from the budget, in place of the exact knapsack, which section 3.4 rejects.

Every site takes its best option, whatever the others take. The squared distance of the bits from the budget, per site,
is minimized beside the hinge, through the same straight-through selection. Nothing holds an image to the budget: the
metrics `mean_bits`, `least_bits`, `most_bits` and `on_budget` of a trial say what it spends.

Shape letters: B = examples, L = sites, O = bit-width options.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.recipes import PairRecipe
from trainables.quant.knapsack import straight_through
from trainables.stages.selections.base import Drawn, Losses

DEFAULT_WEIGHT = 1.0


class Penalty:
    """Takes the best option of every site by itself, and is paid for bits that are not the budget's."""

    is_exact = False

    def __init__(self, recipe: PairRecipe) -> None:
        self._bit_widths, self._budget = recipe.bit_widths, recipe.budget
        self._weight = recipe.penalty_weight or DEFAULT_WEIGHT

    def best(self, scores_BLO: Tensor) -> Tensor:
        """See `base.Selection`."""
        return scores_BLO.detach().argmax(-1)

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """See `base.Selection`."""
        selection_BLO = straight_through(self.best(scores_BLO), scores_BLO)

        def losses(hinge_of_each: Callable[[], Tensor]) -> Losses:
            return {"budget": self._weight * distance(selection_BLO, self._bit_widths, self._budget)}

        return Drawn(selection_BLO=selection_BLO, losses=losses)


def distance(selection_BLO: Tensor, bit_widths: tuple[int, ...], budget: int) -> Tensor:
    """Returns the mean over the examples of ((bits - budget) / sites)^2, a 0-d tensor.

    Examples:
        >>> distance(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), (4, 8), budget=10).item()
        1.0
    """
    width_O = torch.tensor(bit_widths, dtype=selection_BLO.dtype, device=selection_BLO.device)
    bits_B = (selection_BLO @ width_O).sum(-1)
    return ((bits_B - budget) / selection_BLO.shape[1]).square().mean()
