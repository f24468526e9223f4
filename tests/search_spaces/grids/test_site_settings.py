"""Grids whose sites are at inputs of layers, or whose ranges are no image's own."""

import pytest

from orchestrator.plan import build_plan
from orchestrator.workers.entry_points import num_sites
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, Grid, build_grid

INPUTS = {"test_resnet": 16, "resnet18": 18, "mobilenetv4_conv_medium": 80, "regnetx_016": 60}


def sites_of(architecture: str, placement: str = "outputs") -> int:
    return INPUTS[architecture] if placement == "inputs" else num_sites(architecture)


def grid(name: str = "quick", *overrides: str, budgets: tuple[int, ...] = ()) -> Grid:
    return build_grid(name, Choices(overrides=overrides, budgets=budgets), sites_of)


def uids(grid: Grid) -> dict[str, str]:
    return {node.name: node.uid for node in build_plan(grid, lambda architecture: 15).nodes}


def test_defaults_that_are_spelled_out_change_no_uid() -> None:
    assert uids(grid("quick", "pair.sites=outputs", "pair.range_scope=example")) == uids(grid())


def test_levels_count_the_inputs_and_every_cell_says_how_many_there_are() -> None:
    cells = grid("quick", "pair.sites=inputs").cells
    assert {cell.budget_level: cell.recipe.budget for cell in cells} == {"A": 64, "B": 88, "C": 112}
    assert {cell.num_sites for cell in cells} == {16}
    assert {cell.num_sites for cell in grid().cells} == {None}


def test_a_setting_of_one_goal_leaves_the_cells_of_the_other() -> None:
    budgets = {(cell.goal.value, cell.recipe.budget) for cell in grid("quick", "pair.robust.sites=inputs").cells}
    assert {budget for goal, budget in budgets if goal == "robust"} == {64, 88, 112}
    assert {budget for goal, budget in budgets if goal == "detrimental"} == {60, 82, 105}


def test_the_papers_totals_are_refused_for_inputs_and_other_totals_are_not() -> None:
    with pytest.raises(ConfigError, match=r"the paper's total is for the outputs of layers.*--budget BITS, such as 72"):
        grid("full", "pair.sites=inputs")
    cells = grid("full", "pair.sites=inputs", budgets=(480,)).cells
    assert {cell.num_sites for cell in cells} == {18, 80, 60}


def test_ranges_over_a_batch_that_end_at_quantiles_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"scale_quantile=0.9 with range_scope=batch"):
        grid("quick", "pair.range_scope=batch", "pair.scale_quantile=0.9")
