"""A distribution over the allocations that spend exactly a budget, given by logits: p(a) ~ exp(sum_l logit_l,a_l).

It is the product of the sites' softmaxes, conditioned on the sum of the bits. The normalizer is summed from the last
site back over what is left of the budget, as the knapsack does with maxima. An allocation is then drawn site by site,
without rejection. All in float64.

Shape letters: B = examples, L = sites, O = options, R = rests of the budget.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.budgets import check_budget

_NEVER = -1e30
"""Log weight of what cannot be spent: finite, for the gradient of a sum of infinities is NaN."""


class AllocationDistribution:
    """The allocations of one budget, one distribution per example."""

    def __init__(self, logits_BLO: Tensor, bit_widths: Sequence[int], budget: int) -> None:
        """Sums up the normalizer; gradients reach the logits through `log_prob`.

        Args:
            logits_BLO: Finite.
            bit_widths: Bit-width of every option, ascending.
            budget: Sum of the bit-widths of an example.

        Raises:
            InfeasibleBudgetError: No allocation spends the budget.
        """
        num_sites = logits_BLO.shape[1]
        check_budget(budget, num_sites, bit_widths)
        self.logits_BLO = logits_BLO.double()
        self._rest = budget - num_sites * bit_widths[0]
        shift_O = torch.tensor(bit_widths, device=logits_BLO.device) - bit_widths[0]
        left_RO = torch.arange(self._rest + 1, device=logits_BLO.device)[:, None] - shift_O
        self._left_RO, self._is_spendable_RO = left_RO.clamp(min=0), left_RO >= 0
        self._ways = self._sum_back()

    @property
    def log_normalizer_B(self) -> Tensor:
        """Log of the summed weights of all allocations."""
        return self._ways[0][:, self._rest]

    def log_prob(self, option_index_BL: Tensor) -> Tensor:
        """Returns log_prob_B of allocations that spend the budget, float64."""
        chosen_BL = self.logits_BLO.gather(2, option_index_BL[:, :, None]).squeeze(2)
        return chosen_BL.sum(1) - self.log_normalizer_B

    @torch.no_grad()
    def sample(self) -> Tensor:
        """Draws one allocation per example, with torch's own generator: option_index_BL."""
        num_examples, num_sites, _ = self.logits_BLO.shape
        rows = torch.arange(num_examples, device=self.logits_BLO.device)
        rest_B = torch.full_like(rows, self._rest)
        drawn = []
        for site in range(num_sites):
            weight_BO = self._terms(site, self._ways[site + 1])[rows, rest_B]
            option_B = torch.softmax(weight_BO, dim=-1).multinomial(1).squeeze(1)
            rest_B = self._left_RO[rest_B, option_B]
            drawn.append(option_B)
        return torch.stack(drawn, dim=1)

    def _sum_back(self) -> list[Tensor]:
        """Returns for every site, and behind the last, the log weight of spending each rest from there on, [B, R]."""
        num_examples, num_sites, _ = self.logits_BLO.shape
        end_BR = self.logits_BLO.new_full((num_examples, self._rest + 1), _NEVER)
        end_BR[:, 0] = 0
        ways = [end_BR]
        for site in reversed(range(num_sites)):
            ways.append(self._terms(site, ways[-1]).logsumexp(-1))
        return ways[::-1]

    def _terms(self, site: int, later_BR: Tensor) -> Tensor:
        """Returns the log weight of every option at a site at every rest, with all that may follow, [B, R, O]."""
        following_BRO = later_BR[:, self._left_RO].masked_fill(~self._is_spendable_RO, _NEVER)
        return following_BRO + self.logits_BLO[:, site, None, :]
