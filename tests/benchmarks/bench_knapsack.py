"""The exact knapsack: 64 examples on one thread, against two exact solvers and plain torch.

Shape letters: B = examples, L = sites, O = options.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from tests.benchmarks.knapsack_peers import (
    cp_sat_problem,
    highs_problem,
    select_in_torch,
    solve_cp_sat,
    solve_highs,
)
from tests.benchmarks.timing import IN_CPU_TIME, seconds_of
from trainables.quant.knapsack import FRACTION_BITS, bit_widths_of, select

pytestmark = IN_CPU_TIME
BIT_WIDTHS = tuple(range(3, 11))
BATCH = 64
NUM_SOLVED = 8
"""Examples given to the slow solvers; their time is scaled to the batch."""


@pytest.mark.parametrize(("num_sites", "budget", "bar_ms"), [(20, 110, 0.15), (77, 540, 2.0)])
def bench_knapsack(
    benchmark: BenchmarkFixture, record: Callable[..., None], num_sites: int, budget: int, bar_ms: float
) -> None:
    profits_BLO = torch.randn(BATCH, num_sites, len(BIT_WIDTHS)).softmax(-1)
    option_index_BL = benchmark.pedantic(
        lambda: select(profits_BLO, BIT_WIDTHS, budget), rounds=300, iterations=10, warmup_rounds=5
    )
    assert (bit_widths_of(option_index_BL, BIT_WIDTHS).sum(1) == budget).all()
    ours = benchmark.stats.stats.min
    size = f"L={num_sites}, C={budget}"
    record(f"knapsack, batch 64, {size}", ours * 1e3, "ms", at_most=bar_ms)
    for name, seconds, bar in (
        ("HiGHS", _highs_seconds(profits_BLO, option_index_BL, budget), 1000),
        ("CP-SAT", _cp_sat_seconds(profits_BLO, option_index_BL, budget), None),
        ("naive torch program", _torch_seconds(profits_BLO, option_index_BL, budget), None),
    ):
        detail = f"it took {seconds * 1e3:,.3g} ms" if seconds < 1 else f"it took {seconds * 1e3:,.0f} ms"
        record(f"knapsack, times faster than {name}, {size}", seconds / ours, "x", at_least=bar, detail=detail)


def _fixed(profits_BLO: Tensor) -> np.ndarray:
    """Profits as the integers that our program compares."""
    return np.rint(profits_BLO.double().numpy() * 2**FRACTION_BITS).astype(np.int64)


def _totals(fixed_BLO: np.ndarray, option_index_BL: Tensor) -> np.ndarray:
    return np.take_along_axis(fixed_BLO, option_index_BL.numpy()[:, :, None], axis=2).sum(axis=(1, 2))


def _highs_seconds(profits_BLO: Tensor, option_index_BL: Tensor, budget: int) -> float:
    """Times the solver alone, its constraints being built before; every optimum must be ours."""
    constraints = highs_problem(profits_BLO.shape[1], BIT_WIDTHS, budget)
    fixed_BLO = _fixed(profits_BLO)
    totals_B = _totals(fixed_BLO, option_index_BL) * 2.0**-FRACTION_BITS
    seconds = []
    for example in range(NUM_SOLVED):
        profits_LO = fixed_BLO[example] * 2.0**-FRACTION_BITS
        seconds.append(min(seconds_of(lambda p=profits_LO: solve_highs(p, constraints)) for _ in range(2)))
        # Half a unit of the last place of a profit: the solver adds in floating point.
        assert -solve_highs(profits_LO, constraints).fun == pytest.approx(
            totals_B[example], abs=2.0 ** -(FRACTION_BITS + 1), rel=0
        )
    return sum(seconds) * BATCH / NUM_SOLVED


def _cp_sat_seconds(profits_BLO: Tensor, option_index_BL: Tensor, budget: int) -> float:
    """Times the solver alone, its model being built before; every optimum must be ours, as an integer."""
    fixed_BLO = _fixed(profits_BLO)
    totals_B = _totals(fixed_BLO, option_index_BL)
    seconds = []
    for example in range(NUM_SOLVED):
        model = cp_sat_problem(fixed_BLO[example], BIT_WIDTHS, budget)
        assert solve_cp_sat(model) == totals_B[example]
        seconds.append(min(seconds_of(lambda m=model: solve_cp_sat(m)) for _ in range(2)))
    return sum(seconds) * BATCH / NUM_SOLVED


def _torch_seconds(profits_BLO: Tensor, option_index_BL: Tensor, budget: int) -> float:
    fixed_BLO = _fixed(profits_BLO)
    theirs_BL = select_in_torch(profits_BLO, BIT_WIDTHS, budget)
    # It adds in float32, so it may take the second best where two totals round to the same number.
    difference_B = _totals(fixed_BLO, option_index_BL) - _totals(fixed_BLO, theirs_BL)
    assert difference_B.min() >= 0
    assert difference_B.max() < profits_BLO.shape[1] * 2**6
    return min(seconds_of(lambda: select_in_torch(profits_BLO, BIT_WIDTHS, budget)) for _ in range(10))
