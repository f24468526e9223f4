"""Trials that run alone: which they are, and that their number of threads is theirs for good."""

import pytest
import torch

from orchestrator.launch.frontier import Frontier
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import RECIPE
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.workers.threads import lone_trials
from orchestrator.workers.trial import open_trial
from search_spaces.grids.build import Choices, build_grid


def plan_of(grid: str, **choices: object) -> Plan:
    return build_plan(build_grid(grid, Choices(**choices), lambda _: 15), lambda _: 15)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        (plan_of("quick"), {"teacher/resnet10t", "distill/test_resnet"}),
        (plan_of("families"), {"teacher/resnet10t"}),
        (plan_of("families", architectures=("resnet10t",)), {"teacher/resnet10t", "distill/resnet10t"}),
    ],
)
def test_a_trial_is_alone_if_all_others_start_from_it_or_it_from_them(plan: Plan, names: set[str]) -> None:
    assert {plan.node(uid).name for uid in lone_trials(plan)} == names


def test_a_trial_keeps_its_threads_on_a_machine_with_other_cores(store: Store) -> None:
    plan = plan_of("smoke")
    teacher = plan.nodes[0]

    def hand_out(num_threads: int) -> int:
        frontier = Frontier(Snapshot(plan, store), {}, data_dir=None, stop_file="stop")
        frontier.threads = dict.fromkeys(lone_trials(plan), num_threads)
        assert isinstance(frontier.suggest("t"), dict)
        record = trial_of(store, teacher).recipe()
        assert record is not None
        return record.num_threads

    assert hand_out(8) == 8
    assert hand_out(2) == 8
    # One that was begun by a version that knew no threads had one.
    content = trial_of(store, teacher).folder.read_json(RECIPE)
    assert content is not None
    trial_of(store, teacher).folder.write_json(RECIPE, {k: v for k, v in content.items() if k != "num_threads"})
    assert hand_out(8) == 1


def test_a_worker_and_reproduce_take_the_threads_of_the_record(store: Store) -> None:
    teacher = plan_of("smoke").nodes[0]
    trial = trial_of(store, teacher)
    trial.write_recipe(teacher, None, num_threads=3)
    before = torch.get_num_threads()
    try:
        running, _ = open_trial(store, trial, None, use_gpu=False)
        assert (torch.get_num_threads(), running.num_threads) == (3, 3)
    finally:
        torch.set_num_threads(before)
