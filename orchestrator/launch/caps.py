"""Caps on what a launch may take: no trial starts beyond them, those that run end well, and a relaunch goes on.

A trial takes its devices from its start to its end. The store tells the seconds of its epochs. All else is counted
here, by the clock: start-up, loading data, saving, the last evaluation, and epochs that were lost with their worker.
The sweep's folder keeps the sum for later launches. With a driver that is killed goes what came after the last epoch or
end of a trial, and up to a minute more.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import Node
from orchestrator.store.records import TrialRecord
from orchestrator.store.sweep import Caps
from orchestrator.store.usage import HOUR, Usage, gpu_share
from search_spaces.errors import StorageError, UnreachableError

SAVE_SECONDS = 60.0
"""Time between two saves of what was taken outside of epochs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far one launch goes and whom it tells. `resume` has it again, but for `on_event` and `verify`."""

    caps: Caps
    on_event: str | None
    """Empty if the user wants no events; None if nothing was said."""
    stalled_minutes: float
    verify: bool
    """Compare the files of finished trials with their checksums first."""


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
        self._in_epochs, self._outside = Usage(), Usage()
        self._gpu_shares: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._save: Callable[[Usage], None] = lambda usage: None
        self._next_save = 0.0
        self.hit: str | None = None
        """The cap that was hit, with its numbers; None before."""

    def open(
        self,
        in_epochs: Usage,
        gpu_shares: Mapping[str, float],
        *,
        outside: Usage,
        save: Callable[[Usage], None],
    ) -> None:
        """Tells what the sweep took before.

        Args:
            in_epochs: In the epochs in the store.
            gpu_shares: Share of a GPU of every trial that may start, by uid.
            outside: Outside of them.
            save: Keeps what was taken outside for the next launch.
        """
        self._in_epochs, self._outside = in_epochs.plus(Usage()), outside.plus(Usage())
        self._gpu_shares, self._save = dict(gpu_shares), save
        self._next_save = self._clock() + SAVE_SECONDS

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """A trial takes its devices from now on."""
        self._since[node.uid] = self._clock()

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch, which counts as measured; what passed besides counts, too."""
        now = self._clock()
        # What the worker holds, which may be more than was planned: a whole GPU after it ran out of memory.
        share = self._gpu_shares[node.uid] = gpu_share(row)
        self._in_epochs.add_row(row)
        self._outside.add(now - self._since[node.uid] - row["seconds"], share)
        self._since[node.uid] = now
        self._save_now_and_then()

    def ended(self, node: Node) -> None:
        """A trial gave its devices back; an epoch that it was in is lost, and was paid for."""
        if node.uid in self._since:
            self._outside.add(self._clock() - self._since.pop(node.uid), self._gpu_shares.get(node.uid, 0.0))
        self._save_now_and_then()

    def close(self) -> None:
        """Saves what was taken outside of epochs, however the launch ends."""
        self._next_save = 0.0
        self._save_now_and_then()

    def may_start(self) -> bool:
        """Tells whether another trial may start; never again once a cap is hit."""
        if self.hit is None:
            self.hit = self._exceeded()
        return self.hit is None

    def _outside_by_now(self) -> Usage:
        """Returns what was taken outside of finished epochs, by trials that run as well."""
        usage, now = self._outside.plus(Usage()), self._clock()
        for uid, since in self._since.items():
            usage.add(now - since, self._gpu_shares.get(uid, 0.0))
        return usage

    def _save_now_and_then(self) -> None:
        if (now := self._clock()) < self._next_save:
            return
        self._next_save = now + SAVE_SECONDS
        # If the storage is away or full, the trials will say so.
        with suppress(StorageError, UnreachableError):
            self._save(self._outside_by_now())

    def _exceeded(self) -> str | None:
        caps, usage = self._caps, self._in_epochs.plus(self._outside_by_now())
        hours = (self._clock() - self._began_at) / HOUR
        if caps.max_hours is not None and hours >= caps.max_hours:
            return f"--max-hours {caps.max_hours:g} ({hours:.2f} h since the launch)"
        if caps.max_gpu_hours is not None and usage.gpu_hours >= caps.max_gpu_hours:
            return f"--max-gpu-hours {caps.max_gpu_hours:g} ({usage.gpu_hours:.2f} GPU-hours taken)"
        price = caps.price_per_hour
        if caps.max_cost is not None and price is not None and (cost := usage.paid_hours * price) >= caps.max_cost:
            return f"--max-cost {caps.max_cost:g} ({usage.paid_hours:.2f} h at {price:g} are {cost:.2f})"
        return None
