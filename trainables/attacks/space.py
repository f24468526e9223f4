"""The allocations that meet one budget, and how one of them is changed without leaving it.

Shape letters: B = rows, L = sites, O = bit-width options, S = sizes of a transfer.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from search_spaces.budgets import check_budget
from trainables.quant.knapsack import bit_widths_of, select

NUM_SIZES = 3
"""How many sizes of transfers are tried, the smallest first: larger changes are made of several."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The allocations of some options to sites that sum to exactly one budget; everything lies on the CPU.

    Raises:
        InfeasibleBudgetError: No allocation sums to the budget.
    """

    num_sites: int
    bit_widths: tuple[int, ...]
    """The options at every site, ascending."""
    budget: int
    """Exact sum of the bits over the sites."""

    def __post_init__(self) -> None:
        check_budget(self.budget, self.num_sites, self.bit_widths)

    def options_of(self, bit_width_BL: Tensor) -> Tensor:
        """Returns the index of every bit-width among the options."""
        return torch.searchsorted(self._width_O, bit_width_BL.contiguous())

    def best(self, score_BLO: Tensor, around_BL: Tensor | None = None, *, radius: int | None = None) -> Tensor:
        """Returns the allocation of the largest total score, exactly.

        Args:
            score_BLO: Of every option at every site, finite.
            around_BL: An allocation of the space.
            radius: No site moves more bits than that away from `around_BL`; None for no limit.

        Returns:
            bit_width_BL, int64.
        """
        score_BLO = score_BLO / score_BLO.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        if around_BL is not None and radius is not None:
            # Scores lie in [-1, 1], so no sum of them makes up for one forbidden option; `around_BL` stays feasible.
            is_far_BLO = (self._width_O - around_BL[:, :, None]).abs() > radius
            score_BLO = score_BLO.masked_fill(is_far_BLO, -4.0 * self.num_sites)
        return bit_widths_of(select(score_BLO, self.bit_widths, self.budget), self.bit_widths)

    def transfer(self, bit_width_BL: Tensor, score_BLO: Tensor, generator: torch.Generator) -> Tensor:
        """Moves bits from one site to another, drawn for every row on its own.

        A move is drawn with probability proportional to exp(gain / std), its predicted gain over the standard
        deviation of all possible moves of that row. Equal scores draw uniformly.

        Args:
            bit_width_BL: Allocations of the space.
            score_BLO: Of every option at every site.
            generator: Of the draw.

        Returns:
            The changed allocations; a row without a possible move stays as it is.
        """
        option_BL = self.options_of(bit_width_BL)
        up_OS, down_OS = self._neighbours
        now_BL1 = score_BLO.gather(2, option_BL[:, :, None])
        up_BLS, down_BLS = (_gains(score_BLO - now_BL1, neighbour[option_BL]) for neighbour in (up_OS, down_OS))
        gain_BLLS = up_BLS[:, :, None] + down_BLS[:, None]
        # From a site to itself is no move.
        gain_BLLS = gain_BLLS.masked_fill(torch.eye(self.num_sites, dtype=torch.bool)[:, :, None], -torch.inf)
        gain_BN = gain_BLLS.flatten(1)
        is_possible_BN = gain_BN > -torch.inf
        gain_BN = gain_BN / _masked_std(gain_BN, is_possible_BN)[:, None].clamp(min=1e-12)
        # Gumbel's noise: the largest of the sums is a draw from the softmax.
        noise_BN = -torch.empty_like(gain_BN).exponential_(generator=generator).log()
        move_B = (gain_BN + noise_BN).argmax(1)
        row_N = is_possible_BN.any(1).nonzero()[:, 0]
        taker_N, giver_N, size_N = (each[row_N] for each in torch.unravel_index(move_B, gain_BLLS.shape[1:]))
        moved_BL = option_BL.clone()
        moved_BL[row_N, taker_N] = up_OS[option_BL[row_N, taker_N], size_N]
        moved_BL[row_N, giver_N] = down_OS[option_BL[row_N, giver_N], size_N]
        return self._width_O[moved_BL]

    @cached_property
    def _width_O(self) -> Tensor:
        return torch.tensor(self.bit_widths)

    @cached_property
    def _neighbours(self) -> tuple[Tensor, Tensor]:
        """The option that lies one size above and below each option, [O, S]; -1 where there is none."""
        widths = self.bit_widths
        sizes = sorted({high - low for low in widths for high in widths if high > low})[:NUM_SIZES] or [1]
        index = {width: option for option, width in enumerate(widths)}
        up, down = ([[index.get(width + sign * size, -1) for size in sizes] for width in widths] for sign in (1, -1))
        return torch.tensor(up), torch.tensor(down)


def _gains(gain_BLO: Tensor, option_BLS: Tensor) -> Tensor:
    """Looks up the gain of every neighbour; -inf where there is none."""
    return gain_BLO.gather(2, option_BLS.clamp(min=0)).masked_fill(option_BLS < 0, -torch.inf)


def _masked_std(values_BN: Tensor, is_kept_BN: Tensor) -> Tensor:
    count_B = is_kept_BN.sum(1).clamp(min=1)
    kept_BN = values_BN.masked_fill(~is_kept_BN, 0)
    mean_B1 = (kept_BN.sum(1) / count_B)[:, None]
    return ((kept_BN - mean_B1).masked_fill(~is_kept_BN, 0).square().sum(1) / count_B).sqrt()
