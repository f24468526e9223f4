"""What orchestration costs in a finished sweep: `python -m tests.benchmarks.sweep_overhead <storage> [--name quick]`.

Everything comes from the store: launch.json, and the duration and the end of every epoch. A trial lasts from the start
of its first epoch to the end of its last one. `make bench-sweep` runs a sweep of its own first; a storage whose sweep
was launched a second time tells the second launch only, so its wall time then starts with the first epoch.

The plain loop is the sum of the epochs as this sweep measured them. It flatters the loop: a real one would also load
data, initialize networks and save results between its epochs.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
import pandas as pd

from tests.benchmarks.figures import Figure, table

PARALLEL = 2
"""Trials that run side by side, one per core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epochs:
    """A trial as a row of intervals, in seconds since 1970."""

    starts: tuple[float, ...]
    ends: tuple[float, ...]

    def seconds_within(self, start: float, end: float) -> float:
        """Returns how much of a window these epochs fill.

        Examples:
            >>> Epochs(starts=(0.0, 2.0), ends=(1.0, 4.0)).seconds_within(0.5, 3.0)
            1.5
        """
        pairs = zip(self.starts, self.ends, strict=True)
        return sum(max(0.0, min(own_end, end) - max(own_start, start)) for own_start, own_end in pairs)


def read_epochs(storage: Path, name: str) -> list[Epochs]:
    """Reads the epochs of every trial that a sweep began, all of which must be done; a search skips the others."""
    planned = json.loads((storage / "sweeps" / name / "plan.json").read_text())["uids"]
    trials = []
    for uid in planned:
        folder = next(storage.glob(f"*/{uid}"), None)
        if folder is None:
            continue
        if not (folder / "result.json").exists():
            raise click.ClickException(f"trial {uid} of sweep {name!r} is not done: finish the sweep first.")
        rows = pd.read_parquet(folder / "epochs.parquet", columns=["timestamp_ms", "seconds"])
        ends = rows["timestamp_ms"] / 1000
        trials.append(Epochs(starts=tuple(ends - rows["seconds"]), ends=tuple(ends)))
    return trials


def parallel_window(trials: list[Epochs]) -> tuple[float, float] | None:
    """Returns the window from the first to the last moment at which `PARALLEL` trials run; None if there is none.

    The gap in which one trial ends and the next one starts lies inside, since that gap is the overhead. The teacher
    and the white box, which all others wait for, and a last trial that is left alone lie outside.

    Examples:
        >>> parallel_window([Epochs(starts=(0.0,), ends=(4.0,)), Epochs(starts=(1.0,), ends=(3.0,))])
        (1.0, 3.0)
    """
    # Ends sort before starts of the same moment, so a hand-over without a gap is no third trial.
    changes = sorted([(t.starts[0], 1) for t in trials] + [(t.ends[-1], -1) for t in trials])
    running, moments = 0, []
    for moment, change in changes:
        if PARALLEL in (running, running + change):
            moments.append(moment)
        running += change
    return (moments[0], moments[-1]) if moments else None


def figures_of(storage: Path, name: str) -> list[Figure]:
    """Computes the figures of a finished sweep."""
    trials = read_epochs(storage, name)
    launched_at = json.loads((storage / "sweeps" / name / "launch.json").read_text())["launched_at"]
    first, last = min(t.starts[0] for t in trials), max(t.ends[-1] for t in trials)
    launched = datetime.fromisoformat(launched_at).timestamp()
    is_relaunched = launched > first
    wall = last - (first if is_relaunched else launched)
    inside = sum(t.seconds_within(first, last) for t in trials)
    hour = 3600 * len(trials)
    since = "first epoch; it was launched twice" if is_relaunched else f"launch; {first - launched:.1f} s to 1st epoch"
    figures = [
        Figure(name="trials", value=len(trials), unit=""),
        Figure(name="wall time to the last epoch", value=wall, unit="s", detail=f"from {since}"),
        Figure(name="time inside epochs, all trials", value=inside, unit="s"),
    ]
    if window := parallel_window(trials):
        start, end = window
        filled = sum(t.seconds_within(start, end) for t in trials)
        places = PARALLEL * (end - start)
        figures += [
            Figure(name=f"window with {PARALLEL} trials in parallel", value=end - start, unit="s"),
            Figure(
                name="overhead share in it",
                value=100 * (1 - filled / places),
                unit="%",
                detail=f"{filled:.1f} of {places:.1f} s inside epochs",
            ),
        ]
    return [
        *figures,
        Figure(name="trials per hour", value=hour / wall, unit=""),
        Figure(name="trials per hour of the plain loop", value=hour / inside, unit=""),
        Figure(name="sweep / plain loop", value=inside / wall, unit="x", detail=f"ideal {PARALLEL}"),
    ]


@click.command()
@click.argument("storage", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", default="quick", show_default=True, help="Sweep to analyse.")
def main(storage: Path, name: str) -> None:
    """Prints what orchestration cost in a finished sweep."""
    click.echo(table(figures_of(storage, name)))


if __name__ == "__main__":
    main()
