"""The plan is a pure function of the grid, shares what can be shared, and refuses what cannot be run."""

import hashlib

import pytest

from orchestrator.plan import Origin, build_plan
from search_spaces import paper
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import vary
from search_spaces.stages.registry import Stage


def sites(architecture: str) -> int:
    return paper.NUM_SITES.get(architecture, 15)


def digits(**choices: object) -> Grid:
    return build_grid("digits", Choices(**choices), sites)  # type: ignore[arg-type]


def test_full_plan_is_the_papers_grid_less_the_two_infeasible_cells() -> None:
    plan = build_plan(build_grid("full", Choices(), sites), sites)
    assert plan.stage_counts() == {Stage.TEACHER: 1, Stage.DISTILL: 3, Stage.PAIR: 52}
    assert [refusal.cell for refusal in plan.refused] == [
        "mobilenetv4_conv_medium/III/A/robust/seed0",
        "mobilenetv4_conv_medium/III/A/detrimental/seed0",
    ]
    assert all("385..770" in refusal.reason and "budget is 385" in refusal.reason for refusal in plan.refused)


def test_digits_plan_is_six_cells_the_as_published_and_seven_searched_trials() -> None:
    plan = build_plan(digits(), sites)
    assert plan.stage_counts() == {Stage.TEACHER: 1, Stage.DISTILL: 1, Stage.PAIR: 14}
    assert [node.trial_number for node in plan.nodes if node.origin is Origin.AS_PUBLISHED] == [1]
    assert [node.trial_number for node in plan.nodes if node.is_searched] == [2, 3, 4, 5, 6, 7, 8]


def test_parents_come_before_their_children() -> None:
    seen: set[str] = set()
    for node in build_plan(build_grid("full", Choices(), sites), sites).nodes:
        assert set(node.parents) <= seen
        seen.add(node.uid)


def test_every_pair_starts_from_the_white_box_of_its_architecture() -> None:
    nodes = build_plan(build_grid("full", Choices(), sites), sites).by_uid()
    for node in nodes.values():
        if node.stage is Stage.PAIR:
            (parent,) = (nodes[uid] for uid in node.parents)
            assert (parent.stage, parent.recipe.architecture) == (Stage.DISTILL, node.recipe.architecture)


def test_uids_are_unique_and_the_same_every_time() -> None:
    uids = [node.uid for node in build_plan(digits(), sites).nodes]
    assert len(set(uids)) == len(uids)
    assert uids == [node.uid for node in build_plan(digits(), sites).nodes]


def test_uids_of_the_named_grids_stay_what_they_were() -> None:
    # Done trials are found by these; fields that were added to a recipe or a dataset since must not change them.
    first = {name: build_plan(build_grid(name, Choices(), sites), sites).nodes[0].uid for name in ("digits", "full")}
    assert first == {"digits": "549f99cfde4d9c7b", "full": "6ade3dfb7da480f2"}


def test_size_of_the_images_and_of_the_subset_are_part_of_every_uid() -> None:
    grids = [digits(), digits(image_size=28), digits(train_images=500), digits(test_images=500)]
    uids = [node.uid for grid in grids for node in build_plan(grid, sites).nodes]
    assert len(set(uids)) == len(uids)


def test_uids_of_children_follow_their_parents() -> None:
    grid = digits()
    longer = vary(grid, teacher=vary(grid.teacher, epochs=grid.teacher.epochs + 1).model_dump())
    before = {node.uid for node in build_plan(grid, sites).nodes}
    assert before.isdisjoint(node.uid for node in build_plan(longer, sites).nodes)


def test_another_budget_shares_teacher_and_white_box() -> None:
    first, second = build_plan(digits(budgets=(82,)), sites), build_plan(digits(budgets=(83,)), sites)
    shared = {node.uid for node in first.nodes} & {node.uid for node in second.nodes}
    assert shared == {node.uid for node in first.nodes if node.stage is not Stage.PAIR}


def test_equal_cells_of_different_names_are_the_same_trial() -> None:
    named, typed = build_plan(digits(), sites), build_plan(digits(budgets=(82,)), sites)
    level_b = [node.uid for node in named.nodes if node.cell and node.cell.budget_level == "B"]
    assert sorted(level_b) == sorted(node.uid for node in typed.nodes if node.cell)


def test_seed_changes_every_uid() -> None:
    first, second = build_plan(digits(), sites), build_plan(digits(seeds=(1,)), sites)
    assert {node.uid for node in first.nodes}.isdisjoint(node.uid for node in second.nodes)


def searched_uids(**search: object) -> list[str]:
    """Uids of what the searches of `digits` choose, in order."""
    return [node.uid for node in build_plan(digits(search=search), sites).nodes if node.is_searched]


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": "gp"},
        {"pruner": "none"},
        {"space": {"margin": None}},
        {"warm_start": False},
        {"start_points": ("recipe", "as-published", "recipe")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_the_points_of_a_search_is_part_of_its_uids(change: dict[str, object]) -> None:
    assert set(searched_uids(**change)).isdisjoint(searched_uids())


def test_longer_searches_keep_the_uids_of_shorter_ones() -> None:
    assert searched_uids(trials=6)[:7] == searched_uids()
    assert searched_uids(gpu_hours=1.0, confirm_seeds=2) == searched_uids()
    assert searched_uids(keep_searching=True) == searched_uids()[:3]


def test_confirmations_come_last_on_seeds_behind_their_cells_own() -> None:
    plan = build_plan(digits(seeds=(0, 1), search={"confirm_seeds": 2}), sites)
    confirmations = [node for node in plan.nodes if node.origin is Origin.CONFIRMED]
    assert list(plan.nodes[-4:]) == confirmations
    assert [(node.name[-14:], node.seed) for node in confirmations] == [
        ("seed0/confirm1", 1), ("seed1/confirm1", 2), ("seed0/confirm2", 2), ("seed1/confirm2", 3),
    ]  # fmt: skip
    assert len({node.uid for node in plan.nodes}) == len(plan.nodes)


@pytest.mark.parametrize("change", [{"trials": 5}, {"keep_searching": True}, {"sampler": "random"}])
def test_confirmations_of_another_search_are_other_trials(change: dict[str, object]) -> None:
    def uids(**search: object) -> set[str]:
        plan = build_plan(digits(search={"confirm_seeds": 2} | search), sites)
        return {node.uid for node in plan.nodes if node.origin is Origin.CONFIRMED}

    assert uids(**change).isdisjoint(uids())


def test_a_cell_that_may_take_more_trials_may_confirm_another_pair_and_keeps_its_trials() -> None:
    """`max_trials` alone, which is no other field of a confirmation's identity."""

    def uids(origin: Origin, max_trials: int) -> list[str]:
        search = {"trials": 4, "confirm_seeds": 2, "max_trials": max_trials}
        return [node.uid for node in build_plan(digits(search=search), sites).nodes if node.origin is origin]

    assert set(uids(Origin.CONFIRMED, 5)).isdisjoint(uids(Origin.CONFIRMED, 6))
    assert uids(Origin.SEARCHED, 6)[:-1] == uids(Origin.SEARCHED, 5)


def test_as_published_equal_to_the_recipe_runs_once() -> None:
    published = ("pair.kd_scaled=false", "pair.batch_norm=both", "pair.learning_rate=0.1")
    nodes = build_plan(digits(overrides=published), sites).nodes
    assert [node.origin for node in nodes if node.cell and node.cell.search_trials][:2] == [
        Origin.RECIPE, Origin.SEARCHED,
    ]  # fmt: skip


def test_every_seed_has_pairs_of_its_own_behind_the_first_ones_white_box() -> None:
    one, plan = build_plan(digits(), sites), build_plan(digits(seeds=(0, 1)), sites)
    assert plan.stage_counts() == {Stage.TEACHER: 1, Stage.DISTILL: 1, Stage.PAIR: 28}
    assert {node.uid for node in one.nodes} < {node.uid for node in plan.nodes}
    assert {node.seed for node in plan.nodes if node.stage is not Stage.PAIR} == {0}
    pairs = [(node.trial_number, node.seed) for node in plan.nodes if node.stage is Stage.PAIR]
    assert pairs == sorted(pairs)


DIGITS = {
    "teacher/resnet10t": "549f99cfde4d9c7b",
    "distill/test_resnet": "f895adcdd6dbe300",
    "pair/test_resnet/I/A/robust/seed0": "87962d0537b7db86",
    "pair/test_resnet/I/A/detrimental/seed0": "6157cbb4eacd738f",
    "pair/test_resnet/I/B/robust/seed0": "bdbffee063602977",
    "pair/test_resnet/I/B/detrimental/seed0": "36839981ad617c3c",
    "pair/test_resnet/I/C/robust/seed0": "4054fdca1530cc93",
    "pair/test_resnet/I/C/detrimental/seed0": "5e8d2cfc64338f90",
    "pair/test_resnet/I/B/detrimental/seed0/trial1": "c0dac247b445ed79",
    "pair/test_resnet/I/B/detrimental/seed0/trial2": "54418ef4d3147328",
    "pair/test_resnet/I/B/detrimental/seed0/trial3": "0e21dea7a8ecdc92",
    "pair/test_resnet/I/B/detrimental/seed0/trial4": "1f2061efc132afa9",
    "pair/test_resnet/I/B/detrimental/seed0/trial5": "fa10f9b1d5cd9d69",
    "pair/test_resnet/I/B/detrimental/seed0/trial6": "cb62d3a853dabf3e",
    "pair/test_resnet/I/B/detrimental/seed0/trial7": "3fccb883cc605c5c",
    "pair/test_resnet/I/B/detrimental/seed0/trial8": "00602fe5e68e2367",
}


def test_uids_of_digits_are_those_of_stored_sweeps() -> None:
    assert {node.name: node.uid for node in build_plan(digits(), sites).nodes} == DIGITS


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("quick", "08b7d9a3c242f58e74c8a537278e98404cf3bfadf040acfeb9b36ae708811349"),
        ("smoke", "a18779eb7235f7d0f0fde62737deb5c83b6eea12e37da9dd8c588f49ddd1fffa"),
        ("families", "9e5595aff497bda99b8341f85ae2c312f05f26e22f6960a8d897e83dc4d8b607"),
        ("matrix", "55ba2298249a947873a9a3d54578fffa677fd11aea6bb88dd6110ddcae1b8ba7"),
        ("cifar10", "5959991990145db092234cbb2a79a7d8bada588298d7d9da93d76ce94081cc3c"),
        ("full", "67b68742ec641a712c6990a379356ca7ea06db2d85c75317710c0c5640587cf5"),
    ],
)
def test_uids_of_the_other_grids_are_those_of_stored_sweeps(name: str, digest: str) -> None:
    uids = [node.uid for node in build_plan(build_grid(name, Choices(), sites), sites).nodes]
    assert hashlib.sha256(" ".join(uids).encode()).hexdigest() == digest


def test_sparing_every_site_is_refused_before_anything_runs() -> None:
    grid = build_grid("smoke", Choices(overrides=["pair.spared_sites=15"]), lambda _: 15)
    with pytest.raises(ConfigError, match="spared_sites=15 leaves none of the 15 sites"):
        build_plan(grid, lambda _: 15)
