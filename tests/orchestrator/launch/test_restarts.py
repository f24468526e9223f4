"""A restart that dies half-way leaves no trial that came of a parent's former self."""

from pathlib import Path

import pytest

from orchestrator.launch.restarts import forget_failures, other_plans, restart
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.failures import Failure
from orchestrator.store.folder import CHECKPOINT, RECIPE
from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError
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


def plan_of(epochs: int) -> Plan:
    """A plan with the teacher and the white box of `PLAN`, and pairs of its own."""
    choices = Choices(search={"keep_searching": True}, overrides=[f"pair.epochs={epochs}"])
    return build_plan(build_grid("smoke", choices, lambda _: 15), lambda _: 15)


def finish_all(store: Store, plan: Plan) -> None:
    for node in plan.nodes:
        trial_of(store, node).write_recipe(node, None)
        trial_of(store, node).write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")


def test_restart_names_the_sweeps_that_it_hurts_and_refuses_until_it_is_told_their_names(store: Store) -> None:
    other = plan_of(8)
    assert {TEACHER.uid, DISTILL.uid} <= set(other.by_uid())
    pairs = [node for node in other.nodes if node.uid not in PLAN.by_uid()]
    Sweep(store, "c").save_plan(PLAN)
    Sweep(store, "d").save_plan(other)
    Sweep(store, "apart").folder.write_json("plan.json", {"schema": 0, "uids": ["0" * 16]})
    finish_all(store, PLAN)
    finish_all(store, other)
    others = other_plans(store, "c", [TEACHER.uid])
    assert [*others] == ["d"]
    hurts = rf"trials of other sweeps would be restarted, too: {len(other.nodes)} of d \(such as .*--shared-with d\."
    with pytest.raises(ConfigError, match=hurts):
        restart(PLAN, store, [TEACHER], children_too=True, others=others, shared_with=["apart"])
    assert set(Snapshot(other, store).states.values()) == {State.DONE}
    restart(PLAN, store, [TEACHER], children_too=True, others=others, shared_with=["d"])
    assert set(Snapshot(other, store).states.values()) == {State.WAITING}
    assert pairs, "those that only the other sweep has came of the former teacher, too"


def test_restart_of_what_only_this_sweep_has_asks_nobody(store: Store) -> None:
    Sweep(store, "d").save_plan(plan_of(8))
    finish(store)
    assert other_plans(store, "c", [PAIRS[0].uid]) == {}
    assert restart(PLAN, store, [PAIRS[0]], children_too=False) == [PAIRS[0]]


def test_trial_that_another_sweep_trains_is_not_restarted(store: Store) -> None:
    finish(store)
    with Sweep(store, "d").driver():
        taken = Sweep(store, "d").leases().take(store.trial(TEACHER.stage, TEACHER.uid))
        assert isinstance(taken, FencedFolder)
        mine = Sweep(store, "c").leases()
        with pytest.raises(ConfigError, match=r"since sweep d \(process \d+ on .*\) trains it: stop that"):
            restart(PLAN, store, [TEACHER], children_too=True, leases=mine)
        assert set(Snapshot(PLAN, store).states.values()) == {State.DONE}
    restart(PLAN, store, [TEACHER], children_too=True, leases=mine)
    with pytest.raises(LostLeaseError):
        taken.write_bytes(CHECKPOINT, b"late")
    assert set(Snapshot(PLAN, store).states.values()) == {State.WAITING}
