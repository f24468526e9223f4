"""Named grids hold the cells that they promise."""

import pytest

from search_spaces import paper
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.grids.named import NAMED_TEMPLATES
from search_spaces.model import parse
from search_spaces.names import Goal


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
    assert grid.teacher == paper.TEACHER_RECIPE
    assert grid.white_boxes == tuple(paper.distill_recipe(architecture) for architecture in paper.WHITE_BOXES)
    cells_set = {"goal", "bit_widths", "budget"}
    for cell in grid.cells:
        assert cell.recipe.model_dump(exclude=cells_set) == paper.pair_recipe(cell.architecture).model_dump(
            exclude=cells_set
        )


def test_quick_grid_searches_the_detrimental_cell_at_five_and_a_half_bits() -> None:
    grid = build_grid("quick", Choices(), sites)
    assert [cell.recipe.budget for cell in grid.cells] == [60, 60, 82, 82, 105, 105]
    assert {cell.cell_id: cell.search_trials for cell in grid.cells if cell.search_trials} == {
        "test_resnet/I/B/detrimental/seed0": 8
    }


def test_families_searches_what_its_comments_say_and_no_grid_from_before_hard_searches_otherwise_than_it_did() -> None:
    searches = {name: build_grid(name, Choices(), sites).search for name in NAMED_TEMPLATES}
    assert {name: search.trials for name, search in searches.items() if search.trials} == {
        "quick": 4,
        "digits": 4,
        "smoke": 1,
        "families": 3,
        "hard": 8,
    }
    later = {"objective", "portfolio", "startup", "learns_from"}
    assert [name for name, search in searches.items() if later & search.model_dump().keys()] == ["hard"]
    families = searches["families"]
    assert (families.max_trials, families.pruner) == (12, "none")
    assert families.space.ranges == {"kd_weight": (0.3, 3.0), "margin": (0.05, 0.9), "learning_rate": (0.02, 0.2)}
    assert families.space.choices == {}


def test_choices_replace_what_they_name() -> None:
    choices = Choices(seeds=(3,), architectures=("resnet18", "resnet10t"), option_sets=("II",), budgets=(96, 100))
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


def test_every_seed_trains_the_pairs_and_the_first_one_what_they_share() -> None:
    grid = build_grid("quick", Choices(seeds=(7, 2), budgets=(82,)), sites)
    assert (grid.seed, grid.seeds) == (7, (7, 2))
    assert [(cell.seed, cell.goal) for cell in grid.cells] == [(s, g) for s in (7, 2) for g in Goal]
    assert len({cell.cell_id for cell in grid.cells}) == 4


def test_goals_choose_cells() -> None:
    grid = build_grid("quick", Choices(goals=("detrimental",)), sites)
    assert {cell.goal for cell in grid.cells} == {Goal.DETRIMENTAL}
    assert len(grid.cells) == 3


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(seeds=(1, 1)), "two cells would be called test_resnet/I/A/robust/seed1"),
        (Choices(budgets=(82, 82)), "two cells would be called test_resnet/I/82b/robust/seed0"),
    ],
)
def test_cells_of_one_name_are_refused(choices: Choices, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_grid("quick", choices, sites)


def test_grids_survive_json() -> None:
    grid = build_grid("quick", Choices(), sites)
    assert parse(Grid, grid.model_dump(mode="json")) == grid
