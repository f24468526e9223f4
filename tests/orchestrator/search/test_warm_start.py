"""What a cell borrows of another: the nearest pair that is new to it, and the whole of its own pair to confirm."""

from collections.abc import Sequence

import pytest

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.warm_start import Neighbours
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.loss_space import Point
from tests.orchestrator.made_up import pair_metrics
from tests.orchestrator.search_driver import NOISE, search_plan

PLAN = search_plan(trials=3, budgets=(60, 82, 105, 110), seeds=(0, 1))
POINTS: Sequence[Point] = [{"hinge_weight": 1.0 + k, "kd_weight": 2.0, "margin": 0.05} for k in range(4)]


class World:
    """A store that is filled by hand, and the neighbours that look at it."""

    def __init__(self, store: Store, plan: Plan = PLAN) -> None:
        self.store, self.plan = store, plan
        self.snapshot = Snapshot(plan, store)
        self.neighbours = Neighbours(plan, self.snapshot.trial, self.snapshot.findings)

    def node(self, cell: str, number: int, seed: int = 0) -> Node:
        cell_id = f"test_resnet/{cell}/detrimental/seed{seed}"
        return next(node for node in self.plan.nodes if (node.cell_id, node.trial_number) == (cell_id, number))

    def finish(self, node: Node, point: Point | None, *, gap: float = 0.0, drop: float = 0.5) -> None:
        """A trial is done, and catastrophic."""
        trial = trial_of(self.store, node)
        trial.write_recipe(node, point)
        trial.write_result(pair_metrics(gap, drop, noise=NOISE), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
        assert self.snapshot.look_again(node) is State.DONE


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_nearest_budget_comes_first(world: World) -> None:
    asking = world.node("I/105b", 2)
    assert world.neighbours.to_borrow(asking) is None
    world.finish(world.node("I/60b", 2), POINTS[0])
    assert world.neighbours.to_borrow(asking) == ("test_resnet/I/60b/detrimental/seed0", POINTS[0])
    world.finish(world.node("I/82b", 2), POINTS[1])
    assert world.neighbours.to_borrow(asking) == ("test_resnet/I/82b/detrimental/seed0", POINTS[1])
    world.finish(world.node("I/110b", 2), POINTS[2])
    assert world.neighbours.to_borrow(asking) == ("test_resnet/I/110b/detrimental/seed0", POINTS[2])


def test_a_point_that_the_cell_tried_is_not_borrowed_again(world: World) -> None:
    world.finish(world.node("I/110b", 2), POINTS[2])
    world.finish(world.node("I/82b", 2), POINTS[1])
    world.finish(world.node("I/105b", 2), POINTS[2], gap=0.3)
    borrowed = world.neighbours.to_borrow(world.node("I/105b", 3))
    assert borrowed == ("test_resnet/I/82b/detrimental/seed0", POINTS[1])
    world.finish(world.node("I/105b", 3), POINTS[1], gap=0.3)
    assert world.neighbours.to_borrow(world.node("I/105b", 4)) is None


def test_the_same_option_set_comes_before_a_nearer_budget(store: Store) -> None:
    choices = Choices(
        search={"trials": 2}, goals=("detrimental",), budgets=(82, 105), option_sets=("I", "II"), seeds=(0,)
    )
    world = World(store, build_plan(build_grid("quick", choices, lambda _: 15), lambda _: 15))
    world.finish(world.node("II/82b", 2), POINTS[0])
    asking = world.node("I/82b", 2)
    assert world.neighbours.to_borrow(asking) == ("test_resnet/II/82b/detrimental/seed0", POINTS[0])
    world.finish(world.node("I/105b", 2), POINTS[1])
    assert world.neighbours.to_borrow(asking) == ("test_resnet/I/105b/detrimental/seed0", POINTS[1])


def test_another_seed_is_no_neighbour(world: World) -> None:
    world.finish(world.node("I/82b", 2, seed=1), POINTS[0])
    assert world.neighbours.to_borrow(world.node("I/82b", 2)) is None


def test_pairs_that_lost_parity_are_not_borrowed(world: World) -> None:
    world.finish(world.node("I/82b", 2), POINTS[0], gap=0.05)
    assert world.neighbours.to_borrow(world.node("I/105b", 2)) is None


def test_a_neighbours_pair_is_the_one_that_the_table_shows(world: World) -> None:
    # Of two drops that differ by less than their noise the smaller gap counts; a much smaller drop does not.
    world.finish(world.node("I/82b", 2), POINTS[0], gap=0.009, drop=0.501)
    world.finish(world.node("I/82b", 3), POINTS[1], gap=0.001, drop=0.5)
    world.finish(world.node("I/82b", 4), POINTS[2], gap=0.0, drop=0.3)
    assert world.neighbours.to_borrow(world.node("I/105b", 2)) == ("test_resnet/I/82b/detrimental/seed0", POINTS[1])


def test_the_as_published_is_confirmed_whole_and_not_borrowed(world: World) -> None:
    published = world.node("I/82b", 1)
    world.finish(published, None)
    assert world.neighbours.to_borrow(world.node("I/105b", 2)) is None
    assert world.neighbours.found_point(published) == dict(published.recipe)


def test_a_point_outside_of_the_space_is_not_borrowed(store: Store) -> None:
    world = World(store, search_plan(trials=3, overrides=("pair.margin=0.95",)))
    world.finish(world.node("I/82b", 0), None)
    assert world.neighbours.to_borrow(world.node("I/105b", 2)) is None


def test_nothing_is_borrowed_without_warm_start(store: Store) -> None:
    world = World(store, search_plan(trials=3, warm_start=False))
    world.finish(world.node("I/82b", 2), POINTS[0])
    assert world.neighbours.to_borrow(world.node("I/105b", 2)) is None


def test_a_cell_has_its_pair_when_it_found_one_and_its_search_is_over(world: World) -> None:
    node = world.node("I/82b", 2)
    own = [node for node in PLAN.nodes if node.cell_id == world.node("I/82b", 0).cell_id]
    over = {node.uid: State.SKIPPED for node in own}
    assert not world.neighbours.has_pair(node, over)
    world.finish(node, POINTS[0])
    assert world.neighbours.has_pair(node, over)
    assert not world.neighbours.has_pair(node, over | {own[0].uid: State.INTERRUPTED})
