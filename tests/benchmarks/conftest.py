"""How a benchmark hands in its figures: they travel in bench.json, and `figures.py` makes a table of them."""

from collections.abc import Callable
from dataclasses import asdict

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.figures import Figure


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """Adds one figure; a missed bar is reported and fails nothing, since a busy machine may miss one too."""
    figures: list[dict[str, object]] = benchmark.extra_info.setdefault("figures", [])

    def add(name: str, value: float, unit: str, **more: object) -> None:
        figures.append(asdict(Figure(name=name, value=value, unit=unit, **more)))  # type: ignore[arg-type]

    return add
