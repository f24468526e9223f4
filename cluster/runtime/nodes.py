"""The machines of a joined Ray cluster: a question to every one of them, and how many trials they have room for now."""

import time
from collections.abc import Callable, Collection

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.runtime.autoscaler import Autoscaler
from cluster.runtime.capacity import Capacity, alive_nodes, current_capacity
from cluster.runtime.resources import max_concurrent_trials

ANSWER_SECONDS = 60.0
LOOK_EVERY_SECONDS = 5.0
NUM_WAITING = 8
"""Trials that wait for a place where machines may come: an autoscaler starts machines for what waits, too."""


def ask_every_machine(
    question: Callable[..., str | None], *arguments: object, seconds: float = ANSWER_SECONDS
) -> list[tuple[str, str | None]]:
    """Calls a function once on every machine that can run trials.

    Args:
        question: Returns what is wrong there, None for nothing; whatever it raises is wrong, too.
        arguments: For the function.
        seconds: Longest wait for all of them together.

    Returns:
        Address of every machine, and its answer.
    """
    asked = {}
    for node in alive_nodes():
        if node["Resources"].get("CPU"):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(question)
            asked[remote.remote(*arguments)] = str(node["NodeManagerAddress"])
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=seconds) if asked else ([], [])
    answers = [(asked[each], _answer(each)) for each in answered]
    return answers + [(asked[each], f"no answer within {seconds:g} s") for each in late]


class Room:
    """How many trials may be out at once, asked of the cluster again and again: machines come and go.

    As many as the machines that run have places for. Where an autoscaler may add machines, a few more wait; not all
    that the cluster could ever run, because a trial that is out has its point, and a later one knows more.
    """

    def __init__(
        self, gpu_shares: Collection[float], autoscaler: Autoscaler, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Sends no request yet; `gpu_shares` are those of all trials to run."""
        self._gpu_shares, self._autoscaler, self._clock = gpu_shares, autoscaler, clock
        self._num_trials, self._asked_at = 0, float("-inf")

    def __call__(self) -> int:
        """Returns the number, at most a few seconds old."""
        now = self._clock()
        if now - self._asked_at >= LOOK_EVERY_SECONDS:
            self._asked_at = now
            self._num_trials = num_out_at_once(current_capacity(self._autoscaler), self._gpu_shares)
        return self._num_trials


def num_out_at_once(capacity: Capacity, gpu_shares: Collection[float]) -> int:
    """Returns how many trials may run or wait for a machine; `gpu_shares` are those of all trials to run.

    Examples:
        >>> num_out_at_once(Capacity(nodes=[{"CPU": 2.0}]), [0.0])
        2
        >>> num_out_at_once(Capacity(nodes=[{"CPU": 2.0}], autoscaler=Autoscaler(unknown="403")), [0.0])
        10
    """
    most = max_concurrent_trials(Capacity(nodes=capacity.nodes).resources, gpu_shares) + NUM_WAITING
    return most if capacity.autoscaler.unknown else min(most, max_concurrent_trials(capacity.resources, gpu_shares))


def _answer(reference: "ray.ObjectRef[str | None]") -> str | None:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)  # of what the function itself raised
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
