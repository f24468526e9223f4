"""Grids with networks that are given: what their plans hold, and what does not go together."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Plan, build_plan
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import parse, vary
from search_spaces.models import model_spec
from search_spaces.stages.assessment import ImageSettings, NetworkFacts
from search_spaces.stages.registry import Stage

SITES = {"mine": 15, "yours": 15, "resnet18": 20, "other": 21}
ONE, TWO = "timm:mine@/a.pt", "timm:yours@/b.pt"


class Opener:
    """Opens networks that do not exist: their size is 48, and `yours` wants other statistics."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[ImageSettings, bool]] = {}

    def __call__(self, uri: str, dataset: DatasetSpec, settings: ImageSettings, *, is_typed: bool) -> NetworkFacts:
        self.asked[uri] = settings, is_typed
        spec = model_spec(uri)
        own = {"std": (0.5, 0.5, 0.5) if spec.name == "yours" else (0.25, 0.25, 0.25)}
        said = {name: value for name, value in settings.model_dump().items() if value is not None}
        return NetworkFacts(
            model=vary(spec, sha256=spec.uri.encode().hex().ljust(64, "0")[-64:]),
            architecture=spec.name,
            num_sites=SITES[spec.name],
            macs=1,
            dataset=parse(DatasetSpec, dataset.model_dump() | own | said),
            how_labelled="",
        )


def no_sites(architecture: str) -> int:
    raise AssertionError(f"{architecture} is given: nobody builds it by name")


def given(grid: str = "quick", opener: Opener | None = None, **choices: Any) -> Grid:
    sites = (lambda _: 15) if "teacher" in choices or "architectures" in choices else no_sites
    return build_grid(grid, Choices(**choices), sites, opener or Opener())


def plan_of(grid: Grid) -> Plan:
    # As `resume` and `report` do, from what is written down.
    return build_plan(parse(Grid, grid.model_dump(mode="json")), lambda _: 15 if grid.white_boxes else no_sites("any"))


def test_pairs_of_a_white_box_that_is_given_have_no_parent_and_carry_the_network() -> None:
    plan = plan_of(given(white_boxes=[ONE]))
    assert plan.stage_counts() == {Stage.PAIR: 14}
    assert not any(node.parents for node in plan.nodes)
    assert {node.recipe.given.uri for node in plan.nodes if node.recipe.given} == {ONE}
    assert {node.cell.architecture.split("-")[0] for node in plan.nodes if node.cell} == {"mine"}


def test_other_weights_make_other_trials() -> None:
    cells = given(white_boxes=[ONE]).cells
    other = vary(cells[0].recipe, white_box=vary(model_spec(ONE), sha256="1" * 64).model_dump())
    changed = given(white_boxes=[ONE]).model_copy(update={"cells": (vary(cells[0], recipe=other.model_dump()),)})
    assert plan_of(changed).nodes[0].uid not in plan_of(given(white_boxes=[ONE])).by_uid()


def test_a_second_white_box_changes_no_uid_of_the_first() -> None:
    mean = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    one, both = plan_of(given(white_boxes=[ONE], **mean)), plan_of(given(white_boxes=[ONE, TWO], **mean))
    assert one.by_uid().keys() < both.by_uid().keys()
    assert len(both.nodes) == 2 * len(one.nodes)


@pytest.mark.parametrize(("name", "totals"), [("resnet18", [80, 110, 140]), ("other", [84, 116, 147])])
def test_budgets_count_the_sites_of_the_network(name: str, totals: list[int]) -> None:
    grid = given("full", white_boxes=[f"timm:{name}@/a.pt"], option_sets=["I"], goals=["robust"])
    assert [cell.recipe.budget for cell in grid.cells] == totals
    assert [cell.num_sites for cell in grid.cells] == 3 * [SITES[name]]


def test_images_are_prepared_as_the_network_says_where_neither_grid_nor_user_do() -> None:
    opener = Opener()
    assert given("families", opener, white_boxes=[ONE], goals=["detrimental"]).dataset.std == (0.25, 0.25, 0.25)
    settings, is_typed = opener.asked[ONE]
    assert (settings.image_size, settings.std, is_typed) == (32, None, True)
    assert given(white_boxes=[ONE], std="0.1,0.2,0.3").dataset.std == (0.1, 0.2, 0.3)
    # The dataset's default, spelled out.
    assert given(white_boxes=[ONE], std="0.229,0.224,0.225").dataset.std is None
    assert given(white_boxes=[ONE], overrides=["dataset.std=[0.1, 0.2, 0.3]"]).dataset.std == (0.1, 0.2, 0.3)


def test_a_teacher_that_is_given_is_distilled_and_not_trained() -> None:
    plan = plan_of(given(teacher=ONE))
    assert plan.stage_counts() == {Stage.DISTILL: 1, Stage.PAIR: 14}
    (distilled,) = (node for node in plan.nodes if node.stage is Stage.DISTILL)
    assert distilled.parents == ()
    assert distilled.recipe.given
    assert distilled.recipe.given.uri == ONE
    assert {node.parents for node in plan.nodes if node.stage is Stage.PAIR} == {(distilled.uid,)}


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        (f"white_boxes: ['{ONE}']", {Stage.PAIR: 14}),
        (f"teacher: '{ONE}'", {Stage.DISTILL: 1, Stage.PAIR: 14}),
        (f"teacher: {{uri: '{ONE}'}}", {Stage.DISTILL: 1, Stage.PAIR: 14}),
    ],
)
def test_a_grid_file_gives_networks_whose_code_does_not_run(
    text: str, stages: dict[Stage, int], tmp_path: Path
) -> None:
    path, opener = tmp_path / "mine.yaml", Opener()
    path.write_text(f"name: mine\nbase: quick\n{text}\n")
    grid = build_grid(str(path), Choices(), lambda _: 15, opener)
    assert build_plan(grid, lambda _: 15).stage_counts() == stages
    assert not opener.asked[ONE][1]
    # Architectures that are asked for by name are distilled all the same.
    distilled = build_grid(str(path), Choices(architectures=["test_resnet"]), lambda _: 15, opener)
    assert [recipe.architecture for recipe in distilled.white_boxes] == ["test_resnet"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"white_boxes": [ONE], "teacher": TWO}, "--teacher has no part in it"),
        ({"white_boxes": [ONE], "architectures": ["resnet18"]}, "leave one out"),
        ({"white_boxes": [ONE], "overrides": ["distill.epochs=3"]}, "--set distill.epochs=3 changes nothing"),
        ({"white_boxes": [ONE], "teacher_weights": "scratch"}, "changes nothing: no teacher is trained"),
        ({"teacher": ONE, "overrides": ["teacher.epochs=3"]}, "changes nothing: no teacher is trained where one is"),
        ({"white_boxes": [ONE, TWO]}, r"wants std=.* and .* has one of them: give --std"),
        ({"white_boxes": [ONE, ONE]}, "two cells would be called mine-"),
        ({"white_boxes": ["onnx:net.onnx"]}, "an ONNX file, which has no gradients"),
        ({"white_boxes": ["mine.pt"]}, "does not say of what network"),
        ({"overrides": ["pair.white_box=x"]}, "use --white-box"),
        ({"overrides": ["distill.black_box=x"]}, "use --teacher"),
    ],
)
def test_what_does_not_go_together_is_one_line(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_grid("quick", Choices(**choices), lambda _: 15, Opener())
    assert "\n" not in str(error.value)


def test_a_budget_that_the_sites_of_the_network_cannot_meet_is_refused() -> None:
    (refused, _) = plan_of(given(white_boxes=[ONE], budgets=[9])).refused
    assert "9 bits cannot be met by 15 sites" in refused.reason


@pytest.mark.parametrize("more", ["architectures: [resnet18]", "teacher: {epochs: 2}", "distill: {epochs: 2}"])
def test_a_grid_file_that_gives_white_boxes_says_nothing_of_how_others_are_made(more: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nbase: quick\nwhite_boxes: ['{ONE}']\n{more}\n")
    with pytest.raises(ConfigError, match="white_boxes are given"):
        build_grid(str(path), Choices(), lambda _: 15, Opener())


def test_values_for_one_architecture_hold_for_a_network_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\nbase: quick\nwhite_boxes: ['{ONE}']\nper_architecture: {{mine: {{pair: {{epochs: 5}}}}}}\n"
    )
    grid = build_grid(str(path), Choices(), no_sites, Opener())
    assert {cell.recipe.epochs for cell in grid.cells} == {5}
    path.write_text(path.read_text().replace("{mine:", "{mime:"))
    with pytest.raises(UnknownNameError, match=r"per_architecture\.mime"):
        build_grid(str(path), Choices(), no_sites, Opener())


def test_a_file_may_have_values_for_an_architecture_that_the_command_line_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nbase: quick\narchitectures: [a, b]\nsearch: {trials: 0}\n"
        "per_architecture: {b: {pair: {epochs: 5}}}\n"
    )
    grid = build_grid(str(path), Choices(architectures=["a"]), lambda _: 15)
    assert {cell.architecture for cell in grid.cells} == {"a"}


def test_white_boxes_that_are_given_are_not_trained_with_several_seeds(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: mine\nbase: quick\nseeds: {white_box: 2, pair: 2}")
    with pytest.raises(ConfigError, match=r"my.yaml: seeds.white_box=2: white boxes are given.*seeds: \[0, 1\]"):
        given(str(tmp_path / "my.yaml"), white_boxes=[ONE])
