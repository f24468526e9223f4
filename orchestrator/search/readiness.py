"""Which trials could be handed out now: what they need is done, and before a confirmation the search of its cell."""

from collections.abc import Callable, Collection, Iterator, Mapping

from orchestrator.plan import Node
from orchestrator.search.ladder import needed_by
from orchestrator.store.states import State
from orchestrator.store.trial import TrialFolder


def ready_trials(
    pending: Callable[[], Iterator[Node]],
    running: Collection[Node],
    states: Mapping[str, State],
    trial: Callable[[Node], TrialFolder],
    has_pair: Callable[[Node], bool],
) -> Iterator[Node]:
    """Yields trials that are ready, in the order in which they go.

    Args:
        pending: Yields what is to be handed out; asked twice at most, whatever the size of the plan.
        running: Trials that are out.
        states: Of all trials, by uid.
        trial: Returns the folder of a trial, whose record may name a pair that it starts from.
        has_pair: Tells whether the search of a confirmation's cell is over and found a pair.
    """
    searching: set[str | None] | None = None
    for node in pending():
        if any(states.get(uid, State.DONE) is not State.DONE for uid in needed_by(node, trial(node))):
            continue
        if node.is_confirmation:
            if searching is None:
                # One that is to be tried again counts as failed meanwhile, and may yet be the pair.
                searching = {other.cell_id for other in (*running, *pending()) if not other.is_confirmation}
            if node.cell_id in searching or not has_pair(node):
                continue
        yield node
