"""How busy 64 workers are with 1,000 trials that wait for their parents: `python -m tests.benchmarks.sweep_cluster`.

The workers are logical cores of several Ray nodes on this machine, on which fake trials sleep as long as the stages of
the digits grid take relative to each other. Scheduler, store, studies and MLflow are the real ones. A worker is busy
while a trial sleeps. All else counts as idle: waiting for parents, hand-overs, files, and the end of the sweep.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cluster.runtime.nodes import Room
from cluster.runtime.session import session
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Plan
from orchestrator.progress.live import Progress
from orchestrator.progress.overview import overview_of
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import trial_of
from orchestrator.tracking.tracker import Tracker
from search_spaces.stages.registry import Stage
from tests.benchmarks.figures import Figure, table
from tests.benchmarks.sweep_scale import fake_trial, plan_of, storage_of_run
from tests.cluster.heads import several_nodes

# As the digits grid's epochs and the cost of an epoch of a stage relate: 8 x 2, 24 x 1, 32 x 3.
RELATIVE_SECONDS = {"teacher": 16 / 96, "distill": 24 / 96, "pair": 1.0}
SPREAD = 0.2
"""By how much the length of a trial differs from the mean of its stage, at most, up and down."""


def run_on(num_machines: int, num_workers: int, plan: Plan, sweep: Sweep, pair_seconds: float) -> dict[str, float]:
    """Runs fake trials on a cluster; returns wall and processor time of the driver, and the load that it saw."""

    def seconds_of(config: dict[str, Any]) -> float:
        place = int(config["uid"], 16) % 1001 / 1000
        mean: float = RELATIVE_SECONDS[config["stage"]] * pair_seconds
        return mean * (1 + SPREAD * (2 * place - 1))

    with several_nodes(num_cpus=0) as cluster:
        for _ in range(num_machines):
            cluster.add_node(num_cpus=num_workers // num_machines)
        tracker = Tracker(None, sweep.store, sweep.name)
        launch = Launch(sweep=sweep, snapshot=Snapshot(plan, sweep.store), trainable=fake_trial(seconds_of))
        overview = overview_of(launch.snapshot, has_driver=False)
        with (
            open(os.devnull, "w") as nowhere,
            sweep.driver(),
            session(cluster.address) as capacity,
            launch.open_frontier() as frontier,
            Progress(overview, Console(file=nowhere), num_parallel=num_workers) as progress,
        ):
            sweep.save_plan(plan)
            sweep.save_launch(LaunchOptions())
            tracker.open(plan, {})
            shares = dict.fromkeys(plan.by_uid(), 0.0)
            start, start_cpu = time.monotonic(), time.process_time()
            with LoadMeter() as load:
                launch.run(frontier, shares, Room([0.0], capacity.autoscaler), (progress, tracker))
            wall, cpu = time.monotonic() - start, time.process_time() - start_cpu
            assert tracker.close("FINISHED") == []
    return {"wall": wall, "cpu": cpu, "load": load.highest, "gigabytes": load.most_gigabytes}


class LoadMeter:
    """Watches the load and the memory of this machine."""

    def __init__(self) -> None:
        self.highest = self.most_gigabytes = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "LoadMeter":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(2):
            self.highest = max(self.highest, os.getloadavg()[0])
            lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
            used = [int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable")]
            self.most_gigabytes = max(self.most_gigabytes, (used[0] - used[1]) * 1024 / 1e9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """How the workers spent their time."""

    share: float
    """Of the time that counts, in which trials ran."""
    seconds: float
    """From the first start to the last end."""
    ramp_seconds: float
    """Of these, the time in which worker processes started, which does not count: from the first pair's start until 19
    of 20 workers had one. This machine starts them one after another; machines of a cluster do so side by side."""


def measure(plan: Plan, store: Store, num_workers: int) -> Busy:
    """Reads from the store when trials ran."""
    spans, pair_starts = [], []
    for node in plan.nodes:
        for row in trial_of(store, node).epochs():
            end = row["timestamp_ms"] / 1000
            spans.append((end - row["seconds"], end))
            if node.stage is Stage.PAIR and row["epoch"] == 1:
                pair_starts.append(end - row["seconds"])
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    ramp_start, ramp_end = min(pair_starts), _first_time_of(0.95 * num_workers, spans)
    counted = [(first, ramp_start), (ramp_end, last)]
    busy = sum(max(0.0, min(end, b) - max(start, a)) for start, end in spans for a, b in counted)
    ramp_seconds = ramp_end - ramp_start
    share = busy / (num_workers * (last - first - ramp_seconds))
    return Busy(share=share, seconds=last - first, ramp_seconds=ramp_seconds)


def _first_time_of(num_workers: float, spans: Sequence[tuple[float, float]]) -> float:
    """Returns when so many trials ran at once for the first time."""
    changes = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    running = 0
    for moment, change in changes:
        running += change
        if running >= num_workers:
            return moment
    raise AssertionError(f"never {num_workers:g} trials at once: fewer workers started")


@click.command()
@click.option("--trials", default=1000, show_default=True, help="About so many.")
@click.option("--workers", default=64, show_default=True, help="Trials that run at once.")
@click.option("--machines", default=8, show_default=True, help="Ray nodes that the workers are on.")
@click.option("--seconds", default=30.0, show_default=True, help="That a pair sleeps, on average.")
@click.option("--keep", is_flag=True, help="Keep the storage folder.")
def main(trials: int, workers: int, machines: int, seconds: float, keep: bool) -> None:
    """Measures how busy the workers of a cluster are with a sweep of fake trials."""
    with storage_of_run("dptq-cluster-", keep=keep) as storage:
        plan, sweep = plan_of(trials), Sweep(Store(storage), "scale")
        cost = run_on(machines, workers, plan, sweep, seconds)
        busy = measure(plan, sweep.store, workers)
        num_trials, places = len(plan.nodes), f"{workers} on {machines} nodes"
        work = f"{num_trials} trials, pairs of {seconds:g} s"
        figures = [
            Figure(name="workers busy", value=100 * busy.share, unit="%", at_least=90, detail=places),
            Figure(name="first start to last end", value=busy.seconds, unit="s", detail=work),
            Figure(name="driver time per trial", value=cost["cpu"] / num_trials, unit="s"),
            Figure(name="driver, of one core", value=100 * cost["cpu"] / cost["wall"], unit="%"),
            Figure(name="of it, start of the worker processes, not counted", value=busy.ramp_seconds, unit="s"),
            Figure(name="highest load average", value=cost["load"], unit="", detail=f"{os.cpu_count()} cores"),
            Figure(name="memory of the whole machine", value=cost["gigabytes"], unit="GB"),
        ]
        click.echo(table(figures))


if __name__ == "__main__":
    main()
