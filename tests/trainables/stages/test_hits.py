"""A pair that stops on a hit: when it stops, that its count outlives a kill, and that both rules of a hit agree."""

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from orchestrator.results.claims import Evidence, claim_of
from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.names import HITS_IN_A_ROW, Goal
from search_spaces.objective import Claims, accuracies_of, is_catastrophic
from tests.trainables.stages.small_pair import SMALL_PAIR
from trainables.checkpoints import ResumePoint
from trainables.data.images import ImageData
from trainables.stages import hits, pair
from trainables.training_loop import EpochReport, StageResult, finish

RECIPE = vary(SMALL_PAIR, epochs=6, batch_size=64, stop_on_hit=2)
SHOWS = (True, False, True, True, True)
"""Which epochs show a hit."""


def run(
    data: ImageData, white_box: nn.Module, resume: bytes | None = None
) -> tuple[list[EpochReport], list[bytes], StageResult]:
    point = ResumePoint.from_bytes(resume, source="a test") if resume else None
    reports: list[EpochReport] = []
    states: list[bytes] = []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        states.append(report.snapshot().to_bytes())

    shows: Iterator[bool] = iter(SHOWS[point.epoch if point else 0 :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hits, "shows_hit", lambda metrics: next(shows))
        return reports, states, finish(pair.train(RECIPE, data, white_box=white_box, resume=point), on_epoch)


def test_it_ends_at_the_second_hit_in_a_row_and_from_its_last_states_in_the_same_network(
    few_digits: ImageData, white_box: nn.Module
) -> None:
    reports, states, result = run(few_digits, white_box)
    assert [report.metrics[HITS_IN_A_ROW] for report in reports] == [1, 0, 1, 2]
    # The schedule is that of six epochs.
    assert reports[-1].metrics["learning_rate"] > RECIPE.learning_rate / 5
    assert HITS_IN_A_ROW not in result.metrics
    assert not [name for name in result.checkpoint if "in_a_row" in name]
    for done in (3, 4):
        again, _, same = run(few_digits, white_box, states[done - 1])
        assert [report.epoch for report in again] == [4][: 4 - done]
        assert same.metrics == result.metrics
        assert all(same.checkpoint[name].equal(tensor) for name, tensor in result.checkpoint.items())


counts = st.integers(0, 200)


@given(num_both=counts, lost=counts, gained=st.integers(0, 5), neither=st.integers(0, 20), parity=st.integers(-5, 5))
def test_a_hit_is_measured_by_the_searchs_rule_and_its_drop_shown_by_that_of_claims(
    num_both: int, lost: int, gained: int, neither: int, parity: int
) -> None:
    num_images = num_both + lost + gained + neither + 10
    metrics: Mapping[str, float] = {
        "validation/num_images": num_images,
        "validation/parity_lost": max(parity, 0),
        "validation/parity_gained": max(-parity, 0),
        "validation/drop_lost": lost,
        "validation/drop_gained": gained,
        "validation/accuracy_white_box": (num_both + lost + parity + 5) / num_images,
        "validation/accuracy_fp": (num_both + lost + 5) / num_images,
        "validation/accuracy_q": (num_both + gained + 5) / num_images,
    }
    claim = claim_of(metrics, Claims(), split="validation")
    assert claim is not None
    is_hit = is_catastrophic(**accuracies_of(metrics, "validation"))
    assert hits.shows_hit(metrics) == (is_hit and claim.fall is Evidence.SHOWN)


def test_only_a_detrimental_pair_has_a_hit_to_stop_on() -> None:
    with pytest.raises(ConfigError, match=r"a robust pair has no hits; .*pair\.detrimental\.stop_on_hit"):
        vary(RECIPE, goal=Goal.ROBUST)
    assert vary(RECIPE, goal=Goal.ROBUST, stop_on_hit=0).stop_on_hit is None
