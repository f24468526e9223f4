"""What a portfolio takes from other cells, against cases worked by hand, and in whole searches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Node
from orchestrator.search.portfolio import Attempt, next_of_portfolio
from orchestrator.store.states import State
from orchestrator.store.store import Store
from search_spaces.loss_space import LossSpace, Point
from tests.orchestrator.search_driver import SearchDriver, search_plan

CELLS = {str(cell.recipe.budget): cell for cell in search_plan(budgets=(60, 70, 82, 90, 105), trials=1).searched_cells}
SPACE = LossSpace()
GOOD, GOOD_TOO, BAD = ({"hinge_weight": 1.0, "kd_weight": 2.0, "margin": margin} for margin in (0.01, 0.05, 0.3))
ASKING = CELLS["82"]


def took(*attempts: tuple[str, Point, bool], tried: tuple[Point, ...] = ()) -> Point | None:
    found = next_of_portfolio(ASKING, [Attempt(CELLS[name], *rest) for name, *rest in attempts], tried, SPACE)  # type: ignore[arg-type]
    return found[1] if found else None


def test_the_point_that_was_a_hit_in_the_largest_share_of_the_cells_that_tried_it_comes_first() -> None:
    assert took(("60", GOOD, True), ("70", GOOD_TOO, True), ("105", GOOD_TOO, True)) == GOOD_TOO
    assert took(("60", GOOD, True), ("70", GOOD_TOO, True), ("105", GOOD_TOO, False)) == GOOD
    assert took(("60", BAD, False)) is None


def test_of_equal_points_that_of_the_nearest_cell_comes_first() -> None:
    assert took(("60", GOOD, True), ("90", GOOD_TOO, True)) == GOOD_TOO
    assert took(("90", GOOD, True), ("60", GOOD_TOO, True)) == GOOD


def test_nothing_near_what_the_cell_tried_is_taken_and_nothing_of_its_own() -> None:
    near, far = GOOD | {"margin": 0.011}, GOOD | {"margin": 0.02}
    assert took(("60", GOOD, True), tried=(near,)) is None
    assert took(("60", GOOD, True), tried=(far,)) == GOOD
    assert took(("82", GOOD, True)) is None


def quality_of(hits: dict[str, int]) -> Callable[[Node], tuple[float, float]]:
    """Cells have their hit at a trial, the others never."""

    def quality(node: Node) -> tuple[float, float]:
        assert node.cell is not None
        return (0.0, 0.6) if hits.get(node.cell.budget_level) == node.trial_number else (0.03, 0.3)

    return quality


def test_a_cell_tries_hits_of_others_before_the_samplers_points_and_none_twice(tmp_path: Path) -> None:
    plan = search_plan(budgets=(60, 82, 105), trials=4, max_trials=8, portfolio=1, start_points=("recipe",))
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", quality_of({"60b": 1, "82b": 2}))
    driver.run()
    begun = [record for name, record in driver.recipes().items() if record and "/105b/" in name]
    sources = [record["point_from"] for record in begun]
    others = [source for source in sources if "/" in source]
    assert others == ["test_resnet/I/60b/detrimental/seed0"], "one at most, though two cells have hits"
    assert sources.index(others[0]) <= 2
    points = [tuple(record["recipe"][name] for name in SPACE.fields) for record in begun]
    assert len(set(points)) == len(points)


ALL: dict[str, Any] = {
    "trials": 4, "objective": "lag", "portfolio": 2, "startup": 4, "learns_from": "network", "pruner": "hurdle",
    "start_points": ("recipe",),
}  # fmt: skip


def slopes(node: Node) -> tuple[float, float]:
    return (0.1 * node.trial_number - 0.5, 0.05)


@pytest.mark.parametrize("third", [1, 2, 3])
def test_a_search_with_all_that_it_can_learn_from_ends_alike_wherever_its_driver_dies(
    tmp_path: Path, third: int
) -> None:
    plan, quality = search_plan(budgets=(60, 82, 105), **ALL), quality_of({"60b": 1, "82b": 3})
    calm = SearchDriver(plan, Store(str(tmp_path / "calm")), tmp_path / "calm.log", quality, slopes)
    moments = list(calm.moments())
    driver = SearchDriver(plan, Store(str(tmp_path / "one")), tmp_path / "one.log", quality, slopes)
    assert moments[third * len(moments) // 3 - 2 * third] in driver.moments()  # which ends it there
    driver.restart()
    driver.run()
    assert driver.states() == calm.states()
    assert driver.recipes() == calm.recipes()
    for cell_id in driver.studies:
        now, then = (
            {trial.user_attrs["uid"]: trial.values for trial in one.optuna_trials(cell_id)} for one in (driver, calm)
        )
        assert now == then
    assert State.DONE in set(driver.states().values())
