"""Shows how far a verification is: a bar in a terminal, a line per step anywhere else."""

import time

from rich.console import Console
from rich.progress import TaskID

from orchestrator.progress.bars import bars_of_images
from orchestrator.progress.live import SUMMARY_EVERY_SECONDS, format_seconds
from trainables.deployment.verify import Progress


class VerificationProgress:
    """Listens to a verification and shows it."""

    def __init__(self, console: Console) -> None:
        """Prepares the display; `with` starts it."""
        self._console = console
        self._bars = bars_of_images(console)
        self._bar: TaskID | None = None
        self._step = ""
        self._started_at = self._step_at = self._said_at = time.monotonic()

    def __enter__(self) -> "VerificationProgress":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def advanced(self, progress: Progress) -> None:
        """A step passed so many of its images."""
        now = time.monotonic()
        if progress.step != self._step:
            self._step, self._step_at, self._said_at = progress.step, now, now
            if self._console.is_terminal:
                if self._bar is not None:
                    self._bars.remove_task(self._bar)
                self._bar = self._bars.add_task(progress.step, total=progress.total or None)
            elif not progress.total:
                self._say(progress.step)
        if self._console.is_terminal and self._bar is not None:
            self._bars.update(self._bar, completed=progress.done)
        elif progress.total and progress.done == progress.total:
            self._say(f"{progress.step}: done ({progress.total:,} images)")
        elif progress.done and now - self._said_at >= SUMMARY_EVERY_SECONDS:
            self._said_at = now
            left = format_seconds((now - self._step_at) / progress.done * (progress.total - progress.done))
            self._say(f"{progress.step}: {progress.done:,}/{progress.total:,} images; about {left} left")

    def _say(self, line: str) -> None:
        elapsed = format_seconds(time.monotonic() - self._started_at)
        self._console.print(f"[{elapsed}] {line}", highlight=False, markup=False, soft_wrap=True)
