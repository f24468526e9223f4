"""Many trials cost the driver little; `tests/benchmarks/sweep_scale.py` measures the same with 2,000 of them."""

import time
from collections import Counter
from pathlib import Path

import mlflow
import optuna
import pytest

from orchestrator.plan import build_plan
from orchestrator.progress.status import read_status
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import open_journal
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from search_spaces.grids.build import Choices, build_grid
from tests.benchmarks.sweep_scale import plan_of, run_fake_sweep

NUM_TRIALS = 60
DRIVER_SECONDS = 0.5
"""Processor time of the driver for one trial, its share of start and end included."""


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_of_fake_trials_costs_little_and_all_agree_on_it(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    cost = run_fake_sweep(str(storage), NUM_TRIALS, seconds=0.1)
    assert cost.cpu_seconds / cost.num_trials < DRIVER_SECONDS
    plan, store = plan_of(NUM_TRIALS), Store(str(storage))
    assert cost.num_done == cost.num_trials == len(plan.nodes)
    assert set(Snapshot(plan, store).states.values()) == {State.DONE}
    client = mlflow.MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("scale")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.tags.get("dptq.uid", "") for run in runs) == ["", *sorted(plan.by_uid())]
    journal = open_journal(storage / "sweeps" / "scale" / "studies.log")
    searched = [node for node in plan.nodes if node.cell and node.cell.search_trials]
    studies = {
        node.cell_id: optuna.load_study(study_name=f"scale/{node.cell_id}", storage=journal) for node in searched
    }
    trials = [trial for study in studies.values() for trial in study.get_trials()]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * len(searched)
    status = read_status(Sweep(store, "scale"), plan)
    assert status.overview.usage.cpu_hours == pytest.approx(len(plan.nodes) * 0.1 / 3600)


def test_a_plan_of_ten_thousand_trials_takes_seconds(store: Store) -> None:
    start = time.process_time()
    plan = build_plan(build_grid("quick", Choices(seeds=tuple(range(1000))), lambda _: 15), lambda _: 15)
    states = Snapshot(plan, store).states
    assert time.process_time() - start < 5
    assert len(plan.nodes) == 14_002
    assert Counter(states.values()) == {State.WAITING: 10_002, State.SKIPPED: 4_000}
