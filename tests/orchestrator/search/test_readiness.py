"""What is ready agrees with the rule, read word for word, and a look at a large plan asks little."""

from collections.abc import Iterator, Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.readiness import ready_trials
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from tests.orchestrator.search_driver import search_plan

PLAN = search_plan(trials=2, confirm_seeds=2)
STATES = (State.WAITING, State.DONE, State.FAILED, State.SKIPPED)


def by_the_rule(
    pending: list[Node], running: list[Node], states: Mapping[str, State], with_pair: set[str | None]
) -> list[Node]:
    def is_ready(node: Node) -> bool:
        if not all(states[parent] is State.DONE for parent in node.parents):
            return False
        of_cell = [other for other in running + pending if other.cell_id == node.cell_id]
        return not node.is_confirmation or (
            all(other.is_confirmation for other in of_cell) and node.cell_id in with_pair
        )

    return [node for node in pending if is_ready(node)]


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_confirmation_waits_for_every_other_trial_of_its_cell_and_all_wait_for_their_parents(
    store: Store, data: st.DataObject
) -> None:
    states = {node.uid: data.draw(st.sampled_from(STATES)) for node in PLAN.nodes}
    pending = [node for node in PLAN.nodes if data.draw(st.booleans())]
    running = [node for node in PLAN.nodes if node not in pending and data.draw(st.booleans())]
    with_pair = {cell.cell_id for cell in PLAN.searched_cells if data.draw(st.booleans())}
    found = ready_trials(
        lambda: iter(pending),
        running,
        states,
        lambda node: trial_of(store, node),
        lambda node: node.cell_id in with_pair,
    )
    assert list(found) == by_the_rule(pending, running, states, with_pair)


def test_one_look_goes_through_the_plan_twice_at_most(store: Store) -> None:
    looks = 0

    def pending() -> Iterator[Node]:
        nonlocal looks
        looks += 1
        return iter(PLAN.nodes)

    states = dict.fromkeys(Snapshot(PLAN, store).states, State.DONE)
    done = ready_trials(pending, [], states, lambda node: trial_of(store, node), lambda node: True)
    assert not [node for node in done if node.is_confirmation]
    assert looks == 2
