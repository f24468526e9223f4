"""Every arm of a comparison changes what its name says and nothing else, or is refused in one line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.arm_plans import arm_plans
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.search.arms import DEFAULT_ARMS, Arm
from orchestrator.search.comparison_arms import BASELINES, choices_for
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe
from search_spaces.stages.registry import Stage

PLAIN = Choices()
ALONE = ("student",)
TRAINS: Mapping[str, Any] = {"train": ("student", "policy"), "epochs": 32, "rescaled": None}
KNAPSACK: Mapping[str, Any] = {"selection": None, "loss": None, "profits": "softmax", **TRAINS}
# As docs/grids.md, Baselines, spells them out.
EXPECTED: Mapping[Arm, Mapping[str, Any]] = {
    Arm.FROZEN: {"train": ALONE},
    Arm.STATIC: {"selection": "static", "train": ALONE},
    Arm.QU_ANTI_ZATION: {"selection": "static", "train": ALONE, "loss": "qu_anti_zation"},
    Arm.GUMBEL: {"selection": "gumbel", "profits": "logits"},
    Arm.PENALTY: {"selection": "penalty"},
    Arm.REINFORCE: {"selection": "reinforce", "profits": "logits"},
    Arm.RESCALED: {"rescaled": 10, "train": (), "epochs": 1},
}


def plan_of(arm: Arm, choices: Choices = PLAIN, grid: str = "digits") -> Plan:
    return build_plan(build_grid(grid, choices_for(arm, choices), lambda _: 15), lambda _: 15)


def pairs(plan: Plan, goal: Goal) -> dict[str, Node]:
    return {node.name: node for node in plan.nodes if node.stage is Stage.PAIR and node.cell and node.cell.goal is goal}


def recipe_of(node: Node) -> PairRecipe:
    assert isinstance(node.recipe, PairRecipe)
    return node.recipe


@pytest.mark.parametrize(
    ("grid", "arm", "digest"),
    [
        ("digits", Arm.AS_PUBLISHED, "40f96dd3552b36c8"),
        ("digits", Arm.RECIPE, "b343b2abba583fde"),
        ("digits", Arm.RANDOM, "a4385f067e8120d2"),
        ("digits", Arm.SEARCH, "71336f7801decdb7"),
        ("families", Arm.AS_PUBLISHED, "03b931f172f2e254"),
        ("families", Arm.RECIPE, "70d9f90ab678daed"),
        ("families", Arm.RANDOM, "3e9af3d114904f0b"),
        ("families", Arm.SEARCH, "9e5595aff497bda9"),
    ],
)
def test_stored_comparisons_go_on_because_uids_of_their_arms_stay(grid: str, arm: Arm, digest: str) -> None:
    uids = " ".join(node.uid for node in plan_of(arm, grid=grid).nodes)
    assert hashlib.sha256(uids.encode()).hexdigest()[:16] == digest


def test_a_comparison_runs_the_arms_that_it_always_ran_unless_told() -> None:
    assert [str(arm) for arm in DEFAULT_ARMS] == ["as-published", "recipe", "random", "search"]
    assert {*DEFAULT_ARMS} | BASELINES.keys() == {*Arm}


@pytest.mark.parametrize("arm", BASELINES)
def test_a_baseline_differs_from_the_recipe_in_its_own_fields_only(arm: Arm) -> None:
    own, plain = plan_of(arm), plan_of(Arm.RECIPE)
    detrimental = pairs(plain, Goal.DETRIMENTAL)
    assert pairs(own, Goal.DETRIMENTAL).keys() == detrimental.keys()
    for name, node in pairs(own, Goal.DETRIMENTAL).items():
        recipe = recipe_of(node)
        assert {field: getattr(recipe, field) for field in KNAPSACK} == {**KNAPSACK, **EXPECTED[arm]}
        assert recipe.model_copy(update=dict(KNAPSACK)) == recipe_of(detrimental[name])
        assert node.uid != detrimental[name].uid
    # All else is shared: one teacher, one white box, and the robust pairs.
    others = {node.uid for node in own.nodes} - {node.uid for node in pairs(own, Goal.DETRIMENTAL).values()}
    assert others == {node.uid for node in plain.nodes} - {node.uid for node in detrimental.values()}


def test_no_two_arms_train_the_same_pair_of_a_cell_but_where_the_search_begins() -> None:
    owners: dict[str, list[Arm]] = {}
    for arm in Arm:
        for node in pairs(plan_of(arm), Goal.DETRIMENTAL).values():
            owners.setdefault(node.uid, []).append(arm)
    shared = {tuple(arms) for arms in owners.values() if len(arms) > 1}
    assert shared == {(Arm.AS_PUBLISHED, Arm.SEARCH), (Arm.RECIPE, Arm.SEARCH), (Arm.RECIPE, Arm.RANDOM, Arm.SEARCH)}


@pytest.mark.parametrize("arm", [Arm.FROZEN, Arm.STATIC, Arm.QU_ANTI_ZATION, Arm.RESCALED])
def test_a_policy_that_does_not_learn_drops_the_rate_and_the_clip_of_its_own(arm: Arm) -> None:
    choices = Choices(overrides=("pair.policy_learning_rate=0.1", "pair.policy_gradient_clip=0.5"))
    for node in pairs(plan_of(arm, choices), Goal.DETRIMENTAL).values():
        assert recipe_of(node).policy_learning_rate is None
        assert recipe_of(node).policy_gradient_clip is None


@pytest.mark.parametrize(
    ("arm", "choices", "line"),
    [
        (
            Arm.GUMBEL,
            Choices(overrides=("pair.train=[student]",)),
            "--arm gumbel: pair.train=['student']: the arm is another way to teach the policy, and that of "
            "test_resnet/I/A/detrimental/seed0 does not learn: add policy to train, or leave this arm out.",
        ),
        (
            Arm.STATIC,
            Choices(goals=("robust",)),
            "--arm static: no cell of grid quick is detrimental, and arms are compared by the hits that they find: add "
            "detrimental to its goals.",
        ),
        (
            Arm.SEARCH,
            Choices(search={"trials": 0}),
            "--arm search: no cell of grid quick is searched: give --search-trials above 0, or leave this arm out.",
        ),
        (Arm.RANDOM, Choices(search={"trials": 0}), "--arm random: search: sampler=random, pruner=none says how"),
        (
            Arm.STATIC,
            Choices(overrides=("pair.detrimental.penalty_weight=2", "pair.selection=penalty")),
            "--arm static: --set pair.detrimental: penalty_weight=2.0 weighs nothing: set selection to penalty.",
        ),
        # Wrong without the arm, too.
        (Arm.GUMBEL, Choices(overrides=("pair.marginal=1",)), "unknown field '--set pair.marginal'"),
    ],
)
def test_an_arm_that_cannot_run_is_one_line_that_names_it(
    arm: Arm, choices: Choices, line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        arm_plans("quick", choices, [arm], storage=str(tmp_path), data_dir=tmp_path)
    text = str(refused.value)
    assert line in text
    assert "\n" not in text
    assert text.startswith("--arm") == line.startswith("--arm")


def test_penalty_has_its_weight_where_it_is_the_only_arm(tmp_path: Path) -> None:
    choices = Choices(overrides=("pair.detrimental.penalty_weight=3",), search={"trials": 0})
    plan = arm_plans("quick", choices, [Arm.PENALTY], storage=str(tmp_path), data_dir=tmp_path)[Arm.PENALTY]
    assert {recipe_of(node).penalty_weight for node in pairs(plan, Goal.DETRIMENTAL).values()} == {3.0}
