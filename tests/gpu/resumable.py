"""Trainings that are cut off between two epochs when the time is over, and go on in a second call."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.gpu.jobs import Context, UnfinishedError
from tests.gpu.record import slug, write_atomically
from trainables.checkpoints import ResumePoint
from trainables.training_loop import EpochReport, StageResult, StageRun, finish

SAVE_SECONDS = 15.0
"""Between two saved states; one is also saved when the time is over."""


def affordable_epochs(
    start: Callable[[int, None], StageRun], seconds: float, *, limits: tuple[int, int], probes: int = 1
) -> tuple[int, float]:
    """Returns how many epochs fit, and the time of one, by running as many as `probes`.

    The first epoch of a process is slower than the rest, since kernels load; where epochs are short, probe two.
    """
    if limits[0] == limits[1]:
        return limits[0], 0.0
    run = start(probes, None)
    report = min((next(run) for _ in range(probes)), key=lambda each: each.seconds)
    run.close()
    return max(limits[0], min(limits[1], int(seconds / report.seconds))), report.seconds


class Training:
    """One training with its plan, its curve and its saved state."""

    def __init__(self, context: Context, name: str) -> None:
        """Reads what an earlier call left."""
        self._context = context
        self._plans = context.work / "plans.json"
        self._name = slug(name)
        self._state, self._curve = (context.work / f"{self._name}.{kind}" for kind in ("resume", "curve.json"))
        self.curve: list[dict[str, float]] = json.loads(self._curve.read_text()) if self._curve.exists() else []
        self._saved = time.time()

    def plan(self, choose: Callable[[], tuple[int, float]], *, shared_as: str | None = None) -> int:
        """Returns the number of epochs, chosen once: a schedule that changed half-way would be another training.

        Args:
            choose: Returns the number and the seconds of one; costs an epoch.
            shared_as: Name of the plan where several trainings have the same.
        """
        plans: dict[str, Any] = json.loads(self._plans.read_text()) if self._plans.exists() else {}
        name = shared_as or self._name
        if name not in plans:
            plans[name] = choose()
            write_atomically(self._plans, json.dumps(plans).encode())
        return int(plans[name][0])

    def finish(self, start: Callable[[ResumePoint | None], StageRun], *, epochs: int) -> StageResult:
        """Trains to the end.

        Raises:
            UnfinishedError: Another epoch does not fit; the state is saved.
        """
        resume = None
        if self._state.exists():
            resume = ResumePoint.from_bytes(self._state.read_bytes(), source=str(self._state))
            self.curve = [point for point in self.curve if point["epoch"] <= resume.epoch]

        def listen(report: EpochReport) -> None:
            self.curve.append({"epoch": report.epoch, "seconds": report.seconds} | report.metrics)
            # Another epoch, and behind the last one both held-out splits again.
            is_late = self._context.seconds_left < 2 * report.seconds + 2
            if report.epoch < epochs and (is_late or time.time() - self._saved > SAVE_SECONDS):
                self._save(report)
            if report.epoch < epochs and is_late:
                raise UnfinishedError(self.summary())

        result = finish(start(resume), listen)
        self._state.unlink(missing_ok=True)
        return result

    def summary(self) -> dict[str, Any]:
        """Returns the curve, and the seconds of an epoch."""
        seconds = sorted(point["seconds"] for point in self.curve)
        return {"epochs": len(self.curve), "seconds_per_epoch": seconds[len(seconds) // 2], "curve": _short(self.curve)}

    def _save(self, report: EpochReport) -> None:
        write_atomically(self._state, report.snapshot().to_bytes())
        write_atomically(self._curve, json.dumps(self.curve).encode())
        self._saved = time.time()


def _short(curve: Iterable[dict[str, float]]) -> list[dict[str, float]]:
    """Keeps what a figure shows."""
    kept = ("epoch", "seconds", "train/loss", "validation/accuracy", "validation/accuracy_fp", "validation/accuracy_q")
    return [{name: round(point[name], 5) for name in kept if name in point} for point in curve]
