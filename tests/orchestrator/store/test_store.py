"""Files of the store appear whole or not at all; a trial's folder tells its state."""

import errno
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.plan import SCHEMA, Node, build_plan
from orchestrator.store.folder import CHECKPOINT, RECIPE, RESULT
from orchestrator.store.states import State
from orchestrator.store.store import IDENTITY, Store
from orchestrator.store.trial import TrialFolder, now_ms, trial_of
from search_spaces.errors import NonFiniteLossError, StorageError, UnwritableError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import memory_bucket

NODE: Node = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15).nodes[0]


def test_json_and_tables_come_back(store: Store) -> None:
    folder = store.trial("pair", "u")
    folder.write_json("a/b.json", {"x": [1, 2]})
    folder.write_table("t.parquet", pa.table({"epoch": [1, 2]}))
    assert folder.read_json("a/b.json") == {"x": [1, 2]}
    table = folder.read_table("t.parquet")
    assert table is not None
    assert table.to_pydict() == {"epoch": [1, 2]}
    assert folder.names() == ["a", "t.parquet"]


def test_times_are_milliseconds_since_1970() -> None:
    before, now, after = time.time(), now_ms(), time.time()
    assert 1000 * before - 1 <= now <= 1000 * after


def test_what_is_not_there_is_none(store: Store) -> None:
    folder = store.trial("pair", "u")
    assert folder.read_json("a.json") is None
    assert folder.read_table("t.parquet") is None
    assert folder.names() == []
    folder.delete("a.json")


def test_a_write_that_dies_leaves_the_old_content(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.trial("pair", "u")
    folder.write_json("a.json", {"version": 1})
    monkeypatch.setattr("os.replace", _out_of_space)
    with pytest.raises(StorageError, match=r"cannot write .*a.json: .*No space left"):
        folder.write_json("a.json", {"version": 2})
    assert folder.read_json("a.json") == {"version": 1}
    assert folder.local_path is not None
    assert [path.name for path in folder.local_path.iterdir()] == ["a.json"], "half a file takes room on a full disk"


def _out_of_space(source: object, target: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("content", [b"", b'{"schema": 1, "me', b"[1]"])
def test_json_cut_short_is_refused_by_name(store: Store, content: bytes) -> None:
    store.trial("pair", "u").write_bytes("a.json", content)
    with pytest.raises(StorageError, match=r"pair/u/a.json is not a JSON object"):
        store.trial("pair", "u").read_json("a.json")


def test_a_folder_works_alike_in_a_bucket() -> None:
    folder = memory_bucket()
    folder.write_json("a.json", {"x": 1})
    assert folder.local_path is None
    assert folder.read_json("a.json") == {"x": 1}
    assert folder.names() == ["a.json"]


def test_storage_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        Store(str(tmp_path / "file"))


def test_storage_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StorageError, match=r"storage 'ftp://host/x' cannot be opened"):
        Store("ftp://host/x")


def test_states_of_a_trial_follow_its_files(store: Store) -> None:
    trial = trial_of(store, NODE)
    assert trial.state() is State.WAITING
    trial.write_recipe(NODE, None)
    assert trial.state() is State.WAITING
    trial.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}], b"state")
    assert trial.state() is State.INTERRUPTED
    trial.write_error(ValueError("x"))
    assert trial.state() is State.FAILED
    trial.write_error(NonFiniteLossError("the loss became nan"))
    assert trial.state() is State.DIVERGED
    trial.clear_error()
    trial.write_result({"test/accuracy": 0.5}, {CHECKPOINT: b"tensors"}, seconds=1.0, data_sha256="d")
    assert trial.state() is State.DONE
    assert trial.read_checked(CHECKPOINT) == b"tensors"


def test_damaged_checkpoint_is_refused_with_the_cure(store: Store) -> None:
    trial = trial_of(store, NODE)
    trial.write_result({}, {CHECKPOINT: b"tensors"}, seconds=1.0, data_sha256="d")
    trial.folder.write_bytes(CHECKPOINT, b"tens")
    with pytest.raises(
        StorageError, match=r"is damaged \(its checksum differs\): train it again with `dptq-sweep resume --restart"
    ):
        trial.read_checked(CHECKPOINT)
    trial.folder.delete(CHECKPOINT)
    with pytest.raises(StorageError, match="is missing: train it again"):
        trial.read_checked(CHECKPOINT)


def test_result_of_another_schema_is_refused(store: Store) -> None:
    trial = TrialFolder(store, "pair", "u")
    trial.folder.write_json(RESULT, {"schema": SCHEMA + 1})
    with pytest.raises(StorageError, match=rf"has schema {SCHEMA + 1}, this version writes {SCHEMA}"):
        trial.result()


def test_recipe_of_a_searched_trial_holds_its_point(store: Store) -> None:
    grid = build_grid("smoke", Choices(), lambda _: 15)
    node = next(node for node in build_plan(grid, lambda _: 15).nodes if node.is_searched)
    point = {"hinge_weight": 0.5, "kd_weight": 3.0, "margin": 0.1}
    trial_of(store, node).write_recipe(node, point)
    written = trial_of(store, node).recipe()
    assert written is not None
    assert {name: written.recipe[name] for name in point} == point
    assert json.loads(json.dumps(written.as_json())) == trial_of(store, node).folder.read_json(RECIPE)


def test_a_write_that_fails_leaves_no_half_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestrator.store.places.file_system._write_synced", fill_disk)
    with pytest.raises(UnwritableError, match="No space left on device"):
        store.root.write_bytes("a/b.json", b"content")
    assert store.root.folder("a").sizes() == {}


def test_a_finished_trial_leaves_nothing_to_resume_from(store: Store) -> None:
    trial = TrialFolder(store, "pair", "0" * 16)
    trial.write_epoch([{"epoch": 1}], b"state")
    trial.folder.write_bytes("resume/.tmp-of-a-dead-process", b"half")
    trial.write_result({}, {}, seconds=1.0, data_sha256="d")
    assert not [path for path in trial.folder.sizes() if path.startswith("resume")]


def test_a_storage_gets_one_id_however_many_ask_for_it_at_once(store: Store) -> None:
    assert store.read_id() is None
    together = threading.Barrier(4)

    def ask(number: int) -> str:
        together.wait()
        return Store(store.uri).make_id()

    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(ask, range(4))} == {store.read_id()}


def test_a_damaged_id_is_one_line(store: Store) -> None:
    store.root.write_json(IDENTITY, {"id": "x' OR 1=1"})
    with pytest.raises(StorageError, match=r"storage\.json has no id of letters and digits"):
        store.make_id()
