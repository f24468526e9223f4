"""Streamed statistics against NumPy and SciPy on the whole stream."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from trainables.analyses.streaming_statistics import Agreement, Distribution

CPU = torch.device("cpu")


def distribution_of(values: np.ndarray, cuts: list[int], *, low: float = -8, high: float = 8, num_bins: int = 1600):
    distribution = Distribution(low=low, high=high, num_bins=num_bins, device=CPU)
    for piece in np.split(values, cuts):
        if piece.size:
            distribution.add(torch.from_numpy(piece).double())
    distribution.add_sample(torch.from_numpy(values)[:, None])
    return distribution.columns("x")


@pytest.mark.parametrize("shift", [0.0, 5.0, 1e6])
def test_moments_are_those_of_the_whole_stream_wherever_it_is_cut(shift: float) -> None:
    values = np.random.default_rng(0).gamma(0.7, size=5000) + shift
    for cuts in ([], [1], [2500], [10, 11, 4000], list(range(100, 5000, 100))):
        row = distribution_of(values, cuts)
        found = [row[f"{name}_x"] for name in ("min", "max", "mean", "std", "skewness", "kurtosis")]
        central = values - values.mean()
        exact = [values.min(), values.max(), values.mean(), values.std(), stats.skew(central), stats.kurtosis(central)]
        np.testing.assert_allclose(found, exact, rtol=1e-7)


@given(
    values=arrays(np.float32, st.integers(1, 40), elements=st.floats(-10, 10, width=32)),
    on_grid=st.lists(st.integers(-1000, 1000), max_size=20),
)
def test_counts_are_those_of_numpy_edges_included(values: np.ndarray, on_grid: list[int]) -> None:
    # Exactly on an edge where float32 can express it, and as close as it can elsewhere.
    values = np.concatenate([values, np.array(on_grid, dtype=np.float32) / 100]).astype(np.float32)
    # The distance to the first edge is rounded to float64, so what lies this little below 0 counts as 0.
    values[np.abs(values) < 1e-12] = 0
    row = distribution_of(values, [len(values) // 2])
    counts, edges = np.histogram(values.astype(np.float64), bins=1600, range=(-8, 8))
    assert row["counts_x"] == counts.tolist()
    zero_bin = np.flatnonzero(edges <= 0)[-1]
    assert row["zero_x"] == pytest.approx(counts[zero_bin] / len(values))
    outside = (values < -8) | (values > 8)
    assert row["outside_x"] == pytest.approx(outside.mean(), abs=1e-12)


def test_zero_counts_what_falls_into_the_bin_that_begins_at_0() -> None:
    values = np.array([-0.001, 0.0, 0.0, 0.009, 0.02, 9.0])
    row = distribution_of(values, [])
    assert row["counts_x"][799:803] == [1, 3, 0, 1]
    assert (row["zero_x"], row["outside_x"]) == (0.5, pytest.approx(1 / 6))
    # The last bin holds its upper edge.
    assert distribution_of(np.array([-1.0, 0.0]), [], low=-1, high=0, num_bins=4)["zero_x"] == 0.5


def test_equal_values_have_no_skewness() -> None:
    row = distribution_of(np.full(10, 3.0), [4])
    assert row["std_x"] == 0
    assert math.isnan(row["skewness_x"])
    assert math.isnan(row["kurtosis_x"])


def test_quantiles_are_exact_for_small_examples_and_close_for_large_ones() -> None:
    names = [f"{name}_x" for name in ("q01", "q25", "q50", "q75", "q99")]
    for num_values, tolerance in ((200, 1e-12), (5000, 0.05)):
        x = torch.randn(50, num_values, dtype=torch.float64)
        distribution = Distribution(low=-8, high=8, num_bins=16, device=CPU)
        distribution.add(x.flatten())
        distribution.add_sample(x[:20])
        distribution.add_sample(x[20:])
        row = distribution.columns("x")
        exact = np.quantile(x.numpy(), [0.01, 0.25, 0.5, 0.75, 0.99])
        np.testing.assert_allclose([row[name] for name in names], exact, atol=tolerance)


def test_agreement_is_sqnr_and_cosine_of_all_values_together() -> None:
    full, quantized = torch.randn(2, 1000, dtype=torch.float64)
    agreement = Agreement(CPU)
    for piece in (slice(0, 10), slice(10, 1000)):
        agreement.add(full[piece], quantized[piece])
    x, y = full.numpy(), quantized.numpy()
    assert agreement.columns("_local") == pytest.approx(
        {
            "sqnr_db_local": 10 * np.log10(np.sum(x**2) / np.sum((x - y) ** 2)),
            "cosine_local": x @ y / (np.linalg.norm(x) * np.linalg.norm(y)),
        }
    )


def test_agreement_of_equal_values_is_perfect_and_that_of_nothing_is_undefined() -> None:
    same, nothing = Agreement(CPU), Agreement(CPU)
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    same.add(x, x)
    nothing.add(x, torch.zeros_like(x))
    assert same.columns() == {"sqnr_db": math.inf, "cosine": 1.0}
    assert nothing.columns()["sqnr_db"] == 0
    assert math.isnan(nothing.columns()["cosine"])
