"""A restart that dies half-way leaves no trial that came of a parent's former self."""

from pathlib import Path

from orchestrator.launch.restarts import forget_failures, restart
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.failures import Failure
from orchestrator.store.folder import CHECKPOINT, RECIPE
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.recorder import deaths, recording

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
TEACHER, DISTILL, *PAIRS = PLAN.nodes


def finish(store: Store) -> None:
    for node in PLAN.nodes:
        trial = trial_of(store, node)
        trial.write_recipe(node, None)
        trial.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


def restart_all(store: Store) -> None:
    restart(PLAN, store, [TEACHER], children_too=True)


def test_children_are_restarted_before_their_parents(store: Store) -> None:
    finish(store)
    with recording(store) as done:
        restart_all(store)
    order = list(dict.fromkeys(each.split("/")[1] for each in done))
    assert order[-2:] == [DISTILL.uid, TEACHER.uid]
    assert sorted(order[:-2]) == sorted(pair.uid for pair in PAIRS)


def test_restart_that_dies_leaves_no_done_child_of_a_parent_that_is_not(tmp_path: Path) -> None:
    for store, did in deaths(tmp_path, finish, restart_all):
        states = Snapshot(PLAN, store).states
        for node in PLAN.nodes:
            assert states[node.uid] in (State.DONE, State.WAITING), did
            is_done = all(states[parent] is State.DONE for parent in node.parents)
            assert states[node.uid] is not State.DONE or is_done, did
        restart_all(store)
        assert set(Snapshot(PLAN, store).states.values()) == {State.WAITING}
    assert all(set(trial_of(store, node).folder.sizes()) == {RECIPE} for node in PLAN.nodes)


def test_failures_that_were_half_forgotten_are_forgotten_by_the_next_call(tmp_path: Path) -> None:
    def fail(store: Store) -> None:
        for node in (TEACHER, DISTILL):
            trial_of(store, node).write_error(ValueError("x"))
            trial_of(store, node).count_attempt(Failure.UNKNOWN)

    for store, did in deaths(tmp_path, fail, lambda each: forget_failures(PLAN, each)):
        forget_failures(PLAN, store)
        for node in (TEACHER, DISTILL):
            assert (trial_of(store, node).error(), trial_of(store, node).attempts()) == (None, {}), did
