"""Shows a running sweep: a live table in a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.plan import Node
from orchestrator.progress.overview import BestPair, Overview
from orchestrator.store.records import TrialRecord
from orchestrator.store.states import State
from search_spaces.stages.registry import STAGES

COLUMNS = (
    *(State.DONE, State.RUNNING, State.WAITING, State.INTERRUPTED, State.PRUNED, State.SKIPPED),
    *(state for state in State if state.is_failed),
)
SUMMARY_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """Images that the first trial on a machine decodes while the others wait."""

    num_images: int
    file: Path
    """Cache that is there once they are decoded."""

    @property
    def text(self) -> str:
        """What people read.

        Examples:
            >>> Decoding(3680, Path("pets.arrow")).text
            'decoding 3,680 images (cached afterwards)'
        """
        return f"decoding {self.num_images:,} images (cached afterwards)"


def render_overview(overview: Overview, num_parallel: int, decoding: Decoding | None = None) -> RenderableType:
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
    lines = [Text(f"  {line}", style="cyan", no_wrap=True) for line in running_lines(overview, decoding)]
    return Group(table, *lines, Text(summary_line(overview, num_parallel)))


def running_lines(overview: Overview, decoding: Decoding | None = None) -> list[str]:
    """Returns a line per running trial: its name, its epoch, what that measured, and the time that it has left."""
    lines = []
    # Without an epoch nothing is known of its pace: a worker starts, and reads the images.
    first = decoding.text if decoding and not decoding.file.exists() else "starting"
    for uid, epoch in overview.epochs.items():
        node, left = overview.plan.node(uid), overview.trial_time_left(uid)
        step = f"{STAGES[node.stage].step} {epoch}/{node.recipe.epochs}" if epoch else first
        parts = [node.name, step, measured_text(overview.latest.get(uid, {}))]
        parts += [left.text] if left and epoch else []
        lines.append("  ".join(part for part in parts if part))
    return lines


def measured_text(row: Mapping[str, Any], split: str = "validation") -> str:
    """Says what a trial measured, after an epoch or at its end; accuracies in percent.

    Examples:
        >>> measured_text({"train/loss": 0.52, "validation/accuracy_fp": 0.98, "validation/accuracy_q": 0.1})
        'loss 0.52, FP 98.0 %, quantized 10.0 %'
        >>> measured_text({"test/accuracy": 0.9}, "test")
        '90.0 %'
    """
    names = {f"{split}/accuracy": "", f"{split}/accuracy_fp": "FP ", f"{split}/accuracy_q": "quantized "}
    loss = row.get("train/loss")
    parts = [] if loss is None else [f"loss {loss:.2g}"]
    parts += [f"{word}{100 * row[name]:.1f} %" for name, word in names.items() if row.get(name) is not None]
    return ", ".join(parts)


def summary_line(overview: Overview, num_parallel: int, *, said: BestPair | None = None) -> str:
    """Returns done and all trials, the best pair so far unless it was said before, and the time left, in one line."""
    parts = [overview.count.text]
    if (best := overview.best) and best != said:
        parity = "" if best.is_feasible else ", parity lost"
        parts.append(
            f"best pair drops {best.drop_text} at a parity gap of {100 * best.parity_gap:+.1f} pp{parity} "
            f"({best.name.removeprefix('pair/')}, validation)"
        )
    left = overview.time_left(num_parallel)
    if overview.count.left:
        parts.append("time left unknown yet" if left is None else left.text)
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

    def __init__(
        self, overview: Overview, console: Console, *, num_parallel: int, decoding: tuple[int, Path] | None = None
    ) -> None:
        """Prepares the display of an overview that it keeps up to date; `with` starts it.

        Args:
            overview: Of the sweep.
            console: Where to.
            num_parallel: Trials at a time.
            decoding: How many images are decoded first, and the file that they are cached in; None for none.
        """
        self._decoding = Decoding(*decoding) if decoding else None
        self.overview, self._console, self._num_parallel = overview, console, num_parallel
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self._started_at = self._last_summary = time.monotonic()
        self._said: BestPair | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        workers = "1 worker" if self._num_parallel == 1 else f"{self._num_parallel} workers"
        first = f"the first one is {self._decoding.text}, and " if self._decoding else ""
        self._say(f"starting {workers}; {first}their first epochs take longest, since kernels are compiled")
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
        self._decoding = None  # on another machine of a cluster the file need not be this one's
        self.overview.epoch(node, row)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_summary >= SUMMARY_EVERY_SECONDS:
            self._last_summary = now
            self._say(summary_line(self.overview, self._num_parallel, said=self._said))
            self._said = self.overview.best
            for line in running_lines(self.overview, self._decoding):
                self._say(f"  {line}")

    def ended(self, node: Node) -> None:
        """A trial ended, well or badly."""
        self.overview.ended(node)
        result = self.overview.snapshot.trial(node).result()
        told = self.overview.headlines.get(node.uid) or (measured_text(result.metrics, "test") if result else "")
        self._say(f"{self.overview.states[node.uid]} {node.name}" + (f": {told}" if told else ""))

    def _render(self) -> RenderableType:
        return render_overview(self.overview, self._num_parallel, self._decoding)

    def _say(self, line: str) -> None:
        elapsed = format_seconds(time.monotonic() - self._started_at)
        self._console.print(f"[{elapsed}] {line}", highlight=False, markup=False, soft_wrap=True)
