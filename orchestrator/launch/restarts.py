"""Which trials a resume works on, and what it makes them forget."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

from orchestrator.plan import Node, Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.ladder import started_from
from orchestrator.store.failures import Failure, allowed_retries
from orchestrator.store.inventory import sweeps_of
from orchestrator.store.leases.trials import Lease, Leases
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import PLAN
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers.entry_points import num_sites
from search_spaces.errors import ConfigError, unknown_name


def find_node(plan: Plan, prefix: str) -> Node:
    """Returns the trial whose uid begins so.

    Raises:
        UnknownNameError: No trial's does.
        ConfigError: Several trials' do.
    """
    found = [node for node in plan.nodes if prefix and node.uid.startswith(prefix)]
    if not found:
        raise unknown_name("uid", prefix, [node.uid for node in plan.nodes])
    if len(found) > 1:
        raise ConfigError(
            f"uid {prefix!r} could be {len(found)} trials, such as {found[0].uid} and {found[1].uid}: type more of it."
        )
    return found[0]


def has_tries_left(state: State, folder: TrialFolder, max_retries: int) -> bool:
    """Tells whether a launch works on a trial that it finds in a state."""
    if state.ended_well or state is State.DIVERGED:
        return False
    headline = folder.headline() if state.is_failed else None
    if headline is None or headline.failure in (Failure.USER, Failure.SHARED):
        # A user who launches again has fixed what was wrong; if not, the same line says so.
        return True
    return folder.attempts().get(headline.failure, 0) <= allowed_retries(headline.failure, max_retries)


def with_parents(plan: Plan, nodes: Iterable[Node]) -> set[str]:
    """Returns the uids of some trials and of all that they start from."""
    uids: set[str] = set()
    for node in nodes:
        uids |= {node.uid} | with_parents(plan, [plan.node(parent) for parent in node.parents])
    return uids


def with_children(plan: Plan, uids: Collection[str], store: Store) -> set[str]:
    """Returns some uids and those of all trials that start from them."""
    reached, size = set(uids), 0
    starts = {node.uid: started_from(node, trial_of(store, node)) for node in plan.nodes}
    while size < len(reached):  # parents come before children, but a pair may start from any other
        size = len(reached)
        reached |= {node.uid for node in plan.nodes if reached.intersection((*node.parents, starts[node.uid]))}
    return reached


def forget_failures(plan: Plan, store: Store) -> int:
    """Gives trials that failed all their tries again, also those that diverged; returns how many there are."""
    states = Snapshot(plan, store).states
    failed = [node for node in plan.nodes if states[node.uid].is_failed]
    for node in failed:
        trial_of(store, node).forget_failures()
    return len(failed)


def restart(
    plan: Plan,
    store: Store,
    nodes: Collection[Node],
    *,
    children_too: bool,
    leases: Leases | None = None,
    others: Mapping[str, Plan] = MappingProxyType({}),
    shared_with: Collection[str] = (),
) -> list[Node]:
    """Makes trials, with `children_too` also what was trained from them, forget everything but their recipes.

    Args:
        plan: Of the sweep.
        store: Where its trials are.
        nodes: Which of them.
        children_too: Whether what was trained from them is restarted, too, in whichever sweep.
        leases: Those of the sweep's driver; None where no other process is on the storage.
        others: Plans of the other sweeps on the storage, by name.
        shared_with: Names of the sweeps that may lose trials by it.

    Returns:
        What was restarted.

    Raises:
        ConfigError: A trial that began was trained from one of them, and is not to be restarted; another sweep would
            lose trials and was not named; or it is at work on one of them.
    """
    uids = {node.uid for node in nodes}
    begun = _begun(plan, store, uids)
    if not children_too and (children := [node for node in begun if node.uid not in uids]):
        raise ConfigError(
            f"{len(children)} trials were trained from what is to be restarted, such as {children[0].name}: "
            "restart them too, with --with-children."
        )
    lost = {name: found for name, other in others.items() if (found := _begun(other, store, uids))}
    if unnamed := {name: found for name, found in lost.items() if name not in shared_with}:
        counts = ", ".join(f"{len(found)} of {name} (such as {found[-1].name})" for name, found in unnamed.items())
        options = " ".join(f"--shared-with {name}" for name in unnamed)
        raise ConfigError(f"trials of other sweeps would be restarted, too: {counts}. To let them go, add {options}.")
    own = [node for node in plan.nodes if node in begun or node.uid in uids]
    known = {node.uid for node in own}
    elsewhere = {node.uid: node for found in lost.values() for node in found if node.uid not in known}
    if not children_too and elsewhere:
        raise ConfigError(
            f"{len(elsewhere)} trials of other sweeps were trained from what is to be restarted, such as "
            f"{next(iter(elsewhere.values())).name}: restart them too, with --with-children."
        )
    restarted = [*own, *elsewhere.values()]
    with ExitStack() as stack:
        if leases:
            for node in restarted:
                stack.enter_context(_taken(leases, store, node))
        # Children first: a parent that runs again must not find children that came of its former self.
        for node in reversed(restarted):
            trial_of(store, node).restart()
    return restarted


def other_plans(store: Store, sweep: str, uids: Collection[str]) -> dict[str, Plan]:
    """Returns the plans of the other sweeps on a storage that hold some of these trials, by name.

    Raises:
        StorageError: One of them was written by another version, or edited.
    """
    others = [each for each in sweeps_of(store) if each.name != sweep]
    sharing = [each for each in others if set(uids).intersection((each.folder.read_json(PLAN) or {}).get("uids", ()))]
    return {each.name: each.load_plan(num_sites) for each in sharing}


def _begun(plan: Plan, store: Store, uids: Collection[str]) -> list[Node]:
    """Returns the trials that began, of some of a plan and of what starts from them, in the plan's order."""
    reached = with_children(plan, set(uids).intersection(plan.by_uid()), store)
    states = Snapshot(plan, store).states if reached else {}
    return [node for node in plan.nodes if node.uid in reached and states[node.uid].has_begun]


@contextmanager
def _taken(leases: Leases, store: Store, node: Node) -> Iterator[None]:
    """Keeps others off a trial for the duration of a `with` block, and ends what a former attempt has under way."""
    taken = leases.take(store.trial(node.stage, node.uid))
    if isinstance(taken, Lease):
        raise ConfigError(
            f"{node.name} ({node.uid}) cannot be restarted, since {taken} trains it: stop that with `dptq-sweep stop "
            f"{taken.sweep}`, or wait for it."
        )
    try:
        yield
    finally:
        leases.release(taken)
