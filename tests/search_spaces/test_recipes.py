"""Recipes refuse what breaks a rule, in one line that names the field."""

from collections.abc import Sequence
from typing import Any

import pytest

from search_spaces import paper
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.loss_space import LossSpace, point_of, suggest
from search_spaces.model import parse, vary
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe

PAIR = paper.pair_recipe("resnet18")


def test_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown field of PairRecipe 'margn'. Did you mean 'margin'"):
        vary(PAIR, margn=0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("margin", -0.1), ("margin", 1.0), ("epochs", 0), ("kd_weight", 0.0), ("learning_rate", float("nan"))],
)
def test_value_outside_its_range_names_field_and_rule(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"PairRecipe {field}="):
        vary(PAIR, **{field: value})


def test_option_set_out_of_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be an option set"):
        vary(PAIR, bit_widths=(5, 4))


@pytest.mark.parametrize("train", [(), ("policy", "policy")])
def test_a_pair_trains_at_least_one_part_and_none_twice(train: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="name student, policy or both"):
        vary(PAIR, train=train)


def test_recipes_survive_json() -> None:
    assert parse(PairRecipe, PAIR.model_dump(mode="json")) == PAIR


@pytest.mark.parametrize("goal", Goal)
def test_a_pair_has_the_hinge_of_its_goal_unless_it_names_a_loss(goal: Goal) -> None:
    assert vary(PAIR, goal=goal).loss_name == f"hinge_{goal}"
    assert vary(PAIR, goal=goal, loss="hinge_robust").loss_name == "hinge_robust"


def test_a_field_that_came_later_is_written_only_where_it_is_set() -> None:
    assert "loss" not in PAIR.model_dump(mode="json")
    named = vary(PAIR, loss="hinge_robust")
    assert named.model_dump(mode="json") == PAIR.model_dump(mode="json") | {"loss": "hinge_robust"}
    assert parse(PairRecipe, named.model_dump(mode="json")) == named


def test_recipes_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PAIR.margin = 0.5  # type: ignore[misc]


class _Middle:
    """Suggests the geometric middle of every range."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        assert log
        return float((low * high) ** 0.5)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[-1]


def test_points_of_the_space_move_only_the_searched_fields() -> None:
    point = suggest(LossSpace(), _Middle())
    moved = vary(PAIR, **point)
    assert point_of(moved, LossSpace()) == point
    assert moved.model_dump(exclude=set(point)) == PAIR.model_dump(exclude=set(point))


def test_the_papers_point_lies_in_the_space() -> None:
    for name, value in point_of(PAIR, LossSpace()).items():
        low, high = getattr(LossSpace(), name)
        assert low <= value <= high
