"""Signals against SciPy, NumPy and forward hooks, and their blindness to quantization."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from search_spaces.analyses import Indicators
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.indicators import SIGNALS, activation_statistics, indicators
from trainables.analyses.trained_pair import Row, Subject
from trainables.data.augment import evaluation_batch
from trainables.data.corruptions import STRENGTHS
from trainables.data.images import VALIDATION
from trainables.data.view import View


def signals_of(subject: Subject, **settings: int) -> Row:
    (row,) = rows_of(indicators(Indicators(**settings), subject))
    return row


def test_a_pair_has_one_row_of_documented_finite_signals(create_subject: Callable[..., Subject]) -> None:
    row = signals_of(create_subject(noise=0.01))
    assert list(row) == list(SIGNALS)
    assert all(isinstance(value, float) and np.isfinite(value) for value in row.values())


def test_signals_do_not_depend_on_anything_that_only_quantization_sees(create_subject: Callable[..., Subject]) -> None:
    one = create_subject(budget=52)
    # Another seed makes another policy; without noise the student is the white box in both.
    other = create_subject(budget=100, weight_bit_width=4, scale_quantile=0.9, seed=3)
    assert other.quantized(VALIDATION).accuracy != one.quantized(VALIDATION).accuracy
    assert signals_of(one) == signals_of(other)


def test_margins_and_corruption_losses_are_of_the_validation_split(create_subject: Callable[..., Subject]) -> None:
    subject = create_subject(noise=0.01)
    row = signals_of(subject)
    margins = subject.full_precision(VALIDATION).margins_B.double().numpy()
    assert row["margin_mean"] == pytest.approx(margins.mean())
    assert row["margin_low"] == pytest.approx(np.quantile(margins, 0.05))
    losses = [row[f"corruption_loss_{kind}"] for kind in STRENGTHS]
    assert row["corruption_loss"] == pytest.approx(np.mean(losses))
    assert row["corruption_loss"] > 0
    assert signals_of(subject, corruption_degree=1)["corruption_loss"] != row["corruption_loss"]


def test_weight_signals_equal_numpys(create_subject: Callable[..., Subject]) -> None:
    subject = create_subject(noise=0.01)
    row = signals_of(subject)
    weights = [weight.numpy() for weight in subject.student.model.state_dict().values() if weight.ndim in (2, 4)]
    assert len(weights) == 16
    assert row["weight_norm_mean"] == pytest.approx(np.mean([np.linalg.norm(weight) for weight in weights]))
    assert row["weight_outlier_max"] == pytest.approx(max(np.abs(weight).max() / weight.std() for weight in weights))


def test_activation_statistics_equal_scipys_per_image() -> None:
    activation = torch.relu(torch.randn(5, 4, 7, 7))
    kurtosis, zeros, outlier = activation_statistics(activation).T.numpy()
    values = activation.flatten(1).double().numpy()
    np.testing.assert_allclose(kurtosis, stats.kurtosis(values, axis=1))
    np.testing.assert_allclose(zeros, (values == 0).mean(axis=1))
    np.testing.assert_allclose(outlier, np.abs(values).max(axis=1) / values.std(axis=1))


def test_a_constant_activation_has_no_outliers() -> None:
    activation = torch.stack([torch.zeros(6), torch.full((6,), 0.1), torch.tensor([0.0, 0, 0, 0, 0, 6])])
    expected = torch.tensor([[0, 1, 0], [0, 0, 0], [1.2, 5 / 6, 6 / 5**0.5]], dtype=torch.float64)
    torch.testing.assert_close(activation_statistics(activation), expected)


def test_a_sites_signals_are_means_over_images_compared_between_sites(create_subject: Callable[..., Subject]) -> None:
    subject = create_subject(noise=0.01)
    row = signals_of(subject)
    per_site: list[Tensor] = []
    images = evaluation_batch(subject.data.splits[VALIDATION].images_BCHW, View(32, 32))
    subject.student.observe(
        images, None, lambda _, activation: per_site.append(activation_statistics(activation).mean(dim=0))
    )
    kurtosis, zeros, outlier = torch.stack(per_site).T
    assert row["kurtosis_max"] == pytest.approx(kurtosis.max().item())
    assert row["kurtosis_mean"] == pytest.approx(kurtosis.mean().item())
    assert row["zero_share_mean"] == pytest.approx(zeros.mean().item())
    assert row["outlier_max"] == pytest.approx(outlier.max().item())
