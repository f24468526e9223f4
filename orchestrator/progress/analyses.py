"""Shows running analyses: bars in a terminal, plain lines anywhere else."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from orchestrator.analyses.runner import Cost
from orchestrator.analyses.tasks import AnalysisTask
from orchestrator.progress.bars import bars_of_images
from orchestrator.progress.live import SUMMARY_EVERY_SECONDS, format_seconds


def render_cost(tasks: Sequence[AnalysisTask], cost: Cost, num_parallel: int) -> Table:
    """Draws what the analyses will take: tasks, images and minutes, by analysis."""
    table = Table(box=None, pad_edge=False)
    for header in ("analysis", "tasks", "images", "time"):
        table.add_column(header, justify="left" if header == "analysis" else "right")
    by_title: dict[str, list[AnalysisTask]] = {}
    for task in tasks:
        by_title.setdefault(task.analysis.title, []).append(task)
    for title, of_title in [*by_title.items(), ("all", list(tasks))]:
        images = sum(cost.num_images[task.uid] for task in of_title)
        seconds = cost.seconds(of_title) / num_parallel
        table.add_row(title, str(len(of_title)), f"{images:,}", format_seconds(seconds))
    return table


class AnalysisProgress:
    """Listens to a run of analyses and shows it."""

    def __init__(self, tasks: Sequence[AnalysisTask], cost: Cost, console: Console) -> None:
        """Prepares the display; `with` starts it."""
        self._console, self._num_tasks = console, len(tasks)
        self._bars = bars_of_images(console)
        self._totals = Counter[str]()
        for task in tasks:
            self._totals[task.analysis.title] += cost.num_images[task.uid]
        self._images = Counter[str]()
        self._bar_of: dict[str, TaskID] = {}
        self._num_ended = 0
        self.errors: dict[str, str] = {}
        """What went wrong, in one line each, by name of the task."""
        self._started_at = self._last_summary = time.monotonic()

    def __enter__(self) -> "AnalysisProgress":
        if self._console.is_terminal:
            self._bar_of = {title: self._bars.add_task(title, total=total) for title, total in self._totals.items()}
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def advanced(self, task: AnalysisTask, num_images: int) -> None:
        """An analysis passed so many more images through a network."""
        title = task.analysis.title
        self._images[title] += num_images
        if self._console.is_terminal:
            self._bars.update(self._bar_of[title], completed=self._images[title])
        elif time.monotonic() - self._last_summary >= SUMMARY_EVERY_SECONDS:
            self._last_summary = time.monotonic()
            self._say(self._summary())

    def ended(self, task: AnalysisTask, error: str | None) -> None:
        """An analysis ended, well or with an error."""
        self._num_ended += 1
        place = f"{task.name} ({self._num_ended}/{self._num_tasks})"
        if error is None:
            self._say(f"done {place}")
        else:
            self.errors[task.name] = error.splitlines()[0]
            self._say(f"failed {place}: {self.errors[task.name]}")

    def _summary(self) -> str:
        done, total = self._images.total(), self._totals.total()
        elapsed = time.monotonic() - self._started_at
        left = f"about {format_seconds(elapsed / done * (total - done))} left" if done else "time left unknown yet"
        return f"{done:,}/{total:,} images; {left}"

    def _say(self, line: str) -> None:
        elapsed = format_seconds(time.monotonic() - self._started_at)
        self._console.print(f"[{elapsed}] {line}", highlight=False, markup=False, soft_wrap=True)
