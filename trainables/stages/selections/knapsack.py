"""The selection of this project: the knapsack's optimum, straight through (paper section 3.4)."""

from torch import Tensor

from search_spaces.recipes import PairRecipe
from trainables.quant.knapsack import select, straight_through
from trainables.stages.selections.base import Drawn


class Knapsack:
    """Takes the most profitable allocation that spends the budget; the profits get the options' gradient."""

    is_exact = True

    def __init__(self, recipe: PairRecipe) -> None:
        self._bit_widths, self._budget = recipe.bit_widths, recipe.budget

    def best(self, scores_BLO: Tensor) -> Tensor:
        """See `base.Selection`."""
        return select(scores_BLO.detach(), self._bit_widths, self._budget)

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """See `base.Selection`."""
        return Drawn(selection_BLO=straight_through(self.best(scores_BLO), scores_BLO))
