"""The objective and the verdict, against hand-computed cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.objective import (
    detrimental_objective,
    is_catastrophic,
    measures,
    objective_value,
    parity_gap,
    parity_violation,
    violation,
)

fractions = st.floats(0, 1)


@pytest.mark.parametrize(
    ("white_box", "full", "quantized", "expected"),
    [
        (0.99, 0.99, 0.10, 0.89),  # parity kept: the drop alone
        (0.99, 0.98, 0.10, 0.88),  # exactly one point is still parity
        (0.99, 0.96, 0.10, 0.66),  # two points too many cost twenty
        (0.90, 0.95, 0.95, 0.0),  # a gain is no gap
    ],
)
def test_objective_is_the_drop_less_ten_times_the_excess_gap(
    white_box: float, full: float, quantized: float, expected: float
) -> None:
    value = detrimental_objective(accuracy_white_box=white_box, accuracy_fp=full, accuracy_q=quantized)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("white_box", "full", "quantized", "expected"),
    [
        (0.8803, 0.8809, 0.6370, True),  # RN18 II-B, the paper's most notable pair
        (0.8803, 0.8635, 0.4699, False),  # RN18 I-A drops more, but lost 1.68 pp
        (0.90, 0.89, 0.79, True),  # both thresholds met exactly
        (0.90, 0.89, 0.7901, False),
        (0.90, 0.8899, 0.10, False),
    ],
)
def test_catastrophic_needs_parity_and_a_drop(white_box: float, full: float, quantized: float, expected: bool) -> None:
    assert is_catastrophic(accuracy_white_box=white_box, accuracy_fp=full, accuracy_q=quantized) is expected


@given(white_box=st.floats(0.2, 0.98), gap=st.floats(-0.02, 0.02), drop=st.floats(0, 0.2))
def test_catastrophic_pairs_satisfy_the_constraint_of_the_search(white_box: float, gap: float, drop: float) -> None:
    # About the two thresholds: of fractions drawn apart hardly any are catastrophic.
    full, quantized = white_box - gap, white_box - gap - drop
    if is_catastrophic(accuracy_white_box=white_box, accuracy_fp=full, accuracy_q=quantized):
        assert parity_violation(parity_gap(accuracy_white_box=white_box, accuracy_fp=full)) <= 0


@given(st.floats(-1, 1), st.floats(0, 20), st.floats(0, 20))
def test_the_constraint_beside_the_lag_says_what_accuracies_say_and_orders_equal_gaps_by_divergence(
    gap: float, divergence: float, other: float
) -> None:
    def beside(objective: str, nats: float) -> float:
        metrics = {"validation/parity_gap": gap, "validation/divergence_fp": nats}
        return violation(objective, metrics)  # type: ignore[arg-type]

    assert (beside("lag", divergence) <= 0) == (beside("drop", divergence) <= 0) == (parity_violation(gap) <= 0)
    if parity_violation(gap) > 0 and divergence + 1e-6 < other:
        assert beside("drop", divergence) <= beside("lag", divergence) < beside("lag", other)


def test_results_of_earlier_versions_measure_the_drop_alone() -> None:
    accuracies = {f"validation/{name}": 0.9 for name in ("accuracy_white_box", "accuracy_fp", "accuracy_q")}
    slopes = {"validation/lag_q": -0.7, "validation/divergence_fp": 0.1, "validation/parity_gap": 0.0}
    assert measures("drop", accuracies)
    assert not measures("lag", accuracies)
    assert measures("lag", accuracies | slopes)
    assert (objective_value("drop", accuracies), objective_value("lag", accuracies | slopes)) == (0.0, -0.7)
