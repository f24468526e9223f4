"""Which trials a resume works on, and what it makes them forget."""

from collections.abc import Collection, Iterable

from orchestrator.plan import Node, Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.store.trial import started_from, trial_of
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


def restart(plan: Plan, store: Store, nodes: Collection[Node], *, children_too: bool) -> list[Node]:
    """Makes trials, with `children_too` also what was trained from them, forget everything but their recipes.

    Returns:
        What was restarted.

    Raises:
        ConfigError: A trial that is done was trained from one of them, and is not to be restarted.
    """
    uids = {node.uid for node in nodes}
    reached = with_children(plan, uids, store)
    states = Snapshot(plan, store).states if reached else {}
    begun = [node for node in plan.nodes if node.uid in reached and states[node.uid].has_begun]
    if not children_too and (children := [node for node in begun if node.uid not in uids]):
        raise ConfigError(
            f"{len(children)} trials were trained from what is to be restarted, such as {children[0].name}: "
            "restart them too, with --with-children."
        )
    # Children first: a parent that runs again must not find children that came of its former self.
    restarted = [node for node in plan.nodes if node in begun or node.uid in uids]
    for node in reversed(restarted):
        trial_of(store, node).restart()
    return restarted
