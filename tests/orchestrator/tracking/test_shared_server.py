"""Storages that share an MLflow, and one that was renamed, moved or copied: each goes on with its own runs."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from orchestrator.plan import Plan
from orchestrator.store.folder import RESULT
from orchestrator.store.store import IDENTITY, Store
from orchestrator.tracking.backend import Location
from orchestrator.tracking.experiments import discard_gone
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.tracking.test_tracking import SWEEP, write_done


@pytest.fixture
def client(tmp_path: Path, database: Path) -> MlflowClient:
    """An MLflow that several storages use."""
    shutil.copy(database, tmp_path / "shared.db")
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/shared.db")


@pytest.fixture
def stores(tmp_path: Path, plan: Plan) -> tuple[Store, Store]:
    """Two storages of the same sweep, of which two trials are done."""
    made = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    for each in made:
        for node in plan.nodes[:2]:
            write_done(each, node)
    return made


def track(store: Store, plan: Plan, uri: str | None) -> None:
    tracker = Tracker(uri, store, SWEEP)
    tracker.open(plan, {})
    assert tracker.close("FINISHED") == []


def experiments(client: MlflowClient) -> dict[str, Experiment]:
    return {each.name: each for each in client.search_experiments() if each.name != "Default"}


def runs(client: MlflowClient, experiment: Experiment) -> list[Run]:
    return list(client.search_runs([experiment.experiment_id]))


def forget_tags(client: MlflowClient) -> None:
    """Makes all experiments and runs look as an earlier version left them."""
    for experiment in experiments(client).values():
        for name in ("dptq.storage", "dptq.sweep"):
            client.delete_experiment_tag(experiment.experiment_id, name)
        for run in runs(client, experiment):
            client.delete_tag(run.info.run_id, "dptq.storage")


def test_two_storages_with_a_sweep_of_the_same_name_have_an_experiment_each(
    client: MlflowClient,
    stores: tuple[Store, Store],
    plan: Plan,
) -> None:
    for store in (*stores, *stores):
        track(store, plan, client.tracking_uri)
    ids = [store.read_id() for store in stores]
    assert ids[0]
    assert ids[1]
    assert ids[0] != ids[1]
    found = experiments(client)
    assert list(reversed(found)) == [SWEEP, f"{SWEEP} ({ids[1][:8]})"]
    for identity, experiment in zip(reversed(ids), found.values(), strict=True):
        own = runs(client, experiment)
        assert experiment.tags["dptq.storage"] == identity
        assert [run.data.tags["dptq.storage"] for run in own] == [identity] * 3, "two trials and their parent"


def test_what_is_removed_from_one_storage_stays_of_the_other(
    client: MlflowClient,
    stores: tuple[Store, Store],
    plan: Plan,
    tmp_path: Path,
) -> None:
    for store in stores:
        track(store, plan, client.tracking_uri)
    location = Location(client.tracking_uri, tmp_path / "shared.db")
    removed = {node.uid for node in plan.nodes}
    assert discard_gone(location, stores[0].read_id(), removed, {SWEEP}, is_alone=False) == 2
    assert discard_gone(location, stores[0].read_id(), set(), set(), is_alone=False) == 1, "the parent, of no sweep now"
    assert discard_gone(location, None, removed, set(), is_alone=False) == 0
    left = {name: len(runs(client, each)) for name, each in experiments(client).items()}
    assert left.pop(SWEEP) == 0
    assert list(left.values()) == [3]


def test_an_experiment_that_was_renamed_goes_on_under_its_new_name(
    client: MlflowClient,
    stores: tuple[Store, Store],
    plan: Plan,
) -> None:
    track(stores[0], plan, client.tracking_uri)
    (before,) = experiments(client).values()
    client.rename_experiment(before.experiment_id, "for the paper")
    write_done(stores[0], plan.nodes[2])
    track(stores[0], plan, client.tracking_uri)
    (after,) = experiments(client).values()
    assert (after.experiment_id, after.name) == (before.experiment_id, "for the paper")
    assert len(runs(client, after)) == 4


def test_runs_of_an_earlier_version_are_known_by_their_uids_and_keep_their_experiment(
    client: MlflowClient,
    stores: tuple[Store, Store],
    plan: Plan,
) -> None:
    track(stores[0], plan, client.tracking_uri)
    (before,) = experiments(client).values()
    kept = {run.info.run_id for run in runs(client, before)}
    forget_tags(client)
    (stores[0].root.local_path or Path()).joinpath(IDENTITY).unlink()
    track(stores[0], plan, client.tracking_uri)
    (after,) = experiments(client).values()
    assert after.tags["dptq.storage"] == stores[0].read_id()
    assert {run.info.run_id for run in runs(client, after)} == kept
    assert {run.data.tags["dptq.storage"] for run in runs(client, after)} == {stores[0].read_id()}


def test_runs_of_an_earlier_version_with_other_uids_are_another_storages(
    client: MlflowClient,
    stores: tuple[Store, Store],
    plan: Plan,
) -> None:
    track(stores[0], plan, client.tracking_uri)
    forget_tags(client)
    (experiment,) = experiments(client).values()
    for run in runs(client, experiment):
        if "dptq.uid" in run.data.tags:
            client.set_tag(run.info.run_id, "dptq.uid", run.info.run_id[:16])
    track(stores[1], plan, client.tracking_uri)
    assert len(experiments(client)) == 2
    assert len(runs(client, experiment)) == 3


@pytest.mark.parametrize("is_copied", [False, True], ids=["moved", "copied"])
def test_a_storage_elsewhere_finds_its_artifacts_and_leaves_the_old_place_alone(
    stores: tuple[Store, Store],
    plan: Plan,
    database: Path,
    tmp_path: Path,
    is_copied: bool,
) -> None:
    old, new = tmp_path / "a", tmp_path / "elsewhere 100%"
    shutil.copy(database, old / "mlflow.db")
    track(stores[0], plan, None)
    before = sorted(old.rglob("*"))
    (shutil.copytree if is_copied else shutil.move)(old, new)
    store = Store(str(new))
    write_done(store, plan.nodes[2])
    track(store, plan, None)
    assert sorted(old.rglob("*")) == (before if is_copied else [])
    client = MlflowClient(tracking_uri=Tracker(None, store, SWEEP).location.uri)
    (experiment,) = experiments(client).values()
    trials = [run for run in runs(client, experiment) if "dptq.uid" in run.data.tags]
    assert len(trials) == 3
    for run in trials:
        assert run.info.artifact_uri.startswith(new.as_uri())
        kept = json.loads(Path(client.download_artifacts(run.info.run_id, RESULT)).read_text())
        assert kept["uid"] == run.data.tags["dptq.uid"]
