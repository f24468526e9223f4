"""Whatever ends a launch, no run of it stays RUNNING in MLflow."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from ray import tune
from ray.exceptions import LocalRayletDiedError
from rich.console import Console

from cluster.runtime import session
from orchestrator.launch import driver
from orchestrator.launch.caps import Meter
from orchestrator.launch.tuner import Launch
from orchestrator.plan import build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.store.sweep import Caps, Sweep
from search_spaces.errors import StorageError, UnavailableError
from search_spaces.grids.build import Choices, build_grid

SMOKE = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("trials", ValueError("high - low is inf")),
        ("trials", KeyboardInterrupt()),
        ("trials", StorageError("the storage is gone")),
        ("report", OverflowError("too large for int64")),
        ("overview", SystemExit(3)),
    ],
)
def test_no_run_stays_running(store: Store, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException) -> None:
    sweep = Sweep(store, "smoke")
    sweep.save_plan(SMOKE)

    @contextmanager
    def no_ray(**_: Any) -> Iterator[Any]:
        yield SimpleNamespace()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    def run(launch: Launch, frontier: Any, tracker: Any, *_: Any) -> None:
        tracker.started(SMOKE.nodes[0], None)
        if stage == "trials":
            fail()

    monkeypatch.setattr(driver, "session", no_ray)
    monkeypatch.setattr(driver, "_run_trials", run)
    if stage != "trials":
        monkeypatch.setattr(driver, {"report": "publish", "overview": "overview_of"}[stage], fail)
    launch = Launch(sweep=sweep, snapshot=Snapshot(SMOKE, store), meter=Meter(Caps()))
    with pytest.raises(type(error)):
        driver.run_sweep(launch, (), None, None, Console())
    assert statuses_of_runs(store) == ["FAILED", "KILLED"]


def statuses_of_runs(store: Store) -> list[str]:
    client = mlflow.MlflowClient(f"sqlite:///{store.root.local_path}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return sorted(run.info.status for run in runs)


def test_a_ray_that_breaks_off_names_resume(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(store, "smoke")
    sweep.save_plan(SMOKE)

    def run(launch: Launch, frontier: Any, tracker: Any, *_: Any) -> None:
        tracker.started(SMOKE.nodes[0], None)
        raise LocalRayletDiedError

    monkeypatch.setattr(session, "_start_or_join", lambda *_: None)
    monkeypatch.setattr(session, "current_capacity", lambda *_: SimpleNamespace())
    monkeypatch.setattr(driver, "_run_trials", run)
    launch = Launch(sweep=sweep, snapshot=Snapshot(SMOKE, store), meter=Meter(Caps()))
    with pytest.raises(UnavailableError, match=r"^Ray broke off \(LocalRayletDiedError: .*\), .* resume smoke "):
        driver.run_sweep(launch, (), None, None, Console())
    assert statuses_of_runs(store) == ["FAILED", "KILLED"]


def test_what_raises_in_tunes_loop_is_raised_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tuner:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def fit(self) -> None:
            try:
                raise KeyError("a mistake of ours")
            except KeyError:
                raise tune.TuneError(traceback.format_exc())  # noqa: B904  # as Tune does

    monkeypatch.setattr(tune, "Tuner", Tuner)
    sweep = Sweep(store, "smoke")
    launch = Launch(sweep=sweep, snapshot=Snapshot(SMOKE, store), meter=Meter(Caps()))
    with launch.open_frontier() as frontier, pytest.raises(KeyError, match="a mistake of ours"):
        launch.run(frontier, {}, lambda: 1, [])
