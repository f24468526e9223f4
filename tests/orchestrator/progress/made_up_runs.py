"""Launches whose trials train nothing, with epochs, start-ups and first epochs as CPUs took them; no tests in here."""

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.plan import Node, Plan
from orchestrator.search.trial_budget import Findings, settle
from orchestrator.store.states import State
from search_spaces.names import Goal
from search_spaces.stages.registry import Stage

EPOCH_SECONDS = {Stage.TEACHER: 3.9, Stage.DISTILL: 1.5, Stage.PAIR: 7.1}
"""Medians of a run of the quick grid on two cores; its first epochs took 31, 1.8 and 29 s."""
FIRST = {Stage.TEACHER: 8.0, Stage.DISTILL: 1.2, Stage.PAIR: 3.5}
"""Of a worker's first epoch of a stage, against the others."""


@dataclass(frozen=True)
class Event:
    """Something that a launch hears of."""

    now: float
    kind: str
    node: Node
    row: Mapping[str, float]
    states: Mapping[str, State]
    """Of all trials from here on."""


class Run:
    """A launch whose trials train nothing."""

    def __init__(self, plan: Plan, num_parallel: int, seed: int) -> None:
        self.plan, self.num_parallel, self.chance = plan, num_parallel, random.Random(seed)
        self.findings = Findings()
        self.states = settle(plan, dict.fromkeys(plan.by_uid(), State.WAITING), self.findings)
        # Machines differ in how much a stage costs beside another.
        self.pace = {stage: seconds * self.chance.lognormvariate(0, 0.3) for stage, seconds in EPOCH_SECONDS.items()}

    def events(self) -> Iterator[Event]:
        """Runs all that is needed, in the order of time."""
        free: list[set[str]] = [set() for _ in range(self.num_parallel)]
        queue: list[tuple[float, int, str, Node, int, set[str]]] = []
        now, number = 0.0, 0
        while True:
            for node in [node for node in self.plan.nodes if self._is_ready(node)][: len(free)]:
                worker = free.pop()
                self.findings.begun.add(node.uid)
                begin = now + (self.chance.uniform(1, 2) if worker else self.chance.uniform(8, 20))
                yield Event(now, "started", node, {}, dict(self.states))
                number += 1
                heapq.heappush(queue, (begin + self._seconds(node, worker), number, "epoch", node, 1, worker))
            if not queue:
                return
            now, _, kind, node, epoch, worker = heapq.heappop(queue)
            if kind == "end":
                self._end(node)
                free.append(worker | {"warm"})
                yield Event(now, "ended", node, {}, dict(self.states))
                continue
            row = {"epoch": epoch, "seconds": self.last[node.uid]}
            yield Event(now, "epoch", node, row, dict(self.states))
            number += 1
            if epoch < node.recipe.epochs:
                heapq.heappush(queue, (now + self._seconds(node, worker), number, "epoch", node, epoch + 1, worker))
            else:
                heapq.heappush(queue, (now + self.chance.uniform(1, 3), number, "end", node, epoch, worker))

    last: dict[str, float] = {}  # noqa: RUF012  # seconds of the epoch that runs, by uid

    def _seconds(self, node: Node, worker: set[str]) -> float:
        seconds = self.pace[node.stage] * self.chance.lognormvariate(0, 0.15)
        seconds *= 1 if str(node.stage) in worker else FIRST[node.stage]
        worker.add(str(node.stage))
        self.last[node.uid] = seconds
        return seconds

    def _is_ready(self, node: Node) -> bool:
        if self.states[node.uid] is not State.WAITING or node.uid in self.findings.begun:
            return False
        of_cell = [other for other in self.plan.nodes if other.cell_id == node.cell_id and not other.is_confirmation]
        is_over = all(not self.states[other.uid].is_open for other in of_cell)
        return all(self.states[parent] is State.DONE for parent in node.parents) and (
            not node.is_confirmation or is_over
        )

    def _end(self, node: Node) -> None:
        if node.cell and node.cell.goal is Goal.DETRIMENTAL and not node.is_confirmation and self.chance.random() < 0.5:
            self.findings.qualifying.add(node.uid)
        self.states = settle(self.plan, {**self.states, node.uid: State.DONE}, self.findings)
