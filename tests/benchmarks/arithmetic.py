"""What a core can compute at most: multiplications with an addition, all of them on what lies in the nearest cache."""

import time

import numpy as np

from trainables.quant.compiler import njit

TERMS = 8
"""Of the polynomial: enough for the loads to cost nothing, few enough for many values to be under way at once."""
VALUES, REPEATS = 2048, 200


@njit(error_model="numpy", fastmath={"contract"})
def _polynomial(x_N, factor, repeats):  # type: ignore[no-untyped-def]
    for _ in range(repeats):
        for i in range(x_N.size):
            value = x_N[i]
            for _term in range(TERMS):
                value = value * factor + factor
            x_N[i] = value


def seconds_of_operation(rounds: int = 60) -> float:
    """Returns the CPU seconds of one multiplication with addition of float32, in the middle of many."""
    x_N, factor = np.ones(VALUES, np.float32), np.float32(0.5)
    _polynomial(x_N, factor, 1)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        _polynomial(x_N, factor, REPEATS)
        best = min(best, time.process_time() - start)
    return best / (VALUES * REPEATS * TERMS)
