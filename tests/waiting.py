"""Waits for a condition, never for a time: a busy machine makes a test slower and not wrong."""

import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_SECONDS = 120
"""Far above what an idle machine takes, and below the limit of a test."""


def wait_until(
    is_so: Callable[[], Found],
    what: Callable[[], object] = lambda: "waited in vain",
    *,
    process: "subprocess.Popen[str] | subprocess.Popen[bytes] | None" = None,
    seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.01,
) -> Found:
    """Returns what is so as soon as it is.

    Args:
        is_so: Asked again and again.
        what: What a failure says.
        process: Fails at once when it ends.
        seconds: When to give up.
        pause_seconds: Between two questions.
    """
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert process is None or process.poll() is None, what()
        assert time.monotonic() < deadline, what()
        time.sleep(pause_seconds)
    return found


def wait_until_gone(processes: Iterable[int]) -> None:
    """Waits until processes have ended, of themselves or because somebody killed them."""
    for process in processes:
        wait_until(lambda process=process: not is_running(process), lambda process=process: f"{process} still runs")


def is_running(process: int) -> bool:
    """Tells whether a process exists and is no zombie; Linux only."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
