"""Single values reach the recipes they name, in their order, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import paper
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.grids.overrides import parse_assignments, scale_epochs
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe

PAIR = paper.pair_recipe("resnet18")


def sites(architecture: str) -> int:
    return 15


def digits(*overrides: str, epochs_scale: float | None = None) -> Grid:
    return build_grid("digits", Choices(overrides=overrides, epochs_scale=epochs_scale), sites)


def pairs(grid: Grid, goal: Goal) -> list[PairRecipe]:
    return [cell.recipe for cell in grid.cells if cell.goal is goal]


def differences(changed: Grid, grid: Grid) -> set[str]:
    """Places in which two grids differ."""
    stages = {"teacher": (changed.teacher, grid.teacher), "dataset": (changed.dataset, grid.dataset)}
    stages["distill"] = (changed.white_boxes[0], grid.white_boxes[0])
    stages |= {goal: (pairs(changed, goal)[0], pairs(grid, goal)[0]) for goal in Goal}
    return {
        f"{stage}.{field}"
        for stage, (after, before) in stages.items()
        for field in type(after).model_fields
        if getattr(after, field) != getattr(before, field)
    }


@pytest.mark.parametrize(
    ("override", "places"),
    [
        ("teacher.learning_rate=1e-4", {"teacher.learning_rate"}),
        ("teacher.augmentations=[horizontal_flip, mixup]", {"teacher.augmentations"}),
        ("distill.kd_scaled=false", {"distill.kd_scaled"}),
        ("pair.weight_bit_width=null", {"robust.weight_bit_width", "detrimental.weight_bit_width"}),
        ("pair.detrimental.margin=0.05", {"detrimental.margin"}),
        ("pair.robust.train=[policy]", {"robust.train"}),
        ("dataset.validation_fraction=0.2", {"dataset.validation_fraction"}),
    ],
)
def test_an_override_changes_what_it_names_and_nothing_else(override: str, places: set[str]) -> None:
    assert differences(digits(override), digits()) == places


def test_values_are_read_as_yaml_and_the_later_one_counts() -> None:
    grid = digits("pair.margin=0.1", "pair.margin=5e-2", "pair.detrimental.margin=0.2")
    assert {recipe.margin for recipe in pairs(grid, Goal.ROBUST)} == {0.05}
    assert {recipe.margin for recipe in pairs(grid, Goal.DETRIMENTAL)} == {0.2}
    assert parse_assignments(["teacher.weights=a=b.safetensors"]).teacher == {"weights": "a=b.safetensors"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.margin=1", "unknown stage 'pairs'. Did you mean 'pair'"),
        ("pair.marginn=1", "unknown field '--set pair.marginn'. Did you mean 'margin'"),
        ("pair.robust.marginn=1", "unknown field '--set pair.robust.marginn'. Did you mean 'margin'"),
        ("pair.robst.margin=1", "unknown goal 'pair.robst'. Did you mean 'robust'"),
        ("dataset.image_siz=32", "unknown field '--set dataset.image_siz'. Did you mean 'image_size'"),
        ("dataset.name=digit", "unknown dataset 'digit'. Did you mean 'digits'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(override: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        digits(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pair.margin=2", r"--set pair.margin=2: Input should be less than 1\.$"),
        ("pair.detrimental.margin=x", "--set pair.detrimental.margin='x': .* valid number"),
        ("pair.train=[policy, policy]", "--set pair: train=.* a part twice"),
        ("pair.robust=3", "--set pair.robust=3 names no field"),
        ("distill.robust.epochs=3", "write STAGE.FIELD=VALUE"),
        ("pair.margin", "write STAGE.FIELD=VALUE"),
        ("pair=3", "write STAGE.FIELD=VALUE"),
        ("=3", "write STAGE.FIELD=VALUE"),
        ("pair.margin=[", "has no readable value"),
        ("pair.goal=robust", "use --goal"),
        ("pair.robust.budget=82", "use --budget"),
        ("pair.bit_widths=[4, 8]", "use --option-set"),
        ("pair.architecture=resnet18", "use --architecture"),
        ("distill.architecture=resnet18", "use --architecture"),
    ],
)
def test_bad_values_and_what_cells_set_are_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        digits(override)
    assert "\n" not in str(refusal.value)


def test_epochs_of_all_stages_are_scaled_and_an_explicit_number_wins() -> None:
    grid = digits("distill.epochs=7", epochs_scale=0.25)
    assert (grid.teacher.epochs, grid.white_boxes[0].epochs, grid.cells[0].recipe.epochs) == (2, 7, 8)
    assert differences(digits(epochs_scale=0.25), digits()) == {
        "teacher.epochs",
        "distill.epochs",
        "robust.epochs",
        "detrimental.epochs",
    }


def test_epochs_scaled_by_one_are_the_same_grid() -> None:
    assert digits(epochs_scale=1.0) == digits()


@given(scale=st.floats(1e-6, 1e3))
def test_scaled_epochs_are_the_nearest_whole_number_above_zero(scale: float) -> None:
    epochs = scale_epochs(PAIR, scale).epochs
    assert epochs == 1 or abs(epochs - scale * PAIR.epochs) <= 0.5
    assert epochs >= 1


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_scales_that_leave_no_number_of_epochs_are_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="scales no epochs"):
        scale_epochs(PAIR, scale)
