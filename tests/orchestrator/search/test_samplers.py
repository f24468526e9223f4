"""Every sampler proposes points of the space, and those with a model learn from what they are told."""

import math
import statistics
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from optuna._transform import _SearchSpaceTransform

from orchestrator.plan import Node, Origin
from orchestrator.search.samplers import STARTUP_TRIALS, make_sampler, quasi_random
from orchestrator.store.store import Store
from search_spaces.loss_space import LossSpace, coordinates, holds, suggest
from search_spaces.names import Sampler
from search_spaces.recipes import PairRecipe
from tests.orchestrator.search_driver import SearchDriver, search_plan

SAMPLERS = get_args(Sampler)
FULL_SPACE = {
    "temperature": (1.0, 10.0),
    "learning_rate": (0.005, 0.2),
    "profits": ("softmax", "logits"),
    "range_gradient": (True, False),
    "batch_norm": ("frozen", "fp_pass", "both"),
}
BEST = {"hinge_weight": 0.3, "kd_weight": 8.0, "margin": 0.15}


def loss(recipe: dict[str, Any]) -> float:
    """Squared distance of a point from the best one, in decades."""
    return sum(math.log10(recipe[name] / BEST[name]) ** 2 for name in BEST)


def searched(tmp_path: Path, **search: Any) -> list[dict[str, Any]]:
    """Runs a search of one cell, whatever it finds; returns the searched recipes in order."""
    plan = search_plan(budgets=(82,), epochs=1, keep_searching=True, **search)
    store = Store(str(tmp_path / "storage"))
    driver = SearchDriver(plan, store, tmp_path / "studies.log", lambda node: (0.0, 0.0))

    def quality(node: Any) -> tuple[float, float]:
        recipe = driver.recipes()[node.name]["recipe"]
        return 0.0, 0.8 - 0.1 * loss(recipe)

    driver.quality = quality
    driver.run()
    recipes = driver.recipes()
    return [recipes[node.name]["recipe"] for node in plan.nodes if node.origin is Origin.SEARCHED]


@pytest.mark.parametrize("space", [{}, FULL_SPACE], ids=["default space", "all eight fields"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_lie_in_the_space_and_are_all_different(tmp_path: Path, sampler: str, space: dict[str, Any]) -> None:
    recipes = searched(tmp_path, trials=10, sampler=sampler, space=space)
    assert len(recipes) == 9, "trials 0 and 1 are the recipe's and the paper's"
    fields = LossSpace.model_validate(space).fields
    assert len(fields) == (8 if space else 3)
    for recipe in recipes:
        PairRecipe.model_validate(recipe)
        assert holds(LossSpace.model_validate(space), recipe)
    assert len({tuple(recipe[name] for name in fields) for recipe in recipes}) == len(recipes)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_samplers_with_a_model_end_nearer_to_the_best_than_chance(tmp_path: Path, sampler: str) -> None:
    trials = {"tpe": 30, "gp": 16, "cmaes": 40}[sampler]
    by_chance = statistics.median(map(loss, searched(tmp_path / "random", trials=30, sampler="random")))
    losses = [loss(recipe) for recipe in searched(tmp_path / sampler, trials=trials, sampler=sampler)]
    assert statistics.median(losses[len(losses) // 2 :]) < 0.6 * by_chance


def test_cells_draw_points_of_their_own(tmp_path: Path) -> None:
    plan = search_plan(budgets=(82, 90), epochs=1, keep_searching=True, trials=4, sampler="random", warm_start=False)
    store = Store(str(tmp_path / "storage"))
    driver = SearchDriver(plan, store, tmp_path / "studies.log", lambda node: (0.0, 0.0))
    driver.run()
    recipes = driver.recipes()
    kd_weights = [recipes[node.name]["recipe"]["kd_weight"] for node in plan.nodes if node.origin is Origin.SEARCHED]
    assert len(kd_weights) == 6
    assert len(set(kd_weights)) == 6


def drawn(sampler: Sampler, *, seed: int, num_told: int) -> dict[str, Any]:
    """The point that a fresh sampler draws after so many trials were told."""
    directions = ["maximize", "minimize"] if sampler == "nsga2" else ["maximize"]
    study = optuna.create_study(directions=directions)
    for number in range(num_told):
        study.sampler = make_sampler(sampler, seed=100 + number)
        trial = study.ask()
        value = -loss(suggest(LossSpace(), trial))
        study.tell(trial, [value] * len(directions))
    study.sampler = make_sampler(sampler, seed=seed)
    return suggest(LossSpace(), study.ask())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_alone_decides_what_is_drawn_from_the_same_knowledge(sampler: Sampler) -> None:
    for num_told in (0, 9):
        first, again, other = (drawn(sampler, seed=seed, num_told=num_told) for seed in (3, 3, 4))
        assert first == again
        assert first != other


@pytest.mark.parametrize(("sampler", "num_startup"), [("tpe", 1), ("gp", 4), ("cmaes", 4), ("nsga2", 8)])
def test_a_sampler_draws_by_chance_until_enough_trials_are_told_and_then_no_more(
    sampler: Sampler, num_startup: int
) -> None:
    by_chance = drawn("random", seed=5, num_told=0)
    assert drawn(sampler, seed=5, num_told=num_startup - 1) == by_chance
    assert drawn(sampler, seed=5, num_told=num_startup) != by_chance


def test_cma_es_made_anew_stands_where_the_one_that_optuna_keeps_does() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(40):
        study.sampler = optuna.samplers.CmaEsSampler(seed=number, n_startup_trials=STARTUP_TRIALS)
        trial = study.ask()
        study.tell(trial, -loss(suggest(LossSpace(), trial)))
    trials = study.get_trials()
    kept, sampler = study.sampler._restore_optimizer(trials), make_sampler("cmaes", seed=0)  # type: ignore[attr-defined]
    bounds = _SearchSpaceTransform(dict(sorted(trials[0].distributions.items())), transform_0_1=True)
    sampler._restore_optimizer(trials)  # type: ignore[attr-defined]
    again = sampler._init_optimizer(bounds, study.direction)  # type: ignore[attr-defined]
    assert again.generation == kept.generation == 5
    for name in ("_mean", "_sigma", "_C"):
        np.testing.assert_allclose(getattr(again, name), getattr(kept, name), rtol=1e-12)


@pytest.mark.parametrize("fields", ["default space", "all eight fields"])
def test_quasi_random_points_leave_no_part_of_the_space_out_and_are_the_same_for_every_driver(fields: str) -> None:
    space = LossSpace.model_validate(FULL_SPACE if fields == "all eight fields" else {})
    points = [quasi_random(space, seed=5, number=number) for number in range(16)]
    assert all(holds(space, point) for point in points)
    assert points == [quasi_random(space, seed=5, number=number) for number in range(16)]
    assert points != [quasi_random(space, seed=6, number=number) for number in range(16)]
    for place, name in enumerate(space.fields):
        shares = sorted(coordinates(space, point)[place] for point in points)
        if name in space.ranges:
            # Of 16 points of a Sobol sequence one lies in every sixteenth of every range; of random points it does not.
            assert [int(16 * share) for share in shares] == list(range(16))
        else:
            assert set(shares) == set(range(len(space.choices[name])))


def test_a_sampler_begins_with_quasi_random_points_until_it_has_seen_enough(tmp_path: Path) -> None:
    plan = search_plan(budgets=(82,), epochs=1, trials=6, keep_searching=True, startup=4, start_points=("recipe",))
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", lambda node: (0.0, 0.0))
    driver.run()
    sources = [record["point_from"] for name, record in sorted(driver.recipes().items()) if name.startswith("pair")]
    assert sources == ["recipe", *["quasi-random"] * 3, *["tpe"] * 3]


@pytest.mark.parametrize("learns_from", ["cell", "network"])
def test_a_sampler_that_learns_from_its_network_draws_by_what_other_cells_of_its_seed_found(
    tmp_path: Path, learns_from: str
) -> None:
    plan = search_plan(
        budgets=(82, 90), seeds=(0, 1), epochs=1, trials=5, keep_searching=True, warm_start=False,
        start_points=("recipe",), learns_from=learns_from,
    )  # fmt: skip

    def points(drops: tuple[float, ...]) -> dict[str, list[Any]]:
        """What every cell draws where the trials of the first one drop so far, and all others equally."""

        def quality(node: Node) -> tuple[float, float]:
            return 0.0, drops[node.trial_number] if node.cell_id == "test_resnet/I/82b/detrimental/seed0" else 0.3

        name = f"{drops[1]}"
        driver = SearchDriver(plan, Store(str(tmp_path / name)), tmp_path / f"{name}.log", quality)
        driver.run()
        found: dict[str, list[Any]] = {}
        for node in plan.nodes:
            if node.is_searched and node.cell_id:
                found.setdefault(node.cell_id, []).append(driver.recipes()[node.name]["recipe"])
        return found

    one, other = points((0.1, 0.9, 0.2, 0.2, 0.2, 0.2)), points((0.1, 0.0, 0.2, 0.2, 0.9, 0.2))
    changed = {cell_id for cell_id in one if one[cell_id] != other[cell_id]}
    first, second = "test_resnet/I/82b/detrimental/seed0", "test_resnet/I/90b/detrimental/seed0"
    assert changed == ({first, second} if learns_from == "network" else {first})
