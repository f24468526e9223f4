"""What was tried tells what to try next: an additive model of a value over the options.

Every forward pass at an allocation is an observation of its value. The value is modelled as a constant plus one effect
per site and option; the effects of a row are drawn towards those that all rows share, so that a dozen passes per image
already say something. Both are ridge regressions, in closed form. No gradient is needed, and no pass is spent.

Shape letters: B = rows (images), N = some of the rows, T = tries, L = sites, O = options, D = L * O effects.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SHARED_RIDGE = 10.0
"""Pull of the shared effects towards 0, in observations per option. Not sensitive: thousands are seen."""
OWN_RIDGE = 5.0
"""Pull of a row's effects towards the shared ones."""
ROWS_AT_ONCE = 64


class AdditiveFit:
    """Collects values at allocations and estimates the effect of every option at every site."""

    def __init__(self, num_rows: int, num_sites: int, num_options: int) -> None:
        self._shape = (num_sites, num_options)
        size = num_sites * num_options
        self._tries: list[tuple[Tensor, Tensor]] = []
        # Sums over all tries, of which the shared effects are made.
        self._products_DD, self._products_D = torch.zeros(size, size), torch.zeros(size)
        self._sums_BD, self._sums_B = torch.zeros(num_rows, size), torch.zeros(num_rows)
        self._counts_B = torch.zeros(num_rows)

    def add(self, rows_N: Tensor, option_NL: Tensor, value_N: Tensor) -> None:
        """Takes one try of some rows; a row that is left out once must not come back.

        Args:
            rows_N: Which rows, ascending.
            option_NL: Indices of the options.
            value_N: What was measured there.
        """
        option_BL = option_NL.new_zeros(len(self._sums_B), option_NL.shape[1], dtype=torch.int8)
        value_B = torch.zeros(len(self._sums_B))
        option_BL[rows_N], value_B[rows_N] = option_NL.to(torch.int8), value_N
        self._tries.append((option_BL, value_B))
        one_hot_ND = self._one_hot(option_NL)
        self._products_DD += one_hot_ND.T @ one_hot_ND
        self._products_D += one_hot_ND.T @ value_N
        self._sums_BD[rows_N] += one_hot_ND
        self._sums_B[rows_N] += value_N
        self._counts_B[rows_N] += 1

    def effects(self, rows_N: Tensor) -> Tensor:
        """Returns the estimated effect of every option on the value of some rows, [N, L, O], up to a constant per site.

        Args:
            rows_N: Rows that took part in every try.
        """
        shared_D = self._shared()
        tried = [(option_BL[rows_N], value_B[rows_N]) for option_BL, value_B in self._tries]
        option_NTL, value_NT = (torch.stack(each, 1) for each in zip(*tried, strict=True))
        parts = zip(option_NTL.split(ROWS_AT_ONCE), value_NT.split(ROWS_AT_ONCE), strict=True)
        own_ND = torch.cat([self._own(self._one_hot(options.long()), values, shared_D) for options, values in parts])
        return own_ND.unflatten(1, self._shape)

    def _shared(self) -> Tensor:
        # Centred by row: images differ in their values far more than allocations do.
        mean_BD = self._sums_BD / self._counts_B[:, None].clamp(min=1)
        products_DD = self._products_DD - self._sums_BD.T @ mean_BD
        products_D = self._products_D - mean_BD.T @ self._sums_B
        return _solve(products_DD, SHARED_RIDGE, products_D)

    def _own(self, one_hot_NTD: Tensor, value_NT: Tensor, shared_D: Tensor) -> Tensor:
        centred_NTD = one_hot_NTD - one_hot_NTD.mean(1, keepdim=True)
        rest_NT = value_NT - value_NT.mean(1, keepdim=True) - centred_NTD @ shared_D
        # In the space of the tries, which are fewer than the effects.
        weight_NT = _solve(centred_NTD @ centred_NTD.mT, OWN_RIDGE, rest_NT)
        return shared_D + (centred_NTD.mT @ weight_NT[:, :, None])[:, :, 0]

    def _one_hot(self, option_XL: Tensor) -> Tensor:
        return F.one_hot(option_XL, self._shape[1]).flatten(-2).float()


def _solve(matrix: Tensor, ridge: float, right: Tensor) -> Tensor:
    return torch.linalg.solve(matrix + ridge * torch.eye(matrix.shape[-1]), right.unsqueeze(-1)).squeeze(-1)
