"""How a search is set up: its length, its pruner, its space and the points it starts from."""

from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces import paper
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.loss_space import PUBLISHED, LossSpace, as_published, holds, place_of, point_of
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from search_spaces.search import Search

PAIR = paper.pair_recipe("resnet18")


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"trials": 4}, 8),
        ({"trials": 4, "max_trials": 5}, 5),
        ({"trials": 4, "max_trials": 4}, 4),
        ({"trials": 4, "keep_searching": True}, 4),
        ({"trials": 4, "max_trials": 9, "keep_searching": True}, 4),
        ({"trials": 0}, 0),
    ],
)
def test_a_cell_takes_twice_its_share_unless_told_otherwise(search: dict[str, Any], expected: int) -> None:
    assert Search(**search).most_trials == expected


@pytest.mark.parametrize(
    ("search", "epochs", "expected"),
    [
        ({}, 8, True),
        ({}, 7, False),
        ({"sampler": "nsga2"}, 100, False),
        ({"sampler": "nsga2", "objective": "lag"}, 100, True),
        ({"sampler": "nsga2", "pruner": "hurdle"}, 2, True),
        ({"pruner": "halving"}, 2, True),
        ({"pruner": "none"}, 100, False),
    ],
)
def test_trials_are_pruned_where_epochs_and_sampler_allow(search: dict[str, Any], epochs: int, expected: bool) -> None:
    assert Search(**search).prunes(epochs) is expected


def test_a_field_is_chosen_from_two_values_at_least_of_which_none_is_named_twice() -> None:
    assert LossSpace(profits=("softmax", "logits")).choices == {"profits": ("softmax", "logits")}
    for values in (("softmax",), ("softmax", "softmax")):
        with pytest.raises((ConfigError, ValidationError)):
            LossSpace(profits=values)


def test_as_published_differs_from_a_recipe_in_what_the_paper_says_only() -> None:
    published = as_published(vary(PAIR, epochs=7, batch_size=32, hinge_weight=3.0))
    assert {name: getattr(published, name) for name in PUBLISHED} == dict(PUBLISHED)
    assert (published.epochs, published.batch_size, published.budget) == (7, 32, PAIR.budget)


def test_a_recipe_has_a_place_where_the_space_reaches_it() -> None:
    space = LossSpace(batch_norm=("frozen", "both"), learning_rate=(0.01, 0.2), kd_weight=None)
    moved = vary(PAIR, margin=0.2, batch_norm="both", learning_rate=0.1)
    place = place_of(moved, PAIR, space)
    assert place == {"hinge_weight": 1.0, "margin": 0.2, "learning_rate": 0.1, "batch_norm": "both"}
    assert vary(PAIR, **place) == moved
    assert place_of(vary(moved, kd_weight=2.0), PAIR, space) is None, "a field that is not searched"
    assert place_of(vary(moved, batch_norm="fp_pass"), PAIR, space) is None, "no choice of the space"
    assert place_of(vary(moved, margin=0.95), PAIR, space) is None, "beyond the range"
    assert not holds(space, point_of(vary(moved, margin=0.95), space))


def test_full_space_has_eight_fields_of_a_pair() -> None:
    space = LossSpace(
        temperature=(1, 10), learning_rate=(0.01, 0.2), profits=("softmax", "logits"), range_gradient=(True, False),
        batch_norm=("frozen", "both"),
    )  # fmt: skip
    assert len(space.fields) == 8
    assert set(space.fields) <= set(PairRecipe.model_fields)
    assert set(space.ranges) | set(space.choices) == set(space.fields)


@pytest.mark.parametrize(
    ("choices", "value"),
    [
        ({"search": {"trials": 0, "sampler": "gp"}}, "sampler=gp"),
        ({"search": {"trials": 0, "confirm_seeds": 2}}, "confirm_seeds=2"),
        ({"search": {"trials": 3}, "goals": ("robust",)}, "trials=3"),
    ],
)
def test_how_to_search_is_refused_where_nothing_is_searched(choices: dict[str, Any], value: str) -> None:
    with pytest.raises(ConfigError, match=f"search: {value} says how to search, and no cell of this grid is searched"):
        build_grid("quick", Choices(**choices), lambda _: 15)
    unsearched = build_grid("quick", Choices(search={"trials": 0}), lambda _: 15)
    assert not any(cell.search_trials for cell in unsearched.cells)


def test_only_detrimental_cells_are_searched_and_the_command_line_wins() -> None:
    grid = build_grid("quick", Choices(search={"trials": 1, "confirm_seeds": 3}), lambda _: 15)
    assert (grid.search.trials, grid.search.confirm_seeds, grid.search.levels) == (1, 3, ("B",))
    assert {cell.goal.value for cell in grid.cells if cell.search_trials} == {"detrimental"}
