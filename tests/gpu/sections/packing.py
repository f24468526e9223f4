"""How many trials should share a GPU? One to four processes train side by side, as Ray's workers would.

All processes are started once; a round of n lets the first n train and the others wait.
"""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.gpu.jobs import Context, Item

SCRIPT = Path(__file__).resolve().parents[1] / "run.py"
NUMBERS = (1, 2, 4, 3)
"""Of processes, the most telling first."""
SECONDS = 4.0
"""Of training per round."""
SAMPLES_MS = 200


def items(context: Context) -> list[Item]:
    """Lists the rounds."""
    numbers = (1, 2) if context.is_tiny else NUMBERS
    trials = Trials(max(numbers))
    # The first round waits for all processes: each imports torch and builds its networks.
    return [
        Item(f"{number} trials", partial(run_round, number=number, trials=trials), seconds=60 if not index else 25)
        for index, number in enumerate(numbers)
    ]


class Trials:
    """The processes; they end with the one that started them."""

    def __init__(self, number: int) -> None:
        """Starts none yet: a section that is finished needs none."""
        self._number = number
        self._processes: list[subprocess.Popen[str]] = []

    def first(self, number: int, context: Context) -> list["subprocess.Popen[str]"]:
        """Returns the first processes, started and ready."""
        if not self._processes:
            size = "tiny" if context.is_tiny else "whole"
            command = [sys.executable, str(SCRIPT), "--trial", str(context.brought), str(context.work), size]
            self._processes = [
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for _ in range(self._number)
            ]
            for process in self._processes:
                _answer(process)
        return self._processes[:number]


def run_round(context: Context, *, number: int, trials: Trials) -> dict[str, Any]:
    """Lets some processes train side by side, and adds up what they did."""
    processes = trials.first(number, context)
    seconds = 0.3 if context.is_tiny else SECONDS
    monitor = _start_monitor(context)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
    answers = [_answer(process) for process in processes]
    return {
        "processes": number,
        "images_per_second": sum(answer["images"] / answer["seconds"] for answer in answers),
        "gb_each": max(answer["gb"] for answer in answers),
        **_read_monitor(monitor),
    }


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a trial ended with status {process.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found


def _start_monitor(context: Context) -> "subprocess.Popen[str] | None":
    """Samples how busy the card is, by the program that comes with its driver; it changes nothing."""
    if not context.is_cuda or shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    return subprocess.Popen([*query, f"--loop-ms={SAMPLES_MS}"], stdout=subprocess.PIPE, text=True)


def _read_monitor(monitor: "subprocess.Popen[str] | None") -> dict[str, float]:
    if monitor is None:
        return {}
    monitor.terminate()
    output, _ = monitor.communicate(timeout=5)
    return summarize(output)


def summarize(output: str) -> dict[str, float]:
    r"""Returns the mean share of time with a kernel on the card, and its memory in use.

    The first samples look back at the time before the round, so a fifth of them is left out.

    Examples:
        >>> summarize("0, 900\n80, 1000\n90, 1000\n100, 1000\n90, 1000\n")
        {'busy_percent': 90.0, 'gb_used': 1.048576}
    """
    rows = [line.split(",") for line in output.splitlines() if line.count(",") == 1]
    samples = [(float(busy), float(used)) for busy, used in rows if busy.strip().isdigit() and used.strip().isdigit()]
    kept = samples[-(-len(samples) // 5) :]
    if not kept:
        return {}
    return {
        "busy_percent": sum(busy for busy, _ in kept) / len(kept),
        "gb_used": max(used for _, used in kept) * 2**20 / 1e9,
    }
