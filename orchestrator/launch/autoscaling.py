"""Lets a cluster grow ahead of Tune, and shrink when a launch ends.

Tune asks for room trial by trial, and an autoscaler adds a share of what runs at a time. So the autoscaler is told at
once what should fit side by side: the trials that run and those whose parents are done, as many as may run together.
Trials that still wait for a parent are left out: machines would stand idle, and be paid for, while a teacher trains.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.runtime.autoscaler import request_bundles
from cluster.runtime.capacity import Capacity
from cluster.runtime.resources import as_bundle, trial_resources
from orchestrator.launch.frontier import Frontier
from orchestrator.launch.listeners import Listener
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Node
from orchestrator.store.records import TrialRecord

Request = Callable[[Sequence[Mapping[str, float]]], None]


class Prescaler:
    """Tells the autoscaler, at every start and end of a trial, what should fit on the cluster at once."""

    def __init__(
        self,
        launch: Launch,
        frontier: Frontier,
        gpu_shares: Mapping[str, float],
        num_parallel: int,
        request: Request,
    ) -> None:
        """Tells it for the first time, by `request`, of at most `num_parallel` trials at once."""
        self._launch, self._frontier, self._gpu_shares = launch, frontier, gpu_shares
        self._num_parallel, self._request = num_parallel, request
        self._running: dict[str, Node] = {}
        self._tell()

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """Counts a trial that runs."""
        self._running[node.uid] = node
        self._tell()

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """Changes nothing."""

    def ended(self, node: Node) -> None:
        """Gives up the room of a trial, if no other is ready for it."""
        self._running.pop(node.uid, None)
        self._tell()

    def _tell(self) -> None:
        ready = () if self._launch.meter.hit else self._frontier.ready
        together = [*self._running.values(), *ready][: self._num_parallel]
        self._request([as_bundle(trial_resources(self._gpu_shares[node.uid])) for node in together])


@contextmanager
def prescaling(
    launch: Launch,
    frontier: Frontier,
    gpu_shares: Mapping[str, float],
    num_parallel: int,
    capacity: Capacity,
    request: Request = request_bundles,
) -> Iterator[Sequence[Listener]]:
    """Yields what scales a cluster that can grow, nothing for one that cannot; takes the wish back at the end.

    A driver that is killed leaves its last wish behind, and with it machines: the next launch, `cluster down` or the
    autoscaler's own end takes it back.
    """
    if not capacity.may_grow:
        yield ()
        return
    try:
        yield (Prescaler(launch, frontier, gpu_shares, num_parallel, request),)
    finally:
        request(())
