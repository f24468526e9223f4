"""The gate of an assessment: rules against what was measured, with the intervals that were measured.

A rule fails where the whole 95 % interval of its figure is beyond the bound, passes where none of it is, and is *not
shown* otherwise: with so few images the figure may be on either side, or its training failed. At several budgets the
worst outcome counts.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from search_spaces.errors import ConfigError
from search_spaces.stages.assessment import FILE_RUNGS, LADDER_RUNGS, TRAINED_RUNGS
from search_spaces.stages.rules import FigureRule, Rule, VerdictRule
from trainables.assessment.record import Assessment, GateResult, MissingRung, Outcome, Rung

GATE_FAILED = 3
"""Exit code where a rule fails."""
_WORST_FIRST: tuple[Outcome, ...] = ("fail", "not shown", "pass")


def check_rules(rules: Sequence[Rule], rungs: Sequence[str]) -> None:
    """Refuses rules on rungs that an assessment will not have, before anything runs.

    Raises:
        ConfigError: Names the rule and the rungs that there are.
    """
    for rule in rules:
        if isinstance(rule, FigureRule) and rule.rung not in rungs:
            added_by = {rung: "--train" for rung in TRAINED_RUNGS} | {rung: "--reference" for rung in FILE_RUNGS}
            added_by |= {rung: "--budget" for rung in LADDER_RUNGS}
            hint = f"; {added_by[rule.rung]} adds it" if rule.rung in added_by else ""
            raise ConfigError(
                f"--fail-if {rule.text!r}: this assessment has no rung {rule.rung}; it has {', '.join(rungs)}{hint}."
            )


def apply_rules(rules: Sequence[Rule], assessment: Assessment) -> tuple[GateResult, ...]:
    """Returns the outcome of every rule, in their order."""
    return tuple(
        _by_verdict(rule, assessment) if isinstance(rule, VerdictRule) else _by_figure(rule, assessment)
        for rule in rules
    )


def junit_xml(assessment: Assessment) -> bytes:
    """Returns the outcomes as a JUnit report: a case per rule, which is skipped where nothing is shown."""
    gate = assessment.gate
    counts = {outcome: sum(each.outcome == outcome for each in gate) for outcome in _WORST_FIRST}
    totals = {"tests": str(len(gate)), "failures": str(counts["fail"]), "skipped": str(counts["not shown"])}
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "dptq-sweep assess"} | totals)
    for each in gate:
        names = {"classname": assessment.model.architecture, "name": each.rule}
        case = ElementTree.SubElement(suite, "testcase", names)
        if each.outcome == "fail":
            ElementTree.SubElement(case, "failure", {"message": each.reason})
        elif each.outcome == "not shown":
            ElementTree.SubElement(case, "skipped", {"message": f"not shown: {each.reason}"})
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _by_verdict(rule: VerdictRule, assessment: Assessment) -> GateResult:
    # What was built to fail is no healthier than what fails by nature.
    failing = {rule.verdict, "suspicious"}
    outcome: Outcome = "fail" if assessment.verdict in failing else "pass"
    return GateResult(rule=rule.text, outcome=outcome, reason=f"the verdict is {assessment.verdict}")


def _by_figure(rule: FigureRule, assessment: Assessment) -> GateResult:
    results = [_at_one_budget(rule, rung) for rung in assessment.rungs if rung.rung == rule.rung]
    results += [_missing(rule, missing) for missing in assessment.missing if missing.rung == rule.rung]
    assert results, f"rule {rule.text!r} was not checked against the rungs of the assessment"
    return min(results, key=lambda result: _WORST_FIRST.index(result.outcome))


def _missing(rule: FigureRule, missing: MissingRung) -> GateResult:
    reason = f"{missing.rung} at {missing.budget} bits is not trained ({missing.reason})"
    return GateResult(rule=rule.text, outcome="not shown", reason=reason)


def _at_one_budget(rule: FigureRule, rung: Rung) -> GateResult:
    value, low, high = (getattr(rung, f"{rule.figure}{end}") for end in ("", "_low", "_high"))
    if rule.sign == ">":
        is_beyond, is_within = low > rule.bound, high <= rule.bound
    else:
        is_beyond, is_within = high < rule.bound, low >= rule.bound
    outcome: Outcome = "fail" if is_beyond else "pass" if is_within else "not shown"
    place = f" at {rung.budget} bits" if rung.budget is not None else ""
    unit = "%" if rule.figure in ("accuracy", "flips", "flips_low_margin") else "pp"
    measured = f"{100 * value:.1f} {unit}, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
    return GateResult(rule=rule.text, outcome=outcome, reason=f"{rule.rung}.{rule.figure}{place} is {measured}")
