"""The index of a sweep saves requests and is never believed against the folders."""

import pytest

from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import EVERYTHING, Snapshot
from orchestrator.store.folder import EPOCHS, Folder
from orchestrator.store.places.bucket import Bucket
from orchestrator.store.places.index import INDEX, Index
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import memory_bucket

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
FIRST = PLAN.nodes[0]


@pytest.fixture
def store(store: Store) -> Store:
    """A finished sweep in a bucket."""
    store.root = memory_bucket()
    for node in PLAN.nodes:
        trial = trial_of(store, node)
        trial.write_recipe(node, None)
        trial.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}], b"state")
        trial.write_result({"test/accuracy": 0.5}, {"checkpoint.safetensors": b"x"}, seconds=1.0, data_sha256="d")
    return store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are read."""
    names, read = list[str](), Bucket.read_tagged
    monkeypatch.setattr(Bucket, "read_tagged", lambda bucket, path: names.append(path) or read(bucket, path))
    return names


def snapshot_of(store: Store, index: Index) -> Snapshot:
    return Snapshot(PLAN, store, ahead=EVERYTHING, index=index)


def sweep_of(store: Store) -> Folder:
    return store.sweep("s")


def test_sweep_that_has_an_index_is_read_with_one_request(store: Store, read: list[str]) -> None:
    first = snapshot_of(store, Index(sweep_of(store)))
    assert len(read) == 1 + 3 * len(PLAN.nodes)
    first.save_index()
    read.clear()
    again = snapshot_of(store, Index(sweep_of(store)))
    assert read == [f"bucket/sweeps/s/{INDEX}"]
    assert again.states == first.states
    assert all(again.trial(node).result() == first.trial(node).result() for node in PLAN.nodes)
    assert read == [f"bucket/sweeps/s/{INDEX}"]


def test_what_changed_since_is_read_from_its_folder(store: Store, read: list[str]) -> None:
    snapshot_of(store, Index(sweep_of(store))).save_index()
    trial = trial_of(store, FIRST)
    trial.restart()
    trial.write_epoch([{"epoch": 1, "seconds": 2.0, "timestamp_ms": 1}], b"state")
    read.clear()
    again = snapshot_of(store, Index(sweep_of(store)))
    assert again.states[FIRST.uid] is State.INTERRUPTED
    assert again.trial(FIRST).epochs()[0]["seconds"] == 2.0
    assert [path.rpartition("/")[2] for path in read] == [INDEX, EPOCHS]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_index_that_is_damaged_or_not_trusted_is_none_and_is_made_anew(
    store: Store, read: list[str], content: bytes | None
) -> None:
    snapshot_of(store, Index(sweep_of(store))).save_index()
    if content is not None:
        sweep_of(store).write_bytes(INDEX, content)
    read.clear()
    again = snapshot_of(store, Index(sweep_of(store), is_trusted=content is not None))
    assert len([path for path in read if not path.endswith(INDEX)]) == 3 * len(PLAN.nodes)
    again.save_index()
    read.clear()
    snapshot_of(store, Index(sweep_of(store)))
    assert len(read) == 1
