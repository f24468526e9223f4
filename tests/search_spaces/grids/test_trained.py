"""Trainings of an assessment: what they train, their uids, and what does not go together."""

from typing import Any

import pytest

from orchestrator.plan import Node, build_plan
from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError, UnknownNameError
from search_spaces.grids.assess import assess_grid
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.grids.trained import NUM_STEPS, TrainingData, check_trainable, default_epochs
from search_spaces.model import parse
from search_spaces.models import ModelSpec, model_spec
from search_spaces.recipes import PairRecipe
from search_spaces.stages.assessment import TRAINED_RUNGS, ImageSettings, NetworkFacts
from search_spaces.stages.registry import Stage

MODEL = ModelSpec(uri="timm:test_resnet@/a.pt", sha256="0" * 64)
DATA = TrainingData(num_images=1295, class_names=tuple("0123456789"))


def grid(**changes: object) -> Grid:
    values: dict[str, Any] = {"architecture": "test_resnet", "num_sites": 15, "train": DATA} | changes
    return assess_grid(MODEL, dataset_spec("digits"), **values)


def nodes_of(**changes: object) -> list[Node]:
    # As `resume` and `report` do, from what is written down.
    written = parse(Grid, grid(**changes).model_dump(mode="json"))
    return list(build_plan(written, no_sites).nodes)


def no_sites(architecture: str) -> int:
    raise AssertionError(f"nobody asks for the sites of {architecture}")


def recipe_of(node: Node) -> PairRecipe:
    assert isinstance(node.recipe, PairRecipe)
    return node.recipe


def test_every_budget_gains_two_policies_and_a_pair_after_all_that_the_verdict_needs() -> None:
    nodes = nodes_of(budgets=[60, 82])
    assert [node.stage for node in nodes] == 3 * [Stage.ASSESS] + 6 * [Stage.PAIR]
    assert [node.name for node in nodes[3:]] == [
        f"pair/test_resnet/{bits}b/{rung}" for bits in (60, 82) for rung in TRAINED_RUNGS
    ]
    assert [node.rung for node in nodes] == [None] * 3 + 2 * list(TRAINED_RUNGS)
    assert [(recipe_of(node).goal, recipe_of(node).train) for node in nodes[3:6]] == [
        ("robust", ("policy",)),
        ("detrimental", ("policy",)),
        ("detrimental", ("student", "policy")),
    ]
    for node in nodes[3:]:
        assert (node.parents, node.cell, recipe_of(node).white_box) == ((), None, MODEL)
        assert recipe_of(node).bit_widths == tuple(range(3, 11))


def test_training_changes_no_uid_of_what_is_measured_without_it() -> None:
    untrained = [node.uid for node in nodes_of(train=None)]
    assert [node.uid for node in nodes_of()][: len(untrained)] == untrained
    assert "trainings" not in grid(train=None).model_dump(mode="json")


def test_a_pair_has_the_uid_of_the_same_training_in_a_grid() -> None:
    def look_at(uri: str, dataset: DatasetSpec, settings: ImageSettings, *, is_typed: bool) -> NetworkFacts:
        return NetworkFacts(
            model=MODEL, architecture="test_resnet", num_sites=15, macs=1, dataset=dataset, how_labelled=""
        )

    changes = {"search": {"trials": 0, "max_trials": None}, "overrides": ["pair.learning_rate=0.03"]}
    choices = Choices(white_boxes=[MODEL.uri], option_sets=["I"], budgets=[82], **changes)  # type: ignore[arg-type]
    of_grid = build_plan(build_grid("families", choices, no_sites, look_at), no_sites).nodes
    assert [node.uid for node in of_grid] == [node.uid for node in nodes_of(budgets=[82]) if node.rung == "pair"]


@pytest.mark.parametrize(("num_images", "steps_per_epoch"), [(64, 1), (100, 1), (1295, 20), (5000, 78)])
def test_by_default_every_training_takes_about_equally_many_steps_whatever_the_data(
    num_images: int, steps_per_epoch: int
) -> None:
    data = TrainingData(num_images=num_images, class_names=("a", "b"))
    (pair,) = (node for node in nodes_of(train=data, budgets=[82]) if node.rung == "pair")
    assert num_images // recipe_of(pair).batch_size == steps_per_epoch
    assert abs(recipe_of(pair).epochs * steps_per_epoch - NUM_STEPS) <= steps_per_epoch / 2
    assert default_epochs(1_000_000) == 1


def test_assignments_change_the_recipes_for_both_goals_or_one() -> None:
    nodes = nodes_of(budgets=[82], overrides=["pair.epochs=3", "pair.robust.margin=0.2"])[2:]
    assert [(recipe_of(node).epochs, recipe_of(node).margin) for node in nodes] == [(3, 0.2), (3, 0.9), (3, 0.9)]


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (["pair.train=[student]"], ConfigError, "--set pair.train is for the rungs"),
        (["pair.budget=60"], ConfigError, "use --budget"),
        (["distill.epochs=3"], ConfigError, "changes nothing: an assessment trains pairs only"),
        (["dataset.crop=0.9"], ConfigError, "its images have options of their own"),
        (["pair.epoch=3"], UnknownNameError, "Did you mean 'epochs'"),
        (["pair.batch_size=1296"], ConfigError, "takes 1296 images per step, and the data has 1295"),
    ],
)
def test_what_cannot_be_set_is_one_line(overrides: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        grid(overrides=overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "settings", "says"),
    [
        ("onnx:/net.onnx", {}, "is an ONNX file, which has none"),
        (MODEL.uri, {"has_labels": False}, "--labels none ignores them"),
        (MODEL.uri, {"equalize": True}, "--equalize rewrites it"),
    ],
)
def test_what_cannot_be_trained_is_one_line(uri: str, settings: dict[str, bool], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        check_trainable(model_spec(uri), **({"has_labels": True, "equalize": False} | settings))
    assert "\n" not in str(caught.value)
