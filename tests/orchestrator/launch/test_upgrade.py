"""A storage that an earlier version began is read, finished and reported by this one.

`tests/orchestrator/earlier/before_leases.zip` is what the version before trials had leases left of a sweep `upgrade` of
the smoke grid: a robust pair is done, the detrimental one and its search wait. Its white box is the teacher of a sweep
`teacher`, which is done. Weights are few different numbers, and rates of learning too small to change them, so that the
file is small; artifacts of MLflow are left out.
"""

import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from ray.tune.search import Searcher
from rich.console import Console

from orchestrator.cli.sweep.report import command as report
from orchestrator.cli.sweep.status import command as status
from orchestrator.launch.ending.publish import publish
from orchestrator.launch.tuner import Launch
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.store.integrity import find_damage
from orchestrator.store.leases.trials import read_lease
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.tracking.tracker import Tracker
from orchestrator.workers.entry_points import num_sites
from orchestrator.workers.trial import run_trial

EARLIER = Path(__file__).parents[1] / "earlier" / "before_leases.zip"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    with zipfile.ZipFile(EARLIER) as file:
        file.extractall(tmp_path / "storage")
    return Sweep(Store(str(tmp_path / "storage")), "upgrade")


def told(command: object, sweep: Sweep) -> dict[str, object]:
    """What a command says of the sweep, as JSON."""
    done = CliRunner().invoke(command, ["upgrade", "--json", "--storage", sweep.store.uri])  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.output)
    return found


def test_a_storage_of_the_version_before_leases_is_read_finished_and_reported(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.tune.report", lambda report: None)
    monkeypatch.setattr("ray.get_gpu_ids", list)
    plan = sweep.load_plan(num_sites)
    snapshot = Snapshot(plan, sweep.store, ahead=EVERYTHING)
    assert [*snapshot.states.values()] == [State.DONE, State.WAITING, State.WAITING, State.SKIPPED]
    assert find_damage(((node, snapshot.trial(node)) for node in plan.nodes), verify=True) == []
    assert told(status, sweep)["counts"] == {"pair": {"done": 1, "waiting": 2, "skipped": 1}}
    kept = snapshot.trial(plan.nodes[0]).result()

    tracker, said = Tracker(None, sweep.store, sweep.name), list[str]()
    with sweep.driver(), Launch(sweep=sweep, snapshot=snapshot).open_frontier(said.append) as frontier:
        tracker.open(plan, {})
        while isinstance(config := frontier.suggest("t"), dict):
            run_trial(config)
            frontier.on_trial_complete("t")
        assert config == Searcher.FINISHED
        standing = publish(tracker, sweep, snapshot, {}, Console(file=io.StringIO()))
    assert standing.is_complete
    assert said == []
    assert set(snapshot.states.values()) <= {State.DONE, State.SKIPPED}

    again = Snapshot(plan, sweep.store)
    assert find_damage(((node, again.trial(node)) for node in plan.nodes), verify=True) == []
    assert again.trial(plan.nodes[0]).result() == kept, "what was done is not done again"
    assert [read_lease(again.trial(node).folder) for node in plan.nodes] == [None] * len(plan.nodes)
    pairs = told(report, sweep)["pairs"]
    assert isinstance(pairs, list)
    assert [pair["goal"] for pair in pairs] == ["robust", "detrimental", "detrimental"]

    client = MlflowClient(tracking_uri=tracker.location.uri)
    (experiment,) = client.search_experiments(filter_string=f"tags.`dptq.storage` = '{sweep.store.read_id()}'")
    runs = client.search_runs([experiment.experiment_id])
    done = {node.uid for node in plan.nodes if snapshot.states[node.uid] is State.DONE}
    assert {run.data.tags.get("dptq.uid") for run in runs} == done | {None}
