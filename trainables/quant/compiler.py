"""numba's `njit`, told to use vectors as wide as the processor has them: kernels import it from here.

LLVM takes half of a vector of 512 bits on Intel's Xeons, because the first ones with AVX-512 slowed their clock for it;
on AMD's processors it takes all of it. The quantizer and the knapsack are bound by arithmetic, so that is half of their
speed. And sums add in the order of a vector's lanes: with one width they are the same on both.
"""

from numba import config, njit
from numba.core.codegen import get_host_cpu_features

__all__ = ["njit"]

WIDE_VECTORS = "-prefer-256-bit"
"""LLVM's words for it: no preference for half of a vector."""


def features_of(host: str) -> str | None:
    """Returns the features of a processor as numba's setting takes them; None leaves them to numba.

    Examples:
        >>> features_of("+avx2,+avx512f,-amx-tile")
        '+avx2,+avx512f,-amx-tile,-prefer-256-bit'
        >>> features_of("+avx2,-avx512f") is None
        True
    """
    return f"{host},{WIDE_VECTORS}" if "+avx512f" in host.split(",") else None


# Before the first kernel is declared, which is when numba sets up its compiler. What a user set stays.
if config.CPU_FEATURES is None:
    config.CPU_FEATURES = features_of(get_host_cpu_features())
