"""Grids of assessments: parts, budgets, and plans that stay as they were for everybody else."""

import pytest

from orchestrator.plan import build_plan
from search_spaces.datasets import dataset_spec
from search_spaces.errors import ConfigError, InfeasibleBudgetError, UnknownNameError
from search_spaces.grids.assess import assess_grid
from search_spaces.grids.build import Grid
from search_spaces.model import vary
from search_spaces.models import ModelSpec
from search_spaces.stages.assessment import LADDER_RUNGS, NETWORK_STEPS, AssessRecipe
from search_spaces.stages.companions import MEASURED
from search_spaces.stages.quantized_file import QuantizedFile
from search_spaces.stages.registry import STAGES, Stage

MODEL = ModelSpec(uri="timm:test_resnet", sha256="0" * 64)


def grid(**changes: object) -> Grid:
    values: dict[str, object] = {"architecture": "test_resnet", "num_sites": 15} | changes
    return assess_grid(MODEL, dataset_spec("digits"), **values)  # type: ignore[arg-type]  # a test's changes


def no_sites(architecture: str) -> int:
    raise AssertionError(f"nobody asks for the sites of {architecture}")


def test_by_default_there_is_a_ladder_at_4_and_5_5_and_7_bits_per_site_and_one_part_about_the_network() -> None:
    plan = build_plan(grid(), no_sites)
    assert [node.name for node in plan.nodes] == [
        *(f"assess/test_resnet/{bits}b" for bits in (60, 82, 105)),
        "assess/test_resnet/network",
    ]
    assert [node.recipe.epochs for node in plan.nodes] == [*[len(LADDER_RUNGS)] * 3, len(NETWORK_STEPS)]
    assert plan.stage_counts() == {Stage.ASSESS: 4}
    assert not any(node.parents for node in plan.nodes)


def test_a_part_keeps_its_uid_whatever_is_assessed_beside_it() -> None:
    def uids(**changes: object) -> dict[str, str]:
        return {node.name: node.uid for node in build_plan(grid(**changes), no_sites).nodes}

    base, more, longer = uids(budgets=[60]), uids(budgets=[60, 90]), uids(budgets=[60], max_passes=9)
    assert base.items() <= more.items()
    assert base["assess/test_resnet/network"] == longer["assess/test_resnet/network"]
    assert base["assess/test_resnet/60b"] != longer["assess/test_resnet/60b"]


@pytest.mark.parametrize("changes", [{}, {"companions": True, "sites": "inputs", "range_scope": "channel"}])
def test_a_grid_of_an_assessment_is_read_as_it_was_written(changes: dict[str, object]) -> None:
    written = grid(budgets=[60], **changes).model_dump(mode="json")
    assert Grid.model_validate(written) == grid(budgets=[60], **changes)


def test_sites_and_ranges_that_are_the_default_change_no_uid_and_others_do() -> None:
    def uids(**changes: object) -> list[str]:
        return [node.uid for node in build_plan(grid(budgets=[60], **changes), no_sites).nodes]

    base = uids()
    assert uids(sites="outputs", range_scope="example") == base
    assert not set(uids(sites="inputs")) & set(base)
    assert not set(uids(range_scope="batch")) & set(uids(range_scope="channel"))


def test_companions_are_one_part_more_at_8_bits_and_at_the_other_budgets() -> None:
    plan, base = (build_plan(grid(budgets=[60, 120], **more), no_sites) for more in ({"companions": True}, {}))
    (part,) = [node for node in plan.nodes if node not in base.nodes]
    assert part.name == "assess/test_resnet/companions"
    assert part.recipe.companions.budgets == (60,)
    assert part.recipe.epochs == 2 * len(MEASURED)
    scopes = (build_plan(grid(companions=True, range_scope=scope), no_sites) for scope in ("example", "batch"))
    assert len({plan.nodes[-1].uid for plan in scopes}) == 1


def test_a_quantized_file_is_a_part_beside_the_network_and_budgets_are_measured_only_where_they_are_asked_for() -> None:
    file = QuantizedFile(model=ModelSpec(uri="onnx:/data/model.int8.onnx", sha256="1" * 64))
    plain = build_plan(grid(), no_sites)
    alone, more = (build_plan(grid(quantized_file=file, budgets=budgets), no_sites) for budgets in ((), (60,)))
    assert [node.recipe.part for node in alone.nodes] == ["file", "network"]
    assert [node.recipe.part for node in more.nodes] == ["file", "60b", "network"]
    assert alone.nodes[-1] == plain.nodes[-1]
    assert Grid.model_validate(more.grid.model_dump(mode="json")) == more.grid
    stricter = build_plan(grid(quantized_file=vary(file, largest_drop=0.01)), no_sites)
    assert stricter.nodes[0].uid != alone.nodes[0].uid


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--sites inputs", {"sites": "inputs"}),
        ("--range-scope batch", {"range_scope": "batch"}),
        ("--companions", {"companions": True}),
    ],
)
def test_an_onnx_file_has_a_range_per_image_at_outputs(option: str, changes: dict[str, object]) -> None:
    values: dict[str, object] = {"architecture": "mine", "num_sites": 15} | changes
    with pytest.raises(ConfigError, match=rf"{option}: onnx:\S+ runs with a range per image at the outputs"):
        assess_grid(ModelSpec(uri="onnx:mine.onnx"), dataset_spec("digits"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"budgets": [44]}, InfeasibleBudgetError, "every allocation sums to 45..150"),
        ({"budgets": [60, 60]}, ConfigError, "--budget 60 is given twice"),
        ({"option_set": "IV"}, UnknownNameError, "unknown option set"),
    ],
)
def test_a_budget_or_option_set_that_cannot_be_is_one_line(
    changes: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        grid(**changes)


def test_every_stage_has_traits_and_those_that_train_say_so() -> None:
    assert STAGES.keys() == set(Stage)
    assert [stage for stage in Stage if not STAGES[stage].is_training] == [Stage.ASSESS]
    assert STAGES[Stage.ASSESS].recipe is AssessRecipe
