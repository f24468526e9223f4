"""Named grids hold the cells that they promise."""

import pytest

from search_spaces import paper
from search_spaces.errors import UnknownNameError
from search_spaces.grids import Choices, Grid, build_grid
from search_spaces.recipes import Goal, parse_recipe


def sites(architecture: str) -> int:
    return paper.NUM_SITES.get(architecture, 15)


def test_full_grid_is_table_1() -> None:
    grid = build_grid("full", Choices(), sites)
    assert len(grid.cells) == 54
    assert len({cell.cell_id for cell in grid.cells}) == 54
    printed = {
        (cell.architecture, cell.option_set, cell.budget_level) for cell in grid.cells if cell.goal is Goal.ROBUST
    }
    assert printed == set(paper.TABLE_1)
    assert grid.dataset.name == "oxford-iiit-pet"
    assert grid.teacher.architecture == "resnet50"


def test_quick_grid_searches_the_detrimental_cell_at_five_and_a_half_bits() -> None:
    grid = build_grid("quick", Choices(), sites)
    assert [cell.recipe.budget for cell in grid.cells] == [60, 60, 82, 82, 105, 105]
    assert {cell.cell_id: cell.search_trials for cell in grid.cells if cell.search_trials} == {
        "test_resnet/I/B/detrimental/seed0": 4
    }


def test_choices_replace_what_they_name() -> None:
    choices = Choices(seed=3, architectures=("resnet18", "resnet10t"), option_sets=("II",), budgets=(96, 100))
    grid = build_grid("quick", choices, sites)
    assert [recipe.architecture for recipe in grid.white_boxes] == ["resnet18", "resnet10t"]
    assert {cell.recipe.bit_widths for cell in grid.cells} == {tuple(range(4, 11))}
    assert {(cell.budget_level, cell.recipe.budget) for cell in grid.cells} == {("96b", 96), ("100b", 100)}
    assert {cell.seed for cell in grid.cells} == {3}


def test_paper_networks_off_the_papers_grid_take_budgets_from_their_sites() -> None:
    grid = build_grid("full", Choices(architectures=("resnet34",)), lambda architecture: 36)
    assert [cell.recipe.budget for cell in grid.cells[:6:2]] == [144, 198, 252]


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("qick", Choices(), "unknown grid 'qick'. Did you mean 'quick'"),
        ("quick", Choices(dataset="digit"), "unknown dataset 'digit'. Did you mean 'digits'"),
        ("quick", Choices(option_sets=("IV",)), "unknown option set 'IV'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, choices: Choices, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        build_grid(name, choices, sites)


def test_grids_survive_json() -> None:
    grid = build_grid("quick", Choices(), sites)
    assert parse_recipe(Grid, grid.model_dump(mode="json")) == grid
