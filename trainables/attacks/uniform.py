"""Uniform bits: every site gets the same, as nearly as options and budget allow."""

import torch
from torch import Tensor

from trainables.attacks.space import Space


def uniform(num_images: int, space: Space) -> Tensor:
    """Spreads the budget evenly: of all allocations the one of the smallest sum of squares, the same for all images.

    With contiguous options every site gets the average rounded down or up. The sites that get more are spread over
    the depth of the network, since an end of it would otherwise carry all of them.

    Args:
        num_images: B.
        space: Sites, options and budget.

    Returns:
        bit_width_BL, int64; every row sums to the budget.

    Examples:
        >>> uniform(1, Space(num_sites=5, bit_widths=(3, 4, 5), budget=17))
        tensor([[3, 4, 3, 4, 3]])
    """
    # With equal scores the knapsack returns the most even selection; its widths are then laid out again.
    width_L = space.best(torch.zeros(1, space.num_sites, len(space.bit_widths)))[0].sort().values
    return width_L[_spread(space.num_sites)].expand(num_images, -1).clone()


def _spread(num_sites: int) -> Tensor:
    """Returns a rank for every site such that any number of the highest ranks lie evenly over the sites.

    The van der Corput sequence: sites in the order of their index's reversed binary digits.
    """
    digits = max(1, (num_sites - 1).bit_length())
    reverse = [int(f"{site:0{digits}b}"[::-1], 2) for site in range(num_sites)]
    return torch.tensor(reverse).argsort().argsort()
