"""Caps on what a launch may take: no trial starts beyond them, those that run end well, and a relaunch goes on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.plan import Node
from orchestrator.store.records import TrialRecord
from orchestrator.store.sweep import Caps
from orchestrator.store.usage import HOUR, Usage


def more_of(hit: str | None) -> tuple[str, ...]:
    """Returns what `resume` must be told to go on after `Meter.hit`; hours are counted again by themselves.

    Examples:
        >>> more_of("--max-cost 20 (8.00 h at 2.5 are 20.00)"), more_of("--max-hours 2 (2.00 h since the launch)")
        (('--max-cost', 'MORE'), ())
    """
    option = (hit or "").partition(" ")[0]
    return (option, "MORE") if option in ("--max-gpu-hours", "--max-cost") else ()


class Meter:
    """Listens to a launch, adds up what it takes, and answers whether another trial may start."""

    def __init__(self, caps: Caps, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock of the launch."""
        self._caps, self._clock = caps, clock
        self._began_at = clock()
        self._usage = Usage()
        self._gpu_shares: Mapping[str, float] = {}
        self._since: dict[str, float] = {}
        self.hit: str | None = None
        """The cap that was hit, with its numbers; None before."""

    def open(self, usage: Usage, gpu_shares: Mapping[str, float]) -> None:
        """Tells what the sweep took before, and the share of a GPU of every trial that may start."""
        self._usage, self._gpu_shares = replace(usage), gpu_shares

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """A trial takes its devices from now on."""
        self._since[node.uid] = self._clock()

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch, which counts as measured from now on."""
        self._usage.add_row(row)
        self._since[node.uid] = self._clock()

    def ended(self, node: Node) -> None:
        """A trial gave its devices back."""
        if node.uid in self._since:
            self._usage.add(self._clock() - self._since.pop(node.uid), self._gpu_shares.get(node.uid, 0.0))

    def may_start(self) -> bool:
        """Tells whether another trial may start; never again once a cap is hit."""
        if self.hit is None:
            self.hit = self._exceeded()
        return self.hit is None

    def _exceeded(self) -> str | None:
        caps, usage = self._caps, replace(self._usage)
        now = self._clock()
        for uid, since in self._since.items():
            usage.add(now - since, self._gpu_shares.get(uid, 0.0))
        hours = (now - self._began_at) / HOUR
        if caps.max_hours is not None and hours >= caps.max_hours:
            return f"--max-hours {caps.max_hours:g} ({hours:.2f} h since the launch)"
        if caps.max_gpu_hours is not None and usage.gpu_hours >= caps.max_gpu_hours:
            return f"--max-gpu-hours {caps.max_gpu_hours:g} ({usage.gpu_hours:.2f} GPU-hours taken)"
        price = caps.price_per_hour
        if caps.max_cost is not None and price is not None and (cost := usage.paid_hours * price) >= caps.max_cost:
            return f"--max-cost {caps.max_cost:g} ({usage.paid_hours:.2f} h at {price:g} are {cost:.2f})"
        return None
