"""Detectors against scikit-learn and simulation, and that none has seen what it judges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from search_spaces.errors import ConfigError
from trainables.recognition.detector import (
    Detector,
    auroc,
    auroc_interval,
    cluster_interval,
    fit,
    held_out_scores,
)

SIGNALS = ("loud", "quiet")


def made_up(seed: int, num_clusters: int = 12) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A healthy and an attacked network per cluster, with overlapping signals."""
    random = np.random.default_rng(seed)
    is_attack = np.tile([False, True], num_clusters)
    loud = random.normal(size=2 * num_clusters) + 1.5 * is_attack
    table = pd.DataFrame({"loud": loud, "quiet": random.normal(size=2 * num_clusters) * 40 + 3})
    return table, is_attack, np.repeat(np.arange(num_clusters), 2)


@given(
    scores=st.lists(st.integers(0, 5), min_size=2, max_size=30),
    outcome=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_the_auroc_is_that_of_scikit_learn_with_ties(scores: list[int], outcome: list[bool]) -> None:
    of_each = [True, False, *outcome][: len(scores)]
    assert auroc(scores, of_each) == pytest.approx(roc_auc_score(of_each, scores))


@pytest.mark.parametrize("true", [0.6, 0.9, 0.98])
def test_the_interval_covers_at_the_sizes_of_the_benchmark(true: float) -> None:
    random, shift, covered = np.random.default_rng(0), norm.ppf(true) * np.sqrt(2), []
    for _ in range(2000):
        positive, negative = random.normal(shift, size=10), random.normal(size=40)
        value = auroc([*positive, *negative], [True] * 10 + [False] * 40)
        low, high = auroc_interval(value, 10, 40)
        covered.append(low <= true <= high)
    assert 0.93 <= np.mean(covered) <= 0.975


def test_an_interval_mirrors_and_has_a_width_at_both_ends() -> None:
    low, high = auroc_interval(0.8, 10, 40)
    mirrored = auroc_interval(0.2, 10, 40)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)
    assert auroc_interval(1.0, 10, 40)[0] == pytest.approx(1 - auroc_interval(0.0, 10, 40)[1])
    assert auroc_interval(1.0, 10, 40)[0] < 0.95


def test_scores_are_those_of_scikit_learn_above_its_highest_negative_row() -> None:
    table, is_attack, _ = made_up(0)
    peer = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    expected = peer.fit(table, is_attack).decision_function(table)
    scores = fit(table, is_attack, SIGNALS).scores(table)
    np.testing.assert_allclose(scores, expected - expected[~is_attack].max(), atol=1e-5)


def test_a_new_negative_row_raises_an_alarm_in_one_of_n_plus_one_cases() -> None:
    alarms = []
    for seed in range(300):
        table, is_attack, _ = made_up(seed, num_clusters=20)
        new, _, _ = made_up(10_000 + seed, num_clusters=20)
        alarms.append((fit(table, is_attack, SIGNALS).scores(new[~is_attack]) > 0).mean())
    assert np.mean(alarms) == pytest.approx(1 / 21, abs=0.02)


def test_a_detector_is_numbers_that_can_be_written_down() -> None:
    table, is_attack, _ = made_up(1)
    detector = fit(table, is_attack, SIGNALS)
    read = Detector.model_validate_json(detector.model_dump_json())
    np.testing.assert_array_equal(read.scores(table), detector.scores(table))


def test_no_network_is_judged_by_what_was_seen_of_its_white_box() -> None:
    table, is_attack, cluster = made_up(2)
    scores = held_out_scores(table, is_attack, cluster, SIGNALS)
    # Whatever happens to a sibling, a network's score stays; those of other white boxes change.
    other = table.copy()
    other.loc[1, "loud"] = 50.0
    changed = held_out_scores(other, is_attack, cluster, SIGNALS)
    assert changed[0] == scores[0]
    assert changed[2] != scores[2]


def test_attackers_who_are_not_fitted_on_change_no_score_of_others() -> None:
    table, is_attack, cluster = made_up(3)
    is_fitted = np.arange(len(table)) != 5
    scores = held_out_scores(table, is_attack, cluster, SIGNALS, is_fitted=is_fitted)
    other = table.copy()
    other.loc[5, "loud"] = -50.0
    changed = held_out_scores(other, is_attack, cluster, SIGNALS, is_fitted=is_fitted)
    assert (np.delete(changed, 5) == np.delete(scores, 5)).all()
    assert changed[5] != scores[5]


def test_a_signal_that_does_not_vary_says_nothing() -> None:
    table, is_attack, _ = made_up(4)
    scores = fit(table.assign(flat=7.0), is_attack, (*SIGNALS, "flat")).scores(table.assign(flat=7.0))
    np.testing.assert_allclose(scores, fit(table, is_attack, SIGNALS).scores(table), rtol=1e-6)


def test_one_outcome_a_missing_signal_and_a_nan_are_refused() -> None:
    table, is_attack, _ = made_up(5)
    with pytest.raises(ConfigError, match="one outcome"):
        fit(table, [True] * len(table), SIGNALS)
    with pytest.raises(ConfigError, match="one outcome"):
        auroc([1.0, 2.0], [False, False])
    with pytest.raises(ConfigError, match="missing"):
        fit(table, is_attack, ("louder",))
    with pytest.raises(ConfigError, match="not finite"):
        fit(table.assign(loud=np.nan), is_attack, SIGNALS)


def test_the_interval_of_clusters_is_that_of_their_mean() -> None:
    values = np.random.default_rng(6).uniform(0.6, 0.9, size=10)
    low, high = cluster_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
