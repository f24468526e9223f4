"""REINFORCE (Williams 1992): the policy learns from what its draws cost, and no gradient passes through the selection.

An allocation is drawn with the probability p(a) that grows with exp(sum of its logits) among all that spend the budget
(`quant.allocation_distribution`). The policy gets the gradient of E[hinge], estimated by (hinge - baseline) * grad log
p(a); the baseline of an image is the mean hinge of the batch's others, which its own draw does not touch, so that the
estimate stays unbiased. Evaluation takes the likeliest allocation, which is the knapsack's.

Shape letters: B = examples, L = sites, O = bit-width options.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.recipes import PairRecipe
from trainables.quant.allocation_distribution import AllocationDistribution
from trainables.stages.selections.base import Drawn, Losses
from trainables.stages.selections.knapsack import Knapsack


class Reinforce(Knapsack):
    """Draws allocations that spend the budget; the logits get the gradient of the expected hinge."""

    def __init__(self, recipe: PairRecipe) -> None:
        super().__init__(recipe)
        self._weight = recipe.hinge_weight

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """See `base.Selection`."""
        distribution = AllocationDistribution(scores_BLO, self._bit_widths, self._budget)
        option_index_BL = distribution.sample()
        selection_BLO = torch.zeros_like(scores_BLO).scatter_(2, option_index_BL[:, :, None], 1.0).detach()

        def losses(hinge_of_each: Callable[[], Tensor]) -> Losses:
            advantage_B = advantages(hinge_of_each())
            return {"policy": self._weight * (advantage_B * distribution.log_prob(option_index_BL)).mean()}

        return Drawn(selection_BLO=selection_BLO, losses=losses)


def advantages(cost_B: Tensor) -> Tensor:
    """Returns each cost minus the mean of the others.

    Examples:
        >>> advantages(torch.tensor([1.0, 2.0, 6.0]))
        tensor([-3.0000, -1.5000,  4.5000])
    """
    others = max(1, len(cost_B) - 1)
    return cost_B - (cost_B.sum() - cost_B) / others
