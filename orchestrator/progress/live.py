"""Shows a running sweep: a live table in a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.plan import Node
from orchestrator.progress.overview import Overview
from orchestrator.store.records import TrialRecord
from orchestrator.store.states import State
from search_spaces.stages.registry import STAGES

COLUMNS = (
    *(State.DONE, State.RUNNING, State.WAITING, State.INTERRUPTED, State.PRUNED, State.SKIPPED),
    *(state for state in State if state.is_failed),
)
SUMMARY_EVERY_SECONDS = 15.0


def render_overview(overview: Overview, num_parallel: int) -> RenderableType:
    """Draws counts per stage, the running trials, the best pair so far and the time left."""
    counts = overview.counts()
    always = (State.DONE, State.RUNNING)
    shown = [state for state in COLUMNS if state in always or any(state in counter for counter in counts.values())]
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for state in shown:
        table.add_column(str(state), justify="right")
    for stage, counter in counts.items():
        table.add_row(str(stage), *(str(counter[state]) for state in shown))
    lines = [Text(f"  {line}", style="cyan", no_wrap=True) for line in running_lines(overview)]
    return Group(table, *lines, Text(summary_line(overview, num_parallel)))


def running_lines(overview: Overview) -> list[str]:
    """Returns a line per running trial: its name, its epoch, and the time that it has left."""
    lines = []
    for uid, epoch in overview.epochs.items():
        node, eta = overview.plan.node(uid), overview.trial_eta_seconds(uid)
        left = "" if eta is None else f"  about {format_seconds(eta)} left"
        lines.append(f"{node.name}  {STAGES[node.stage].step} {epoch}/{node.recipe.epochs}{left}")
    return lines


def summary_line(overview: Overview, num_parallel: int) -> str:
    """Returns done and all trials, the best pair so far and the time left, in one line."""
    parts = [overview.count.text]
    if best := overview.best:
        parity = "" if best.is_feasible else ", parity lost"
        parts.append(
            f"best pair drops {best.drop_text} at a parity gap of {100 * best.parity_gap:+.1f} pp{parity} "
            f"({best.name.removeprefix('pair/')}, validation)"
        )
    eta = overview.eta_seconds(num_parallel)
    if overview.num_left():
        parts.append("time left unknown yet" if eta is None else f"about {format_seconds(eta)} left")
    return "; ".join(parts)


def format_seconds(seconds: float) -> str:
    """Writes a duration for people.

    Examples:
        >>> format_seconds(75.4), format_seconds(8000)
        ('0:01:15', '2:13:20')
    """
    return str(timedelta(seconds=round(seconds)))


class Progress:
    """Listens to a launch and shows it."""

    def __init__(self, overview: Overview, console: Console, *, num_parallel: int) -> None:
        """Prepares the display of an overview that it keeps up to date; `with` starts it."""
        self.overview, self._console, self._num_parallel = overview, console, num_parallel
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self._started_at = self._last_summary = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, node: Node, record: TrialRecord | None) -> None:
        """A trial was handed to a worker."""
        self.overview.started(node)
        self._say(f"started {node.name} ({node.uid})")

    def epoch(self, node: Node, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        self.overview.epoch(node, row)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_summary >= SUMMARY_EVERY_SECONDS:
            self._last_summary = now
            self._say(summary_line(self.overview, self._num_parallel))
            for line in running_lines(self.overview):
                self._say(f"  {line}")

    def ended(self, node: Node) -> None:
        """A trial ended, well or badly."""
        self.overview.ended(node)
        headline = self.overview.headlines.get(node.uid)
        self._say(f"{self.overview.states[node.uid]} {node.name}" + (f": {headline}" if headline else ""))

    def _render(self) -> RenderableType:
        return render_overview(self.overview, self._num_parallel)

    def _say(self, line: str) -> None:
        elapsed = format_seconds(time.monotonic() - self._started_at)
        self._console.print(f"[{elapsed}] {line}", highlight=False, markup=False, soft_wrap=True)
