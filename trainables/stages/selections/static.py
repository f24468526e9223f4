"""One allocation for all images: the budget spread evenly, without a policy.

With a budget of 8 bits per site every site has 8, which is what int8 runtimes run. Quantizing all layers alike is also
what Qu-ANTI-zation (Hong et al. 2021) trains against; its objective is the loss `qu_anti_zation`.

Shape letters: B = examples, L = sites, O = bit-width options.
"""

import torch
from torch import Tensor

from search_spaces.recipes import PairRecipe
from trainables.attacks.space import Space
from trainables.attacks.uniform import uniform
from trainables.stages.selections.base import Drawn


class Static:
    """Takes the same options for every image, whatever the policy says."""

    is_exact = True

    def __init__(self, recipe: PairRecipe) -> None:
        self._bit_widths, self._budget = recipe.bit_widths, recipe.budget

    def best(self, scores_BLO: Tensor) -> Tensor:
        """See `base.Selection`."""
        num_images, num_sites, _ = scores_BLO.shape
        space = Space(num_sites=num_sites, bit_widths=self._bit_widths, budget=self._budget)
        return space.options_of(uniform(1, space)).expand(num_images, -1).to(scores_BLO.device)

    def draw(self, scores_BLO: Tensor) -> Drawn:
        """See `base.Selection`."""
        index_BL1 = self.best(scores_BLO)[:, :, None]
        return Drawn(selection_BLO=torch.zeros_like(scores_BLO).scatter_(2, index_BL1, 1.0).detach())
