"""By which power of two a channel stands out of its link, from ranges alone (Nagel et al. 2019, section 4.1)."""

import torch
from torch import Tensor

# C = channels of a link.

MAX_ROUNDS = 10
"""A layer between two links gets columns from one and rows from the other, so the links are gone through repeatedly."""
NORM_DEVIATIONS = 3
"""Standard deviations that the output of a norm reaches, as Nagel et al. (2019) take it: bias + 3 gain."""


def exponents(begin_C: Tensor, end_C: Tensor) -> Tensor:
    """Returns the power of two that equalization divides each channel of a link by, from its ranges, int64 [C]."""
    is_live_C = (begin_C > 0) & (end_C > 0) & begin_C.isfinite() & end_C.isfinite()
    if not is_live_C.any():
        return torch.zeros(len(begin_C), dtype=torch.int64)
    log_C = torch.where(is_live_C, (begin_C.log2() - end_C.log2()) / 2, 0.0)
    exponent_C = (log_C - log_C[is_live_C].median()).round()
    return torch.where(is_live_C, exponent_C, 0.0).to(torch.int64)
