"""Which trials of a search are still needed: a cell with a hit leaves the rest of its trials to the others.

A pure function of the plan and of what the store says, so that a launch, a relaunch and `status` agree. The budget
counts trials beyond the first of each cell. With `until: shown` a hit counts once the validation images show it.
Whatever has begun is finished. Of the others those are waiting that the
budget pays for, lowest numbers first, and the rest is skipped, as is all in a cell with a hit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.plan import Node, Plan
from orchestrator.store.states import State


@dataclass(slots=True)
class Findings:
    """What a search has to show; `orchestrator.results.snapshot` keeps it up to date."""

    qualifying: set[str] = field(default_factory=set)
    """Uids of finished trials that are catastrophic on the validation split."""
    shown: set[str] = field(default_factory=set)
    """Those of them whose hit the validation images show; asked only of a search that goes on until then."""
    begun: set[str] = field(default_factory=set)
    """Uids of trials that have a recipe; they are finished whatever happens meanwhile."""
    hours: dict[str, float] = field(default_factory=dict)
    """Of GPUs, or of cores where there are none, in the trials that ended, however they did; by uid."""

    def forget(self, uid: str) -> None:
        """Forgets a trial, which is looked at again."""
        self.qualifying.discard(uid)
        self.shown.discard(uid)
        self.begun.discard(uid)
        self.hours.pop(uid, None)


def settle(plan: Plan, states: Mapping[str, State], findings: Findings) -> dict[str, State]:
    """Returns the states of all trials, by uid: of every one that did not begin, whether it is waiting or skipped.

    Which of the two `states` says of it does not matter.
    """
    search, settled, searches = plan.grid.search, dict(states), plan.searches()
    found = {node.cell_id for node in plan.nodes if node.uid in findings.qualifying}
    is_enough = findings.shown if search.until == "shown" else findings.qualifying
    over = {node.cell_id for node in plan.nodes if node.uid in is_enough}
    of_search = [node for node in plan.nodes if node.is_of_search]
    open_ones = [node for node in of_search if node.uid not in findings.begun]
    left = search.trials * len(searches) - (len(of_search) - len(open_ones))
    if search.gpu_hours and sum(findings.hours.get(node.uid, 0.0) for node in of_search) >= search.gpu_hours:
        left = 0
    for node in open_ones:
        is_needed = search.keep_searching or node.cell_id not in over
        settled[node.uid] = State.WAITING if is_needed and left > 0 else State.SKIPPED
        left -= is_needed
    needed = found | {cell_id for cell_id, nodes in searches.items() if goes_on(nodes, settled)}
    for node in plan.nodes:
        if node.is_confirmation and node.uid not in findings.begun:
            settled[node.uid] = State.WAITING if node.cell_id in needed else State.SKIPPED
    return settled


def goes_on(nodes: Iterable[Node], states: Mapping[str, State]) -> bool:
    """Tells whether the search of a cell with these trials may still find its pair."""
    return any(states[node.uid].is_open for node in nodes)
