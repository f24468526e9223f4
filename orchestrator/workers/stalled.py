"""Ends a worker whose trial has no epoch for far longer than usual: it waits for a device, a lock or a lost file.

Python cannot end a thread that hangs, so the process goes, as if the machine had taken it. Before that it writes what
the trial did at that moment; the frontier reads it and tries again, from the last epoch.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

from orchestrator.store.failures import StalledTrialError

FACTOR = 20
"""Times the longest epoch that is known before one counts as stalled."""
MIN_SECONDS = 600.0
"""Shortest wait: machines are busy at times, and storages slow."""


class StallWatch:
    """Watches the thread that enters it, until it leaves."""

    def __init__(
        self,
        record: Callable[[StalledTrialError], None],
        usual_seconds: float | None,
        *,
        min_seconds: float = MIN_SECONDS,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        """Takes what is known before.

        Args:
            record: Writes the failure.
            usual_seconds: Longest epoch that the trial had before; None if there was none. Then nothing is said of the
                first one, which may load data and compile.
            min_seconds: Shortest wait.
            end_process: Called with an exit code behind `record`, whatever that does.
        """
        self._record, self._end_process, self._min_seconds = record, end_process, min_seconds
        self._longest, self._progress = usual_seconds, threading.Event()
        self._is_over = False
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def __enter__(self) -> "StallWatch":
        """Begins to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watches no more."""
        self._is_over = True
        self._progress.set()
        self._thread.join()

    def epoch(self, seconds: float) -> None:
        """Notes an epoch that took so long."""
        self._longest = max(self._longest or 0.0, seconds)
        self._progress.set()

    def _watch(self) -> None:
        while not self._is_over:
            wait = None if self._longest is None else max(self._min_seconds, FACTOR * self._longest)
            if self._progress.wait(wait):
                self._progress.clear()
                continue
            if self._is_over:
                return
            try:
                self._record(self._error(wait or 0.0))
            finally:
                self._end_process(1)
            return

    def _error(self, waited: float) -> StalledTrialError:
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        error = StalledTrialError(
            f"no epoch for {waited:.0f} s, and the longest so far took {self._longest:.1f} s: its worker was ended"
        )
        error.add_note(f"It was at:\n{stack}")
        return error
