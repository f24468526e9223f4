"""What every frozen value refuses: booleans for numbers, numbers without end, and too much text in an error."""

from typing import Any

import pytest

from search_spaces.analyses import ANALYSES, set_analyses
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import MAX_TEXT, ConfigError, SweepError, unknown_name
from search_spaces.grids.template import Template
from search_spaces.model import Frozen, parse
from search_spaces.search import Search

DIGITS = {"name": "digits", "image_size": 32}
GRID = {"name": "mine"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Search, {"trials": True}),
        (Search, {"max_trials": False}),
        (Search, {"gpu_hours": True}),
        (Search, {"space": {"margin": [False, True]}}),
        (Template, GRID | {"seeds": [0, True]}),
        (Template, GRID | {"budgets": [{"bits": True}]}),
        (Template, GRID | {"budgets": [{"average_bits": True}]}),
        (Template, GRID | {"option_sets": {"own": [True, 2]}}),
        (DatasetSpec, DIGITS | {"split_seed": True}),
        (DatasetSpec, DIGITS | {"mean": [True, 0.5, 0.5]}),
        (DatasetSpec, DIGITS | {"crop": True}),
        (DatasetSpec, DIGITS | {"image_size": True}),
    ],
)
def test_a_boolean_is_no_number(kind: type[Frozen], values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse(kind, values)


@pytest.mark.parametrize("value", ["yes", "on", "true", "[true]", ".inf", "-.inf", ".nan", "1e400"])
def test_settings_of_analyses_take_finite_numbers(value: str) -> None:
    with pytest.raises(ConfigError):
        set_analyses(ANALYSES, [f"cross_policy.num_draws={value}"])


def test_booleans_stay_booleans() -> None:
    assert parse(Search, {"warm_start": False, "space": {"range_gradient": [True, False]}}).warm_start is False


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 10**400])
@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [(Search, {}, "gpu_hours"), (DatasetSpec, DIGITS, "test_fraction"), (DatasetSpec, DIGITS, "crop")],
)
def test_numbers_are_finite(kind: type[Frozen], values: dict[str, Any], field: str, number: float) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(kind, values | {field: number})
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "error",
    [
        SweepError("x" * 10**6),
        unknown_name("grid", "x" * 10**6, ["quick"]),
        pytest.param(None, id="value of a field"),
    ],
)
def test_no_error_is_longer_than_a_screen(error: SweepError | None) -> None:
    if error is None:
        with pytest.raises(ConfigError) as refusal:
            parse(Template, GRID | {"seeds": ["x" * 10**6] * 10})
        error = refusal.value
    assert len(str(error)) <= MAX_TEXT


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x00b", "a\x1b[31mb", "a\u2028b", "a\udcffb"])
def test_an_error_is_one_line_of_unicode_whatever_a_name_holds(text: str) -> None:
    said = str(ConfigError(f"folder {text} holds no image"))
    assert said.encode()
    assert said.isprintable()
