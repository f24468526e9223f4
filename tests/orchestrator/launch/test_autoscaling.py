"""Growing ahead of Tune: what runs and what is ready, never what waits for a parent, and nothing once it is over."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from cluster.runtime.autoscaler import Autoscaler, ScalableNode
from cluster.runtime.capacity import Capacity
from orchestrator.launch.autoscaling import Prescaler, prescaling
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage

PLAN: Plan = build_plan(build_grid("cifar10", Choices(), lambda _: 15), lambda _: 15)
SHARES = {node.uid: 1.0 if node.stage is Stage.TEACHER else 0.5 for node in PLAN.nodes}


class Wishes(list[Sequence[Mapping[str, float]]]):
    """What the autoscaler was told, in order."""

    def __call__(self, bundles: Sequence[Mapping[str, float]]) -> None:
        self.append(bundles)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    sweep = Sweep(Store(str(tmp_path)), "cifar10")
    return Launch(sweep=sweep, snapshot=Snapshot(PLAN, sweep.store))


@pytest.fixture
def frontier(launch: Launch) -> Iterator[Frontier]:
    with launch.open_frontier() as frontier:
        yield frontier


def finish(frontier: Frontier, launch: Launch, trial_id: str, config: object) -> None:
    assert isinstance(config, dict)
    node = PLAN.node(config["uid"])
    trial_of(launch.sweep.store, node).write_result({}, {}, seconds=1.0, data_sha256="d")
    frontier.on_trial_complete(trial_id)


def test_the_cluster_is_asked_for_what_runs_and_what_is_ready_at_every_turn(launch: Launch, frontier: Frontier) -> None:
    wishes = Wishes()
    prescaler = Prescaler(launch, frontier, SHARES, 4, wishes)
    teacher, distill, *pairs = PLAN.nodes
    assert wishes[-1] == [{"CPU": 1, "GPU": 1.0}], "the teacher, and none of those that wait for it"
    for number, node in enumerate((teacher, distill)):
        config = frontier.suggest(str(number))
        prescaler.started(node, {})
        assert wishes[-1] == [{"CPU": 1, "GPU": SHARES[node.uid]}]
        finish(frontier, launch, str(number), config)
        prescaler.ended(node)
    assert len(pairs) == 6
    assert wishes[-1] == [{"CPU": 1, "GPU": 0.5}] * 4, "as many as may run together"
    for number, pair in enumerate(pairs[:4]):
        frontier.suggest(f"pair{number}")
        prescaler.started(pair, {})
        assert wishes[-1] == [{"CPU": 1, "GPU": 0.5}] * 4, "those that run are among them"
    frontier.halt("enough")
    prescaler.ended(pairs[0])
    assert wishes[-1] == [{"CPU": 1, "GPU": 0.5}] * 3, "what is ready is not wanted any more"


def test_once_a_cap_is_hit_nothing_new_is_asked_for(launch: Launch, frontier: Frontier) -> None:
    wishes = Wishes()
    launch.meter.hit = "--max-hours 1"
    Prescaler(launch, frontier, SHARES, 4, wishes)
    assert wishes == [[]]


@pytest.mark.parametrize("unknown", ["", "RayCluster dptq cannot be read: 403"])
def test_the_wish_is_taken_back_at_the_end_however_it_ends(launch: Launch, frontier: Frontier, unknown: str) -> None:
    wishes = Wishes()
    node_types = [] if unknown else [ScalableNode(name="gpu", resources={"CPU": 1, "GPU": 1}, max_nodes=2)]
    scaler = Autoscaler(node_types=node_types, max_nodes=2, unknown=unknown)
    capacity = Capacity(nodes=[{"CPU": 2.0}], autoscaler=scaler)

    def launch_that_fails() -> None:
        with prescaling(launch, frontier, SHARES, 2, capacity, wishes) as listeners:
            assert len(listeners) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        launch_that_fails()
    assert [list(wish) for wish in wishes] == [[{"CPU": 1, "GPU": 1.0}], []]


def test_a_cluster_that_cannot_grow_is_asked_for_nothing(launch: Launch, frontier: Frontier) -> None:
    wishes = Wishes()
    with prescaling(launch, frontier, SHARES, 2, Capacity(nodes=[{"CPU": 2.0}]), wishes) as listeners:
        assert listeners == ()
    assert wishes == []
