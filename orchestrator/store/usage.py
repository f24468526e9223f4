"""What a sweep took of its machines: hours of cores and GPUs, in the epochs in the store and outside of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.runtime.resources import CPUS_PER_TRIAL

GPU_SECONDS = "gpu_seconds"
"""Column of epochs.parquet: seconds of an epoch times its share of a GPU; absent where there is none."""
HOUR = 3600.0


@dataclass(slots=True)
class Usage:
    """Device-hours."""

    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    paid_hours: float = 0.0
    """GPU-hours of what ran on GPUs, CPU-hours of the rest: what a price per hour is for."""

    def add(self, seconds: float, gpu_share: float) -> None:
        """Counts a trial's time on its devices.

        Examples:
            >>> usage = Usage()
            >>> usage.add(7200, 0.25)
            >>> usage.add(3600, 0)
            >>> usage
            Usage(cpu_hours=3.0, gpu_hours=0.5, paid_hours=1.5)
        """
        cpu_hours = CPUS_PER_TRIAL * seconds / HOUR
        gpu_hours = gpu_share * seconds / HOUR
        self.cpu_hours += cpu_hours
        self.gpu_hours += gpu_hours
        self.paid_hours += gpu_hours if gpu_share else cpu_hours

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Counts an epoch, as a row of epochs.parquet tells it."""
        self.add(row["seconds"], gpu_share(row))

    def plus(self, other: "Usage") -> "Usage":
        """Returns the hours of both."""
        return Usage(
            cpu_hours=self.cpu_hours + other.cpu_hours,
            gpu_hours=self.gpu_hours + other.gpu_hours,
            paid_hours=self.paid_hours + other.paid_hours,
        )


def gpu_share(row: Mapping[str, Any]) -> float:
    """Returns the share of a GPU that a trial held in an epoch, given its row of epochs.parquet; 0 without one."""
    seconds = row["seconds"]
    return (row.get(GPU_SECONDS) or 0.0) / seconds if seconds else 0.0


def paid_hours(rows: Iterable[Mapping[str, Any]]) -> float:
    """Returns the GPU-hours of a trial, or its CPU-hours if it had no GPU, given the rows of its epochs.

    Examples:
        >>> paid_hours([{"seconds": 3600, "gpu_seconds": 900}, {"seconds": 3600, "gpu_seconds": 900}])
        0.5
    """
    usage = Usage()
    for row in rows:
        usage.add_row(row)
    return usage.paid_hours
