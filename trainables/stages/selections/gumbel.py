"""Gumbel-softmax selection (Jang et al. 2017), which most work on dynamic bit-widths trains its policy with.

With a budget, the options of the sites are chosen together: the knapsack takes the optimum of logits with Gumbel noise,
which is a random allocation (perturb-and-MAP, Papandreou and Yuille 2011). The gradient is that of the softmax of the
noisy logits, site by site, as in the straight-through variant of Jang et al., section 2.2. With one site and no budget
this is Gumbel-softmax. The paper names it and does without; evaluation has no noise.
"""

import torch
from torch import Tensor

from trainables.quant.knapsack import straight_through
from trainables.stages.selections.base import Drawn
from trainables.stages.selections.knapsack import Knapsack

TEMPERATURE = 1.0
"""Divisor of the noisy logits in the softmax; Jang et al. train between 0.5 and 1."""


class Gumbel(Knapsack):
    """Takes the best allocation by noisy logits; the logits get the gradient of a softmax."""

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """See `base.Selection`."""
        noisy_BLO = scores_BLO + gumbel_like(scores_BLO)
        relaxed_BLO = torch.softmax(noisy_BLO / TEMPERATURE, dim=-1)
        return Drawn(selection_BLO=straight_through(self.best(noisy_BLO), relaxed_BLO))


def gumbel_like(x: Tensor) -> Tensor:
    """Returns noise of the standard Gumbel distribution, in the shape of a tensor."""
    return -torch.empty_like(x, requires_grad=False).exponential_().log()
