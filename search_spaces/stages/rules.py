"""Rules of `--fail-if`: when an assessment fails, as values. `RUNG.FIGURE > NUMBER`, `suspicious` or `fragile`.

Numbers are percentage points, or percent for shares: `uniform.drop > 2`, `worst_static.flips > 10`,
`int8.accuracy < 97`. A rule on a rung counts at every budget.
"""

import re
from collections.abc import Sequence
from typing import Literal

from search_spaces.errors import ConfigError, unknown_name
from search_spaces.model import Frozen, parse
from search_spaces.stages.assessment import RUNGS
from search_spaces.stages.quantized_file import LARGEST_DROP

FIGURES = ("accuracy", "drop", "flips", "flips_low_margin", "worst_class_drop")
"""Figures that a rule may name; each has an interval."""
VERDICTS = ("suspicious", "fragile")
"""Verdicts that a rule may name."""
_RULE = re.compile(r"\s*(\w+)\s*\.\s*(\w+)\s*([<>])\s*(\S+)\s*")


class FigureRule(Frozen):
    """Fails where a figure is beyond a bound."""

    text: str
    """The rule as the user wrote it."""
    rung: str
    figure: str
    sign: Literal["<", ">"]
    bound: float
    """Fraction."""


class VerdictRule(Frozen):
    """Fails by verdict: `suspicious` by this one only, `fragile` by every verdict but healthy."""

    text: str
    verdict: str


Rule = FigureRule | VerdictRule


def parse_rule(text: str) -> Rule:
    """Reads a rule.

    Raises:
        UnknownNameError: There is no such rung, figure or verdict; names those that there are.
        ConfigError: The text is no rule.

    Examples:
        >>> rule = parse_rule("uniform.drop > 2")
        >>> rule.rung, rule.figure, rule.bound
        ('uniform', 'drop', 0.02)
        >>> parse_rule("suspicious").verdict
        'suspicious'
    """
    place = "--fail-if "
    if re.fullmatch(r"\s*\w*\s*", text):
        if text.strip() not in VERDICTS:
            raise unknown_name("verdict or rule", text.strip(), VERDICTS, place=place)
        return VerdictRule(text=text.strip(), verdict=text.strip())
    match = _RULE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--fail-if {text!r} is no rule: write RUNG.FIGURE > NUMBER in percentage points, for example "
            "'uniform.drop > 2', or suspicious, or fragile."
        )
    rung, figure, sign, number = match.groups()
    if rung not in RUNGS:
        raise unknown_name("rung", rung, RUNGS, place=place)
    if figure not in FIGURES:
        raise unknown_name("figure", figure, FIGURES, place=f"{place}{rung}")
    values = {"text": text.strip(), "rung": rung, "figure": figure, "sign": sign, "bound": _points(number, text) / 100}
    return parse(FigureRule, values, place=place)


def largest_drop_of(rules: Sequence[Rule]) -> float:
    """Returns the drop that a quantized file may have by the strictest rule on it, such as `file.drop > 1`.

    Examples:
        >>> largest_drop_of([parse_rule("file.drop > 1"), parse_rule("file.drop > 3")]), largest_drop_of([])
        (0.01, 0.02)
    """
    on_drop = [rule for rule in rules if isinstance(rule, FigureRule) and (rule.rung, rule.figure) == ("file", "drop")]
    return max(0.0, min((rule.bound for rule in on_drop if rule.sign == ">"), default=LARGEST_DROP))


def _points(number: str, text: str) -> float:
    try:
        points = float(number)
    except ValueError:
        points = float("nan")
    if not -100 <= points <= 100:
        raise ConfigError(
            f"--fail-if {text!r}: {number} is no number of percentage points, which are from -100 to 100."
        )
    return points
