"""The rule that chooses a pair, on candidates made by hand."""

import pytest

from orchestrator.search.pair_choice import Candidate, candidate, choose
from tests.orchestrator.made_up import pair_metrics


def one(number: int, objective: float, gap: float, noise: float = 0.01) -> Candidate:
    return Candidate(f"u{number}", number, objective, gap, noise)


def chosen(*candidates: Candidate) -> int:
    found = choose(candidates)
    assert found is not None
    return found.trial_number


def test_nothing_is_chosen_of_nothing() -> None:
    assert choose([]) is None


def test_parity_comes_before_the_objective() -> None:
    assert chosen(one(0, 0.9, 0.011), one(1, 0.2, 0.0)) == 1
    assert chosen(one(0, 0.9, 0.02), one(1, 0.2, 0.011)) == 0


@pytest.mark.parametrize(("behind", "expected"), [(0.0277, 1), (0.0278, 0)])
def test_drops_count_as_equal_within_1_96_standard_errors_of_their_difference(behind: float, expected: int) -> None:
    # 1.96 * sqrt(0.01^2 + 0.01^2) = 0.02772
    assert chosen(one(0, 0.5, 0.005), one(1, 0.5 - behind, 0.001)) == expected


def test_the_earliest_of_equals_is_chosen() -> None:
    assert chosen(one(2, 0.5, 0.0), one(1, 0.5, 0.0)) == 1


def test_a_hit_that_is_shown_comes_before_all_others() -> None:
    shown = Candidate("u2", 2, 0.2, 0.02, 0.01, hit_is_shown=True)
    assert chosen(one(0, 0.9, 0.0), shown, one(1, 0.8, 0.0)) == 2
    assert chosen(one(0, 0.9, 0.0), shown, Candidate("u3", 3, 0.5, 0.0, 0.01, hit_is_shown=True)) == 3


def test_candidates_are_read_from_metrics() -> None:
    read = candidate("u", 3, pair_metrics(0.03, 0.5, noise=0.001))
    assert (read.trial_number, read.validation_parity_gap, read.validation_drop_standard_error) == (3, 0.03, 0.001)
    assert read.objective == pytest.approx(0.5 - 10 * 0.02)
