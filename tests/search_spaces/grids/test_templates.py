"""Grid files: what they leave out is their base's, and what is wrong is named where it stands."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.plan import build_plan
from search_spaces import paper
from search_spaces.budgets import OPTION_SETS
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.grids.named import NAMED_TEMPLATES
from search_spaces.model import parse
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe


def sites(architecture: str) -> int:
    return paper.NUM_SITES.get(architecture, 15)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return path


def grid_of(tmp_path: Path, text: str, **choices: object) -> Grid:
    return build_grid(str(written(tmp_path, text)), Choices(**choices), sites)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(NAMED_TEMPLATES))
def test_a_file_that_changes_nothing_is_its_base(tmp_path: Path, name: str) -> None:
    grid = grid_of(tmp_path, f"name: {name}\nbase: {name}")
    assert grid == build_grid(name, Choices(), sites)


def test_the_papers_grid_is_the_default_base(tmp_path: Path) -> None:
    assert grid_of(tmp_path, "name: full") == build_grid("full", Choices(), sites)


@pytest.mark.parametrize("name", sorted(NAMED_TEMPLATES))
def test_named_grids_could_be_files(tmp_path: Path, name: str) -> None:
    values = NAMED_TEMPLATES[name].model_dump(mode="json")
    assert grid_of(tmp_path, yaml.safe_dump(values, sort_keys=False)) == build_grid(name, Choices(), sites)


@pytest.mark.parametrize("name", ["../mine", "a/b", "a b", "''"])
def test_a_name_that_cannot_be_part_of_a_sweeps_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        grid_of(tmp_path, f"name: {name}\nbase: quick")


def test_files_name_axes_of_their_own(tmp_path: Path) -> None:
    grid = grid_of(
        tmp_path,
        """
        name: mine
        base: quick
        architectures: [resnet18, test_vit]
        option_sets: [III, coarse: [2, 4, 8]]
        budgets: [{bits: 96}, {average_bits: 5.5}, {average_bits: 6, level: six}]
        goals: [detrimental]
        seeds: [3, 1]
        search: {trials: 2, levels: [six]}
        """,
    )
    assert grid.name == "mine"
    assert [recipe.architecture for recipe in grid.white_boxes] == ["resnet18", "test_vit"]
    assert {cell.option_set: cell.recipe.bit_widths for cell in grid.cells} == {
        "III": OPTION_SETS["III"],
        "coarse": (2, 4, 8),
    }
    totals = {(cell.architecture, cell.budget_level): cell.recipe.budget for cell in grid.cells}
    assert totals == {
        ("resnet18", "96b"): 96,
        ("resnet18", "5.5avg"): 110,
        ("resnet18", "six"): 120,
        ("test_vit", "96b"): 96,
        ("test_vit", "5.5avg"): 82,
        ("test_vit", "six"): 90,
    }
    assert {cell.goal for cell in grid.cells} == {Goal.DETRIMENTAL}
    assert grid.seeds == (3, 1)
    assert {cell.budget_level for cell in grid.cells if cell.search_trials == 4} == {"six"}
    assert len(grid.cells) == 2 * 2 * 3 * 2


def test_later_and_narrower_values_win(tmp_path: Path) -> None:
    grid = grid_of(
        tmp_path,
        """
        name: mine
        base: smoke
        dataset: {image_size: 48}
        teacher: {base: full, epochs: 3}
        distill: {batch_size: 16}
        pair: {epochs: 5, margin: 0.1, robust: {margin: 0.2}}
        architectures: [test_resnet, resnet10t]
        per_architecture:
          resnet10t: {distill: {batch_size: 8}, pair: {margin: 0.3, detrimental: {margin: 0.4}}}
        """,
    )
    assert (grid.dataset.name, grid.dataset.image_size) == ("digits", 48)
    assert grid.teacher == paper.TEACHER_RECIPE.model_copy(update={"epochs": 3})
    assert [recipe.batch_size for recipe in grid.white_boxes] == [16, 8]
    margins = {(cell.architecture, cell.goal): cell.recipe.margin for cell in grid.cells}
    assert margins == {
        ("test_resnet", Goal.ROBUST): 0.2,
        ("test_resnet", Goal.DETRIMENTAL): 0.1,
        ("resnet10t", Goal.ROBUST): 0.3,
        ("resnet10t", Goal.DETRIMENTAL): 0.4,
    }
    assert {cell.recipe.epochs for cell in grid.cells} == {5}


ATTACKERS = """
name: mine
base: smoke
pair: {epochs: 5, detrimental: {margin: 0.2}}
per_architecture: {test_resnet: {pair: {kd_weight: 2}}}
attackers:
  plain: {}
  channel: {range_scope: channel, margin: 0.9, kd_weight: 3}
  inputs: {sites: inputs}
"""


def test_every_attacker_trains_a_detrimental_pair_of_every_cell_and_none_a_robust_one(tmp_path: Path) -> None:
    grid = build_grid(str(written(tmp_path, ATTACKERS)), Choices(), lambda _, placement="outputs": len(placement) * 2)
    own = {cell.cell_id: cell.recipe for cell in grid.cells}
    name = "test_resnet/I/B{}/seed0"
    assert list(own) == [
        name.format(end) for end in ("/robust", *(f"+{each}/detrimental" for each in ("plain", "channel", "inputs")))
    ]
    plain = own[name.format("+plain/detrimental")]
    assert plain == parse(PairRecipe, own[name.format("/robust")].model_dump() | {"goal": "detrimental", "margin": 0.2})
    channel = plain.model_copy(update={"range_scope": "channel", "margin": 0.9, "kd_weight": 3.0})
    assert own[name.format("+channel/detrimental")] == channel
    # The budget is that of the sites that the attacker quantizes: 12, and 14 at outputs.
    inputs = own[name.format("+inputs/detrimental")]
    assert (inputs.sites, inputs.budget, plain.budget) == ("inputs", 66, 77)
    assert {cell.budget_level for cell in grid.cells if cell.search_trials} == {"B+plain", "B+channel", "B+inputs"}


def test_a_network_may_name_its_own_of_the_grids_attackers(tmp_path: Path) -> None:
    two = ATTACKERS.replace("{sites: inputs}", "{margin: 0.5}").replace(
        "name: mine", "name: mine\narchitectures: [test_resnet, test_vit]"
    )
    own = two.replace("{test_resnet: {pair: {kd_weight: 2}}}", "{test_vit: {attackers: [inputs, plain]}}")
    assert {name.partition("/")[0] for name in attackers_of(grid_of(tmp_path, own))} == {"test_resnet", "test_vit"}
    assert attackers_of(grid_of(tmp_path, own)) == {
        *(f"test_resnet/{each}" for each in ("plain", "channel", "inputs")),
        *(f"test_vit/{each}" for each in ("plain", "inputs")),
    }
    with pytest.raises(UnknownNameError, match=r"attacker in per_architecture.test_vit.*plane.*plain"):
        grid_of(tmp_path, own.replace("[inputs, plain]", "[plane]"))


def test_who_attacks_a_network_of_a_base_is_asked_only_of_the_bases_attackers(tmp_path: Path) -> None:
    text = "name: mine\nbase: matrix\n"
    assert "test_convnext/rescaled" not in attackers_of(grid_of(tmp_path, text))
    assert "test_convnext/spared" in attackers_of(grid_of(tmp_path, text))
    assert "test_convnext/mine" in attackers_of(grid_of(tmp_path, text + "attackers: {mine: {margin: 0.5}}\n"))


def attackers_of(grid: Grid) -> set[str]:
    """Networks and who attacks them."""
    return {
        f"{cell.architecture}/{cell.budget_level.partition('+')[2]}"
        for cell in grid.cells
        if cell.goal == "detrimental"
    }


def test_an_attacker_who_changes_nothing_has_the_uids_of_the_grid_without_attackers(tmp_path: Path) -> None:
    plain = plan_of(build_grid("smoke", Choices(), sites))
    assert plan_of(grid_of(tmp_path, "name: mine\nbase: smoke\nattackers: {plain: {}}")) == plain
    assert plain < plan_of(grid_of(tmp_path, "name: mine\nbase: smoke\nattackers: {plain: {}, x: {margin: 0.5}}"))


def plan_of(grid: Grid) -> set[str]:
    """The uids of its trials."""
    return {node.uid for node in build_plan(grid, sites).nodes}


def test_a_value_for_all_wins_over_the_bases_value_for_one(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "name: mine\ndistill: {batch_size: 32}")
    assert {recipe.batch_size for recipe in grid.white_boxes} == {32}


def test_levels_on_the_papers_grid_are_the_printed_totals_unless_told_otherwise(tmp_path: Path) -> None:
    text = "name: mine\narchitectures: [resnet18]\noption_sets: [II, own: [4, 6, 8]]\nbudgets: [B]\n"

    def totals(grid: Grid) -> dict[str, int]:
        return {cell.option_set: cell.recipe.budget for cell in grid.cells}

    assert totals(grid_of(tmp_path, text)) == {"II": 130, "own": 110}
    assert totals(grid_of(tmp_path, text + "printed_totals: false")) == {"II": 130, "own": 110}


def test_another_dataset_starts_from_its_own_defaults(tmp_path: Path) -> None:
    text = "name: mine\nbase: quick\ndataset: {name: digits, image_size: 64, validation_fraction: 0.2}"
    assert grid_of(tmp_path, text, dataset="digits").dataset.image_size == 64
    pets = grid_of(tmp_path, text, dataset="oxford-iiit-pet").dataset
    assert (pets.image_size, pets.validation_fraction) == (224, 0.1)


def test_the_command_line_chooses_among_the_sets_of_a_file(tmp_path: Path) -> None:
    text = "name: mine\nbase: quick\noption_sets: [coarse: [2, 4, 8], fine: [6, 7]]\nsearch: {trials: 3, levels: [A]}"
    grid = grid_of(tmp_path, text, option_sets=("coarse", "II"), budgets=(82,))
    assert {cell.option_set for cell in grid.cells} == {"coarse", "II"}
    # Budgets typed by hand are all searched.
    assert {cell.search_trials for cell in grid.cells if cell.goal is Goal.DETRIMENTAL} == {6}


def searched(grid: Grid) -> dict[str, int]:
    """Most trials by level, of the detrimental cells."""
    return {cell.budget_level: cell.search_trials for cell in grid.cells if cell.goal is Goal.DETRIMENTAL}


def test_budgets_of_a_file_are_all_searched_unless_its_own_search_names_some(tmp_path: Path) -> None:
    # The base searches level B only, which the file may not even have.
    text = "name: mine\nbase: quick\nbudgets: [{bits: 70}, B, {bits: 90, level: high}]\n"
    assert searched(grid_of(tmp_path, text)) == {"70b": 8, "B": 8, "high": 8}
    assert searched(grid_of(tmp_path, text, search={"trials": 3})) == {"70b": 6, "B": 6, "high": 6}
    assert searched(grid_of(tmp_path, text + "search: {trials: 3}")) == {"70b": 6, "B": 6, "high": 6}
    own = text + "search: {trials: 3, levels: [high]}"
    assert searched(grid_of(tmp_path, own)) == {"70b": 0, "B": 0, "high": 6}
    assert searched(grid_of(tmp_path, own, search={"trials": 1})) == {"70b": 0, "B": 0, "high": 2}
    assert searched(grid_of(tmp_path, "name: mine\nbase: quick")) == {"A": 0, "B": 8, "C": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("search: {sampler: gp}", "sampler=gp"),
        ("search: {trials: 3}\ngoals: [robust]", "trials=3"),
        ("search: {trials: 3, levels: []}", "trials=3"),
        (
            "search: {trials: 3, max_trials: 3, space: {margin: null}}\ngoals: [robust]",
            "trials=3, max_trials=3, space=",
        ),
    ],
)
def test_file_that_says_how_to_search_and_searches_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"my.yaml: search: {said}.* and no cell of this grid is searched") as refused:
        grid_of(tmp_path, f"name: mine\nbase: quick\n{text}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("search: {trials: 0, sampler: gp}", {}),
        ("search: {trials: 3, sampler: gp}", {"search": {"trials": 0}}),
        ("search: {trials: 3}", {"goals": ("robust",)}),
        ("goals: [robust]", {}),
    ],
)
def test_file_whose_search_is_left_out_on_purpose_is_not_refused(
    tmp_path: Path, text: str, choices: dict[str, Any]
) -> None:
    assert not any(searched(grid_of(tmp_path, f"name: mine\nbase: quick\n{text}", **choices)).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair: {robust: {marginn: 1}}", "my.yaml: pair.robust.marginn'. Did you mean 'margin'"),
        ("pairs: {}", "my.yaml: pairs'. Did you mean 'pair'"),
        ("search: {trails: 3}", "my.yaml: search.trails'. Did you mean 'trials'"),
        ("search: {trials: 3, levels: [D]}", "budget level in .*my.yaml: search.levels 'D'. Known: A, B, C"),
        ("budgets: [{bist: 3}]", "my.yaml: budgets.0.bist'. Did you mean 'bits'"),
        ("attackers: {x: {marginn: 1}}", "my.yaml: attackers.x.marginn'. Did you mean 'margin'"),
        ("dataset: {image_siz: 3}", "my.yaml: dataset.image_siz'. Did you mean 'image_size'"),
        ("teacher: {base: ful}", "grid in .*my.yaml: teacher.base 'ful'. Did you mean 'full'"),
        ("per_architecture: {resnet18: {}}", "my.yaml: per_architecture.resnet18'. Did you mean 'test_resnet'"),
        ("per_architecture: {test_resnet: {distil: {}}}", "per_architecture.test_resnet.distil'. Did you mean 'dis"),
    ],
)
def test_unknown_names_are_named_with_their_place_and_the_nearest(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        grid_of(tmp_path, f"name: mine\nbase: quick\n{text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair: {robust: {margin: 2}}", "my.yaml: pair.robust.margin=2: Input should be less than 1"),
        ("pair: {robust: 2}", "my.yaml: pair.robust=2 names no field"),
        ("pair: {budget: 82}", "my.yaml: pair.budget=82 is for the cells to set: use .*`budgets`"),
        ("pair: 3", "my.yaml: pair=3"),
        ("budgets: [D]", "my.yaml: budgets.0='D': unknown budget level .* Known: A, B, C"),
        ("budgets: [{bits: 82, average_bits: 5}]", "says twice how many bits"),
        ("budgets: [{level: A, bits: 82}]", "says twice how many bits"),
        ("budgets: []", "my.yaml: budgets=.* at least 1"),
        ("budgets: [B, {bits: 82}]", "I/B/robust/seed0 and test_resnet/I/82b/robust/seed0 are the same training"),
        ("option_sets: [IV]", "my.yaml: option_sets=.*unknown option set 'IV'"),
        ("option_sets: [I: [2, 3]]", "option set I is the paper's .* give yours another name"),
        ("option_sets: [own: [3, 2]]", "cannot be an option set"),
        ("option_sets: [a/b: [2, 3]]", "'a/b' cannot be a part of a cell's name"),
        ("goals: [robst]", "my.yaml: goals.0='robst'"),
        ("attackers: {}", "my.yaml: attackers=.* at least 1"),
        ("attackers: {a/b: {}}", "attacker 'a/b' cannot be a part of a cell's name"),
        ("attackers: {x: {margin: 2}}", "my.yaml: attackers.x.margin=2: Input should be less than 1"),
        ("attackers: {x: {bit_widths: [3]}}", "attackers.x.bit_widths=.* is for the cells to set: use .*`option_sets`"),
        ("attackers: {x: {}, y: {}}", r"I/A\+x/detrimental/seed0 and .*/A\+y/detrimental/seed0 are the same training"),
        ("seeds: [-1]", "my.yaml: seeds.0=-1"),
        ("seeds: {white_box: 0, pair: 3}", "my.yaml: seeds.white_box=0"),
        ("seeds: {white_box: 3, pairs: 3}", "my.yaml: seeds.pairs'. Did you mean 'pair'"),
        ("claims: {level: 0.7}", "my.yaml: claims.level=0.7"),
        ("name: other", "line 3 is no YAML: the key 'name' stands there twice"),
        ("pair: [", "line 3 is no YAML"),
    ],
)
def test_bad_values_are_one_line_that_names_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        grid_of(tmp_path, f"name: mine\nbase: quick\n{text}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just text", "holds no mapping"),
        (b"", "holds no mapping"),
        (b"\xff\xfe\x00", "my.yaml"),
        (b"a: \x00", "no YAML"),
        (b"name: a\n---\nname: b", "holds no mapping"),
    ],
)
def test_files_that_hold_no_grid_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refusal:
        build_grid(str(path), Choices(), sites)
    assert "\n" not in str(refusal.value)
