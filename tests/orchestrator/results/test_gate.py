"""The gate: rules against measured intervals, and what a CI system reads of it."""

import xml.etree.ElementTree as ElementTree

import pytest

from orchestrator.results.gate import apply_rules, check_rules, junit_xml
from search_spaces.errors import ConfigError
from search_spaces.stages.rules import parse_rule
from tests.trainables.assessment.test_record import assessment, rung
from trainables.assessment.record import MissingRung


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        # The drop is 2 pp, its interval 0.1 to 7; the accuracy is 97 %, its interval 92 to 99.
        ("uniform.drop > 0.05", "fail"),
        ("uniform.drop > 0.1", "not shown"),
        ("uniform.drop > 1", "not shown"),
        ("uniform.drop > 5", "not shown"),
        ("uniform.drop > 7", "pass"),
        ("uniform.accuracy < 99.5", "fail"),
        ("uniform.accuracy < 95", "not shown"),
        ("uniform.accuracy < 92", "pass"),
        ("uniform.flips > 8.5", "pass"),
        ("uniform.flips_low_margin > 5", "fail"),
        ("uniform.worst_class_drop > 0", "not shown"),
    ],
)
def test_a_rule_fails_where_the_whole_interval_is_beyond_its_bound_and_passes_where_none_of_it_is(
    rule: str, outcome: str
) -> None:
    (result,) = apply_rules([parse_rule(rule)], assessment(rung()))
    assert (result.rule, result.outcome) == (rule, outcome)


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (((0.03, 0.05), (0.0, 0.01)), "fail"),
        (((0.0, 0.05), (0.0, 0.01)), "not shown"),
        (((0.03, 0.05), (0.0, 0.05)), "fail"),
        (((0.0, 0.01), (0.0, 0.01)), "pass"),
    ],
)
def test_at_several_budgets_the_worst_outcome_counts_and_the_reason_names_its_budget(
    ends: tuple[tuple[float, float], tuple[float, float]], outcome: str
) -> None:
    rungs = [rung(budget=60 + n, drop_low=low, drop_high=high) for n, (low, high) in enumerate(ends)]
    (result,) = apply_rules([parse_rule("uniform.drop > 2")], assessment(*rungs, rung(rung="random", drop_low=0.9)))
    assert result.outcome == outcome
    assert "at 60 bits" in result.reason


@pytest.mark.parametrize(("low", "outcome"), [(0.2, "fail"), (0.0, "not shown")])
def test_a_rung_that_is_missing_shows_nothing_and_hides_no_failure(low: float, outcome: str) -> None:
    missing = MissingRung(rung="pair", budget=82, reason="failed: NonFiniteLossError: NaN")
    found = assessment(rung(rung="pair", drop_low=low, drop_high=low), missing=(missing,))
    (result,) = apply_rules([parse_rule("pair.drop > 10")], found)
    assert result.outcome == outcome
    assert ("at 82 bits is not trained (failed: NonFiniteLossError: NaN)" in result.reason) == (outcome == "not shown")


@pytest.mark.parametrize(
    ("verdict", "outcomes"),
    [("healthy", ("pass", "pass")), ("fragile", ("pass", "fail")), ("suspicious", ("fail", "fail"))],
)
def test_fragile_fails_by_every_verdict_but_healthy(verdict: str, outcomes: tuple[str, str]) -> None:
    rules = [parse_rule("suspicious"), parse_rule(" fragile ")]
    results = apply_rules(rules, assessment(rung(), verdict=verdict))
    assert tuple(result.outcome for result in results) == outcomes


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("unifrom.drop > 2", "Did you mean 'uniform'"),
        ("uniform.dorp > 2", "Did you mean 'drop'"),
        ("suspicous", "Did you mean 'suspicious'"),
        ("uniform.drop", "RUNG.FIGURE > NUMBER"),
        ("uniform.drop >= 2", "RUNG.FIGURE > NUMBER"),
        ("uniform.drop > 200", "from -100 to 100"),
        ("uniform.drop > nan", "no number of percentage points"),
        ("", "suspicious"),
    ],
)
def test_what_is_no_rule_is_one_line_that_says_what_there_is(rule: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        parse_rule(rule)
    assert "\n" not in str(error.value)


def test_a_rule_on_a_rung_that_is_not_measured_is_refused_with_those_that_are() -> None:
    check_rules([parse_rule("fp.accuracy < 90"), parse_rule("fragile")], ("fp", "uniform"))
    with pytest.raises(ConfigError, match="no rung pair; it has fp, uniform; --train adds it"):
        check_rules([parse_rule("pair.drop > 3")], ("fp", "uniform"))


def test_junit_has_a_case_per_rule_that_fails_or_is_skipped() -> None:
    rules = [parse_rule(text) for text in ("uniform.drop > 0.05", "uniform.drop > 1", "uniform.drop > 9")]
    found = assessment(rung())
    found = found.model_copy(update={"gate": apply_rules(rules, found)})
    suite = ElementTree.fromstring(junit_xml(found)).find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["skipped"], []]
    assert suite[0].get("name") == "uniform.drop > 0.05"
