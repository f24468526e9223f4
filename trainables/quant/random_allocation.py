"""Random bit-widths: allocations drawn uniformly from all that meet a budget exactly (paper section 4.1, Table 3).

Allocations are counted, not tried: with N(l, r) the number of ways in which the sites from l on can spend r bits, the
site l takes option o with probability N(l + 1, r - w_o) / N(l, r), and so on to the last site. Rejection would not end:
of all 8^77 allocations of 3..10 bits to 77 sites, six in a million spend 420 bits, and 6e-25 spend 310. The paper
does not say how its random bits are drawn.

The counts are exact integers. Their ratios are rounded down to multiples of 2^-63 and compared with random integers
of 63 bits, so there is no floating point and one seed gives one result on every machine. The rounding moves the
distribution of an image's allocation by at most L * O * 2^-64 in total variation, 4e-17 for 77 sites and 8 options.

Measured, one thread of an AMD EPYC, 3,669 images, option set I: 0.008 s for 20 sites at 110 bits and 0.016 s for 77
sites at 420 bits; the first draw of a budget makes its table and takes 0.018 s and 0.061 s.

Shape letters: B = images, L = sites, O = bit-width options, R = remaining bits (0..budget).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from search_spaces.budgets import check_budget

DRAW_BITS = 63
"""Number of bits of a draw: one less than a word, so that a threshold of 1 is a number as well."""


def random_allocations(
    num_images: int, num_sites: int, bit_widths: Sequence[int], budget: int, seed: int | Sequence[int]
) -> Tensor:
    """Draws for every image, independently and uniformly, one of the allocations that sum to the budget.

    Args:
        num_images: B.
        num_sites: L.
        bit_widths: The options at every site, ascending.
        budget: Exact sum of an image's bit-widths.
        seed: Of the draw; several numbers are one seed. More images leave the first ones as they are.

    Returns:
        bit_width_BL, int64 on the CPU; every row sums to the budget.

    Raises:
        InfeasibleBudgetError: No allocation sums to the budget.

    Examples:
        >>> random_allocations(2, 3, (5, 6, 7), budget=15, seed=0)
        tensor([[5, 5, 5],
                [5, 5, 5]])
    """
    check_budget(budget, num_sites, bit_widths)
    threshold_LRO = _thresholds(num_sites, tuple(bit_widths), budget)
    width_O = np.array(bit_widths, dtype=np.int64)
    # The raw stream of a bit generator stays as it is in all versions of NumPy; that of its distributions may change.
    draw_BL = np.random.PCG64(seed).random_raw(num_images * num_sites).reshape(num_images, num_sites)
    draw_BL >>= np.uint64(64 - DRAW_BITS)
    bit_width_BL = np.empty((num_images, num_sites), dtype=np.int64)
    rest_B = np.full(num_images, budget)
    for site in range(num_sites):
        option_B = (draw_BL[:, site, None] >= threshold_LRO[site, rest_B]).sum(axis=1)
        bit_width_BL[:, site] = width_O[option_B]
        rest_B -= bit_width_BL[:, site]
    return torch.from_numpy(bit_width_BL)


@lru_cache(maxsize=4)
def _thresholds(num_sites: int, bit_widths: tuple[int, ...], budget: int) -> np.ndarray:
    """Returns where a site's draw passes from each option but the last to the next one.

    An option that leaves no way to meet the budget begins where it ends, so it is never drawn.
    """
    threshold_LRO = np.empty((num_sites, budget + 1, len(bit_widths) - 1), dtype=np.uint64)
    # Python's integers in NumPy's arrays: a count has up to O^L, that is 231 bits for the largest network.
    count_R = np.zeros(budget + 1, dtype=object)
    count_R[0] = 1
    for site in reversed(range(num_sites)):
        # What the option spends comes before what is left to the later sites.
        ways_OR = [np.concatenate([np.zeros(width, dtype=object), count_R])[: budget + 1] for width in bit_widths]
        cumulative_RO = np.cumsum(ways_OR, axis=0).T
        count_R = cumulative_RO[:, -1]
        # Where nothing can be spent, no draw ever arrives: any divisor will do.
        share_RO = (cumulative_RO[:, :-1] << DRAW_BITS) // np.maximum(count_R, 1)[:, None]
        threshold_LRO[site] = share_RO.astype(np.uint64)
    return threshold_LRO
