"""What 2,000 trials cost the driver: `python -m tests.benchmarks.sweep_scale`.

The trials are fake: they sleep and write what a real one leaves behind. Scheduler, store, studies, MLflow and the
report are the real ones, on a Ray cluster of many logical cores, so that few real ones run many sleeping trials.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from ray import tune

from orchestrator.console import make_console
from orchestrator.launch.driver import run_sweep
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.store import Store
from orchestrator.store.sweep import LaunchOptions, Sweep
from orchestrator.store.trial import ROW, TrialFolder, now_ms
from orchestrator.tracking.environment import quiet_mlflow
from search_spaces.grids.build import Choices, build_grid
from tests.benchmarks.figures import Figure, table
from tests.cluster.heads import several_nodes

NUM_SITES = 15
SEARCH = {"keep_searching": True}
PAIRS_PER_SEED = 10
LOGICAL_CORES = 8
"""Sleeping trials that run at once."""


def fake_trial(seconds_of: Callable[[dict[str, Any]], float]) -> Callable[[dict[str, Any]], None]:
    """Returns a trainable of two epochs that sleeps so long, and leaves the files of a real one."""

    def run(config: dict[str, Any]) -> None:
        seconds = seconds_of(config)
        trial = TrialFolder(Store(config["storage"], create=False), config["stage"], config["uid"])
        metrics, rows = _metrics(int(config["uid"], 16)), []
        for epoch in (1, 2):
            time.sleep(seconds / 2)
            row = {"epoch": epoch, "seconds": seconds / 2, "timestamp_ms": now_ms(), "train/loss": 1 / epoch}
            row |= {name: value for name, value in metrics.items() if name.startswith("validation/")}
            rows.append(row)
            trial.write_epoch(rows, b"state")
            tune.report({ROW: row, "num_epochs": 2})
        trial.write_result(metrics, {CHECKPOINT: b"x"}, seconds=seconds, data_sha256="d")

    return run


def _metrics(number: int) -> dict[str, float]:
    """Accuracies of a pair, different for every trial."""
    drop, gap = (number % 900) / 1000, (number % 31) / 1000
    one = {"accuracy_white_box": 0.95, "accuracy_fp": 0.95 - gap, "accuracy_q": 0.95 - gap - drop}
    one |= {"accuracy_delta": -drop, "parity_gap": gap, "drop_standard_error": 0.01}
    return {f"{split}/{name}": value for split in ("validation", "test") for name, value in one.items()}


def plan_of(num_trials: int) -> Plan:
    """Returns the plan of the quick grid with as many seeds as make so many trials."""
    seeds = tuple(range(max(1, round(num_trials / PAIRS_PER_SEED))))
    return build_plan(
        build_grid("quick", Choices(seeds=seeds, search=SEARCH), lambda _: NUM_SITES), lambda _: NUM_SITES
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a sweep took from its driver."""

    num_trials: int
    num_done: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_fake_sweep(storage: str, num_trials: int, seconds: float) -> Cost:
    """Runs fake trials through everything that runs real ones, in this process as the driver.

    Args:
        storage: Folder of the sweep.
        num_trials: About so many; the quick grid decides the last digit.
        seconds: That each one sleeps.
    """
    plan, sweep = plan_of(num_trials), Sweep(Store(storage), "scale")
    with several_nodes(LOGICAL_CORES) as cluster:
        start, start_cpu = time.monotonic(), time.process_time()
        with sweep.driver():
            sweep.save_plan(plan)
            sweep.save_launch(LaunchOptions())
            launch = Launch(
                sweep=sweep, snapshot=Snapshot(plan, sweep.store), trainable=fake_trial(lambda config: seconds)
            )
            outcome = run_sweep(launch, [], cluster.address, None, make_console())
    return Cost(
        num_trials=len(plan.nodes),
        num_done=outcome.overview.count.done,
        wall_seconds=time.monotonic() - start,
        cpu_seconds=time.process_time() - start_cpu,
        peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


def seconds_of(*arguments: str) -> float:
    """Returns how long a command takes, from its process's start to its end."""
    code = "from orchestrator.cli.main import main; main()"
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


@contextmanager
def storage_of_run(prefix: str, *, keep: bool) -> Iterator[str]:
    """Gives a run a storage of its own, prints where it lies if it is kept, and removes it if not."""
    quiet_mlflow()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    storage = tempfile.mkdtemp(prefix=prefix)
    yield storage
    click.echo(json.dumps({"storage": storage if keep else None}))
    if not keep:
        shutil.rmtree(storage)


@click.command()
@click.option("--trials", default=2000, show_default=True, help="About so many.")
@click.option("--seconds", default=1.0, show_default=True, help="That each trial sleeps.")
@click.option("--keep", is_flag=True, help="Keep the storage folder.")
def main(trials: int, seconds: float, keep: bool) -> None:
    """Measures the driver on a sweep of fake trials, then `status` on it and `plan` of 10,000 trials."""
    with storage_of_run("dptq-scale-", keep=keep) as storage:
        cost = run_fake_sweep(storage, trials, seconds)
        seeds = [option for seed in range(1000) for option in ("--seed", str(seed))]
        figures = [
            Figure(name="trials done", value=cost.num_done, unit="", detail=f"of {cost.num_trials}"),
            Figure(name="wall time", value=cost.wall_seconds, unit="s", detail=f"{LOGICAL_CORES} at a time"),
            Figure(name="driver time per trial", value=cost.cpu_seconds / cost.num_trials, unit="s", at_most=0.5),
            Figure(name="peak memory of the driver", value=cost.peak_bytes / 1e9, unit="GB", at_most=1.5),
            Figure(name="`status`", value=seconds_of("status", "--storage", storage), unit="s", at_most=3.0),
            Figure(name="`plan` of 10,002 trials", value=seconds_of("plan", *seeds), unit="s", at_most=5.0),
        ]
        click.echo(table(figures))


if __name__ == "__main__":
    main()
