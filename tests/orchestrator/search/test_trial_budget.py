"""What `settle` pays for and what it skips: cases by hand, and rules that hold for every state of a search."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan import Node, Origin, Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from tests.orchestrator.made_up import pair_metrics
from tests.orchestrator.search_driver import search_plan

PLAN = search_plan(trials=2, confirm_seeds=1)
"""Three cells of up to four search trials, of which six are paid for."""
KEEP = search_plan(trials=2, confirm_seeds=1, keep_searching=True)
SHOWN = search_plan(trials=2, confirm_seeds=1, until="shown")
LIMITED = search_plan(trials=2, gpu_hours=3.0)
CELLS = ("60b", "82b", "105b")


def by_name(plan: Plan) -> dict[str, Node]:
    """The trials of the cells by names such as `82b`, `82b/trial1`, `82b/confirm1`."""
    return {
        node.name.removeprefix("pair/test_resnet/I/").replace("/detrimental/seed0", ""): node
        for node in plan.nodes
        if node.cell
    }


def settled(
    plan: Plan,
    done: Mapping[str, State] = {},
    found: tuple[str, ...] = (),
    shown: tuple[str, ...] = (),
    **hours: float,
) -> dict[str, str]:
    """Settles a plan of which some trials began, by name; `hours` are theirs, with `_` for the `/` of a name."""
    nodes = by_name(plan)
    states = {node.uid: State.WAITING for node in plan.nodes} | {nodes[name].uid: done[name] for name in done}
    findings = Findings(
        qualifying={nodes[name].uid for name in found},
        shown={nodes[name].uid for name in shown},
        begun={nodes[name].uid for name in done},
        hours={nodes[name.replace("_", "/")].uid: value for name, value in hours.items()},
    )
    result = settle(plan, states, findings)
    return {name: str(result[node.uid]) for name, node in nodes.items()}


def waiting(states: Mapping[str, str]) -> list[str]:
    return sorted(name for name, state in states.items() if state == "waiting")


def test_at_first_the_lowest_numbers_of_every_cell_are_paid_for() -> None:
    assert waiting(settled(PLAN)) == sorted(
        [*CELLS, *(f"{cell}/trial{number}" for cell in CELLS for number in (1, 2)), *(f"{c}/confirm1" for c in CELLS)]
    )


def test_a_cell_with_its_pair_leaves_its_trials_to_the_others() -> None:
    states = settled(PLAN, {cell: State.DONE for cell in CELLS}, found=("60b",))
    assert waiting(states) == sorted(
        [f"{cell}/trial{number}" for cell in ("82b", "105b") for number in (1, 2, 3)]
        + [f"{cell}/confirm1" for cell in CELLS]
    )
    assert states["60b/trial1"] == "skipped"


def test_what_began_in_a_cell_with_its_pair_is_finished_and_paid_for() -> None:
    began = {cell: State.DONE for cell in CELLS} | {"60b/trial1": State.INTERRUPTED, "60b/trial2": State.INTERRUPTED}
    states = settled(PLAN, began, found=("60b",))
    assert states["60b/trial1"] == states["60b/trial2"] == "interrupted"
    assert len([name for name in waiting(states) if "trial" in name]) == 4


def test_no_cell_takes_more_than_its_most() -> None:
    states = settled(PLAN, {cell: State.DONE for cell in CELLS}, found=("60b", "82b"))
    assert [name for name in waiting(states) if "trial" in name] == [f"105b/trial{number}" for number in (1, 2, 3, 4)]


def test_confirmations_are_skipped_once_a_search_is_over_without_a_pair() -> None:
    ended = {"105b": State.DONE, "105b/trial1": State.PRUNED, "105b/trial2": State.DIVERGED}
    ended |= {f"{cell}/trial{number}": State.PRUNED for cell in ("60b", "82b") for number in (1, 2)}
    states = settled(PLAN, ended | {"60b": State.DONE, "82b": State.DONE})
    assert {states[f"{cell}/confirm1"] for cell in CELLS} == {"skipped"}
    assert waiting(states) == []


def test_with_keep_searching_hits_skip_nothing() -> None:
    states = settled(KEEP, {cell: State.DONE for cell in CELLS}, found=CELLS)
    assert len([name for name in waiting(states) if "trial" in name]) == 6
    assert len([name for name in waiting(states) if "confirm" in name]) == 3


def test_until_shown_a_hit_that_is_not_shown_ends_nothing_and_is_confirmed_in_the_end() -> None:
    begun = {cell: State.DONE for cell in CELLS}
    of_60b = ["60b/trial1", "60b/trial2"]
    assert [name for name in waiting(settled(SHOWN, begun, found=CELLS)) if name.startswith("60b/t")] == of_60b
    states = settled(SHOWN, begun, found=CELLS, shown=("60b",))
    assert [name for name in waiting(states) if name.startswith("60b")] == ["60b/confirm1"]
    assert {"82b/trial3", "105b/trial3"} <= set(waiting(states)), "its share goes to the others"
    ended = begun | {f"{cell}/trial{number}": State.PRUNED for cell in CELLS for number in (1, 2)}
    assert waiting(settled(SHOWN, ended, found=("60b",))) == ["60b/confirm1"]


def test_a_hit_is_shown_by_both_rules_on_the_validation_images_alone(store: Store) -> None:
    nodes = by_name(SHOWN)
    changes = {"60b": (0, 0), "82b": (5, 0), "105b": None, "60b/trial1": (0, 60)}
    for name, each in changes.items():
        metrics = pair_metrics(0.0, 0.15, num_test_images=100_000)
        if each:
            counts = dict(zip(("parity_lost", "drop_gained"), map(float, each), strict=True))
            counts |= {
                "num_images": 400.0,
                "parity_gained": counts["parity_lost"],
                "drop_lost": 60 + counts["drop_gained"],
            }
            metrics |= {f"validation/{count}": value for count, value in counts.items()}
        trial_of(store, nodes[name]).write_result(metrics, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    findings = Snapshot(SHOWN, store).findings
    assert findings.qualifying == {nodes[name].uid for name in changes}
    # Of the others 2.5 % of the answers change at full precision, nothing is counted, or the drop is noise.
    assert findings.shown == {nodes["60b"].uid}
    assert Snapshot(PLAN, store).findings.shown == set()


def test_plans_until_shown_share_the_trials_of_the_search_and_none_of_the_confirmations() -> None:
    shared = {node.uid for node in PLAN.nodes} & {node.uid for node in SHOWN.nodes}
    assert shared == {node.uid for node in PLAN.nodes if not node.is_confirmation}
    assert search_plan(trials=2, confirm_seeds=1, until="hit") == PLAN


def test_gpu_hours_of_the_search_end_it_and_those_of_first_trials_do_not_count() -> None:
    began = {"60b": State.DONE, "60b/trial1": State.PRUNED, "82b/trial1": State.DONE}
    hours: dict[str, Any] = {"60b": 100.0, "60b_trial1": 1.0, "82b_trial1": 1.9}
    assert len([name for name in waiting(settled(LIMITED, began, **hours)) if "trial" in name]) == 4
    hours["82b_trial1"] = 2.0
    assert waiting(settled(LIMITED, began, **hours)) == ["105b", "82b"]


def test_hours_are_read_of_pruned_trials_too_and_by_their_share_of_a_gpu(store: Store) -> None:
    nodes = by_name(LIMITED)
    row = {"epoch": 1, "seconds": 7200.0, "timestamp_ms": 0, "gpu_seconds": 1800.0}
    pruned, done = (trial_of(store, nodes[name]) for name in ("60b/trial1", "82b/trial1"))
    for trial in (pruned, done):
        trial.write_epoch([row], b"state")
    pruned.write_pruned(1)
    done.write_result(pair_metrics(0.0, 0.5), {CHECKPOINT: b"x"}, seconds=7200.0, data_sha256="d")
    findings = Snapshot(LIMITED, store).findings
    assert findings.hours == {pruned.uid: 0.5, done.uid: 0.5}
    assert findings.qualifying == {done.uid}
    assert findings.begun == {pruned.uid, done.uid}
    assert Snapshot(LIMITED, store).states[nodes["82b/trial2"].uid] is State.SKIPPED


BEGUN = st.sampled_from([State.DONE, State.PRUNED, State.FAILED, State.DIVERGED, State.INTERRUPTED])


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, dict[str, State], Findings]:
    """Any trials begun, any of the finished ones catastrophic; of those that did not begin, any guess."""
    plan = draw(st.sampled_from([PLAN, KEEP, LIMITED, SHOWN]))
    states, findings = {}, Findings()
    for node in plan.nodes:
        if draw(st.booleans()):
            states[node.uid] = draw(BEGUN)
            findings.begun.add(node.uid)
            findings.hours[node.uid] = draw(st.sampled_from([0.0, 0.7]))
            can_qualify = node.cell is not None and node.origin is not Origin.CONFIRMED
            if can_qualify and states[node.uid] is State.DONE and draw(st.booleans()):
                findings.qualifying.add(node.uid)
                if plan is SHOWN and draw(st.booleans()):
                    findings.shown.add(node.uid)
        else:
            states[node.uid] = draw(
                st.sampled_from([State.WAITING, State.SKIPPED]) if node.cell else st.just(State.WAITING)
            )
    return plan, states, findings


@given(situations())
def test_rules_of_the_allocation(situation: tuple[Plan, dict[str, State], Findings]) -> None:
    plan, states, findings = situation
    result = settle(plan, states, findings)
    search, nodes = plan.grid.search, [node for node in plan.nodes if node.cell]
    assert settle(plan, result, findings) == result, "settling twice changes nothing"
    assert {uid: result[uid] for uid in findings.begun} == {uid: states[uid] for uid in findings.begun}
    of_search = [node for node in nodes if node.is_of_search]
    begun = [node for node in of_search if node.uid in findings.begun]
    open_ones = [node for node in of_search if result[node.uid] is State.WAITING and node.uid not in findings.begun]
    assert len(begun) + len(open_ones) <= max(len(begun), search.trials * len(CELLS))
    found = {node.cell_id for node in nodes if node.uid in findings.qualifying}
    if not search.keep_searching:
        enough = findings.shown if search.until == "shown" else findings.qualifying
        assert not {node.cell_id for node in open_ones} & {node.cell_id for node in nodes if node.uid in enough}
    elif search.gpu_hours is None:
        assert len(begun) + len(open_ones) == len(of_search), "every cell gets exactly its trials"
    for cell_id in {node.cell_id for node in nodes}:
        own = [node for node in nodes if node.cell_id == cell_id]
        may_find = any(result[node.uid].is_open for node in own if node.origin is not Origin.CONFIRMED)
        for node in own:
            if node.origin is Origin.CONFIRMED and node.uid not in findings.begun:
                assert (result[node.uid] is State.WAITING) == (may_find or cell_id in found)
