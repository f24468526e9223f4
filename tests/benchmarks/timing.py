"""CPU time of one thread, the smallest of many repetitions, ours and its peers in turn.

CPU time and not the clock on the wall: the machine may be shared, and a one-thread program that never waits takes the
same of both on an idle one. In turn, because a neighbour that starts half-way would otherwise slow only one side.
"""

import math
import time
from collections.abc import Callable, Mapping

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

TIMER = time.process_time
IN_CPU_TIME = pytest.mark.benchmark(timer=TIMER)
"""Mark of every module here: pytest-benchmark uses the same clock."""


def seconds_of(function: Callable[[], object]) -> float:
    """Returns the CPU time of one call."""
    start = TIMER()
    function()
    return TIMER() - start


def best_seconds(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    peer_calls: int = 1,
) -> tuple[float, dict[str, float]]:
    """Times `ours`, which bench.json then holds in full, and each peer before every round of it.

    Args:
        benchmark: The fixture; it can be used once per test.
        ours: What is measured.
        peers: What it is compared with.
        rounds: Of ours.
        peer_calls: Calls of each peer before a round; a short peer needs more than one to find a warm cache.

    Returns:
        The smallest CPU seconds of ours and of each peer.
    """
    best = dict.fromkeys(peers, math.inf)

    def time_peers() -> None:
        for name, peer in peers.items():
            best[name] = min(best[name], *(seconds_of(peer) for _ in range(peer_calls)))

    benchmark.pedantic(ours, setup=time_peers, rounds=rounds, iterations=1, warmup_rounds=1)
    return benchmark.stats.stats.min, best
