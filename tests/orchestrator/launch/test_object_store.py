"""The store on S3 does what it does in a folder, on a real S3 server of this machine (moto's)."""

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from orchestrator.cli.main import main
from orchestrator.plan import Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.dashboard import study_file
from orchestrator.search.journal import JOURNAL, open_journal, sweep_journal
from orchestrator.search.study import CellStudy
from orchestrator.store.folder import ERROR, RESULT, RESUME, Folder
from orchestrator.store.inventory import find_garbage, list_sweeps, remove
from orchestrator.store.leases.sweeps import OWNER, Owned, Pace, driver_lock, is_owned, read_owner
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from orchestrator.tracking.backend import locate
from search_spaces.errors import ConfigError, StorageError, UnreachableError, UnwritableError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import proxy_to
from tests.orchestrator.made_up import pair_metrics
from tests.servers import Bucket
from tests.waiting import PATIENCE_SECONDS, wait_until

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
NODE = PLAN.nodes[0]
NOBODY = "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
"""Where no server listens."""
SWEEP = Owned("sweep s", "wait for it.")
FAST = Pace(beat_seconds=0.05, dead_seconds=0.4, settle_seconds=0.1)
"""Where the other driver is dead. A living one that gets no turn on a busy machine would seem so, too."""
PATIENT = Pace(beat_seconds=0.05, dead_seconds=PATIENCE_SECONDS, settle_seconds=0.1)


@pytest.fixture(params=["folder", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "folder":
        return Store(str(tmp_path)).root.folder("storage")
    store: Store = request.getfixturevalue("s3_store")
    return store.root


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0), out.getvalue()


def test_what_is_written_comes_back_and_is_found(folder: Folder) -> None:
    folder.write_bytes("pair/a/x.bin", b"one")
    folder.write_bytes("pair/a/x.bin", b"three")
    folder.write_json("pair/a/deep/y.json", {"x": [1]})
    folder.write_table("pair/ab/t.parquet", pa.table({"epoch": [1, 2]}))
    assert folder.read_bytes("pair/a/x.bin") == b"three"
    assert folder.folder("pair/a").read_json("deep/y.json") == {"x": [1]}
    table = folder.folder("pair").read_table("ab/t.parquet")
    assert table is not None
    assert table.to_pydict() == {"epoch": [1, 2]}
    assert folder.names() == ["pair"]
    assert folder.folder("pair").names() == ["a", "ab"]
    assert folder.folder("pair/a").names() == ["deep", "x.bin"]
    assert folder.folder("pair/a").sizes() == {"x.bin": 5, "deep/y.json": len(b'{\n  "x": [\n    1\n  ]\n}\n')}
    assert [folder.exists(path) for path in ("pair/a/x.bin", "pair/a", "pair/b", "pair/a/x")] == [True, *[False] * 3]


def test_what_is_not_there_is_nothing(folder: Folder) -> None:
    assert folder.folder("none").names() == []
    assert folder.folder("none").sizes() == {}
    assert folder.read_bytes("none/x") is folder.read_json("none/x") is folder.read_table("none/x") is None
    folder.delete("none/x")
    folder.delete_folder("none")


def test_deletes_take_what_they_name_and_no_neighbour(folder: Folder) -> None:
    for path in ("pair/a/x", "pair/a/y/z", "pair/ab/x", "pair/a.x"):
        folder.write_bytes(path, b"x")
    folder.delete("pair/a/x")
    folder.delete("pair/a/x")
    assert set(folder.sizes()) == {"pair/a/y/z", "pair/ab/x", "pair/a.x"}
    folder.delete_folder("pair/a")
    folder.delete_folder("pair/a")
    assert set(folder.sizes()) == {"pair/ab/x", "pair/a.x"}
    assert folder.folder("pair/a").names() == []


def test_a_file_above_the_size_of_one_upload_comes_back(s3_store: Store) -> None:
    content = os.urandom(12_000_000)
    s3_store.root.write_bytes("large", content)
    assert s3_store.root.read_bytes("large") == content


def test_writing_makes_no_objects_in_place_of_folders(bucket: Bucket) -> None:
    store = Store(bucket.uri("/a/b"), create=False)
    store.trial("pair", "u").write_bytes("resume/state", b"x")
    filesystem, name = pafs.FileSystem.from_uri(bucket.uri())
    before = filesystem.get_file_info([f"{name}/a/b/pair/u/resume", f"{name}/a/b/pair/u/resume/state"])
    assert [info.type for info in before] == [pafs.FileType.Directory, pafs.FileType.File]
    store.trial("pair", "u").delete("resume/state")
    assert bucket.objects() == []
    # Earlier versions left empty objects in place of folders, which are no states to resume from.
    store.trial("pair", "u").write_bytes("resume/state", b"x")
    filesystem.delete_file(f"{name}/a/b/pair/u/resume/state")
    assert bucket.objects()[-1] == "a/b/pair/u/resume"
    assert store.trial("pair", "u").sizes() == {}
    assert store.root.names() == ["pair"]


def test_states_follow_the_files_and_not_the_folders_that_deletes_leave(folder: Folder, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.root = folder
    trial = trial_of(store, NODE)

    def is_now(state: State) -> bool:
        return trial.state() is Snapshot(PLAN, store).states[NODE.uid] is state

    assert is_now(State.WAITING)
    trial.write_recipe(NODE, None)
    assert is_now(State.WAITING)
    trial.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}], b"state")
    assert is_now(State.INTERRUPTED)
    trial.write_error(ValueError("x"))
    assert is_now(State.FAILED)
    trial.restart()
    assert is_now(State.WAITING)
    trial.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}], b"state")
    trial.write_result({"test/accuracy": 0.5}, {"checkpoint.safetensors": b"x"}, seconds=1.0, data_sha256="d")
    assert is_now(State.DONE)
    assert not folder.exists(f"{NODE.stage}/{NODE.uid}/{RESUME}")
    assert set(Snapshot(PLAN, store).states.values()) == {State.DONE, State.WAITING, State.SKIPPED}


def test_ctrl_c_in_the_middle_of_a_write_publishes_no_half_of_it(bucket: Bucket) -> None:
    with proxy_to(bucket.host) as proxy:
        root = Store(replace(bucket, options=proxy.options).uri("/storage")).root
        root.write_bytes("x", b"old")
        proxy.before = lambda method, path: signal.raise_signal(signal.SIGINT) if "x" in path else None
        with pytest.raises(KeyboardInterrupt):
            root.write_bytes("x", b"new")
        proxy.before = lambda method, path: None
        assert root.read_bytes("x") == b"new"


def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_content(s3_store: Store) -> None:
    s3_store.root.write_bytes("x", b"old")
    code = (
        "import os, sys, threading; from orchestrator.store.store import Store; root = Store(sys.argv[1]).root;"
        "threading.Timer(0.2, os.kill, (os.getpid(), 9)).start(); root.write_bytes('x', b'n' * 400_000_000)"
    )
    assert subprocess.run([sys.executable, "-c", code, s3_store.uri], check=False).returncode == -signal.SIGKILL
    assert s3_store.root.read_bytes("x") == b"old"


def test_places_are_named_as_people_write_them(bucket: Bucket, s3_store: Store) -> None:
    assert s3_store.trial("pair", "u").root == f"s3://{bucket.name}/storage/pair/u"
    s3_store.trial("pair", "u").write_bytes(RESULT, b"{")
    with pytest.raises(StorageError, match=r"^s3://bucket-\w+/storage/pair/u/result.json is not a JSON object"):
        s3_store.trial("pair", "u").read_json(RESULT)


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket) -> None:
    with pytest.raises(UnwritableError, match=r"^cannot write s3://nobodys/x/.writable: .*Check the bucket, the net"):
        Store(replace(bucket, name="nobodys").uri("/x"))


@pytest.mark.parametrize("uri", ["s3://", "s3://?region=us-east-1", "gs://"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=r"names no bucket: give (s3|gs)://bucket/folder"):
        Store(uri)


@pytest.mark.parametrize("option", ["access_key=me", "secret_key=me", "region=x&session_token=me"])
def test_credentials_among_the_options_of_a_uri_are_refused_and_not_repeated(option: str) -> None:
    with pytest.raises(ConfigError, match="set them in the environment") as error:
        Store(f"s3://bucket/x?{option}")
    assert option not in str(error.value)


def test_a_server_that_does_not_answer_says_nothing_about_what_it_holds(bucket: Bucket) -> None:
    trial = trial_of(Store(NOBODY, create=False), NODE)
    with pytest.raises(
        UnreachableError, match=r"cannot read s3://bucket/x/teacher/\w+: .*Connection refused.*Check the"
    ):
        trial.state()


def test_one_driver_at_a_time_owns_a_sweep(s3_store: Store) -> None:
    folder, lines = s3_store.sweep("s"), list[str]()
    with driver_lock(folder, SWEEP, lines.append, pace=FAST, on_loss=lambda: None):
        assert is_owned(folder)
        with (
            pytest.raises(ConfigError, match="is being run by another process"),
            driver_lock(folder, SWEEP, lines.append, pace=PATIENT, on_loss=lambda: None),
        ):
            pass
    assert not is_owned(folder)
    assert read_owner(folder) is None
    assert "watching for" in lines[0]


@pytest.mark.parametrize("has_dead_owner", [False, True])
def test_of_drivers_that_come_at_the_same_time_one_goes_on(bucket: Bucket, has_dead_owner: bool) -> None:
    stores = [Store(bucket.uri("/storage")) for _ in range(4)]
    if has_dead_owner:
        dead = {"id": "x", "host": "elsewhere", "pid": 1, "started_at": 0, "beat": 9, "beat_at": 0}
        stores[0].sweep("s").write_json(OWNER, dead)
    pace = Pace(beat_seconds=0.2, dead_seconds=1.0, settle_seconds=1.5)
    together, are_over = threading.Barrier(len(stores)), threading.Event()
    going_on, lost = set[int](), set[int]()

    def drive(number: int) -> str:
        together.wait()
        lock = driver_lock(
            stores[number].sweep("s"), SWEEP, lambda line: None, pace=pace, on_loss=lambda: lost.add(number)
        )
        try:
            with lock:
                going_on.add(number)
                are_over.wait()
        except ConfigError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(stores)) as pool:
        drivers = [pool.submit(drive, number) for number in range(len(stores))]
        try:
            wait_until(lambda: len(going_on) + sum(each.done() for each in drivers) == len(stores))
            # Long enough for another beat of everybody.
            time.sleep(3 * pace.beat_seconds)
            assert (len(going_on), lost) == (1, set())
        finally:
            are_over.set()
        refusals = [refusal for each in drivers if (refusal := each.result())]
    assert len(refusals) == len(stores) - len(going_on)
    assert all("is being run by another process" in refusal for refusal in refusals)
    assert not is_owned(stores[0].sweep("s"))


def test_a_sweep_is_taken_over_from_a_driver_that_died(s3_store: Store) -> None:
    folder, lines = s3_store.sweep("s"), list[str]()
    owner = {"id": "x", "host": socket.gethostname(), "pid": 2**22 + 1, "started_at": 0, "beat": 9, "beat_at": 0}
    folder.write_json(OWNER, owner)
    assert not is_owned(folder)
    with driver_lock(folder, SWEEP, lines.append, pace=FAST, on_loss=lambda: None):
        assert is_owned(folder)
    assert lines == [
        f"taking sweep s over from process {2**22 + 1} on {socket.gethostname()}, which ended without a word"
    ]
    folder.write_json(OWNER, owner | {"host": "elsewhere"})
    with driver_lock(folder, SWEEP, lines.append, pace=FAST, on_loss=lambda: None):
        pass
    assert "process 4194305 on elsewhere: watching for" in lines[1]


def test_a_driver_hears_that_another_took_its_sweep(s3_store: Store) -> None:
    folder, lost = s3_store.sweep("s"), list[bool]()
    with driver_lock(folder, SWEEP, print, pace=FAST, on_loss=lambda: lost.append(True)):

        def take_over() -> bool:
            # Again, for a beat that was under way writes over it.
            folder.write_json(OWNER, {"id": "other", "host": "elsewhere", "pid": 1})
            time.sleep(FAST.beat_seconds)
            return bool(lost)

        wait_until(take_over)
    assert (folder.read_json(OWNER) or {})["id"] == "other"


def test_a_study_goes_on_where_the_launch_before_it_ended(s3_store: Store) -> None:
    node = next(node for node in PLAN.nodes if node.cell and node.cell.search_trials)
    assert node.cell is not None
    folder, trial = s3_store.sweep("s"), trial_of(s3_store, node)
    with sweep_journal(folder) as journal:
        first = CellStudy(node.cell, journal, PLAN.grid.search).point(node, trial)
    assert folder.exists(JOURNAL)
    trial.write_recipe(node, first)
    # A launch that ends badly puts it back, too.
    with suppress(KeyboardInterrupt), sweep_journal(folder) as journal:
        CellStudy(node.cell, journal, PLAN.grid.search).reconcile([(node, trial)])
        raise KeyboardInterrupt
    with sweep_journal(folder) as journal:
        assert CellStudy(node.cell, journal, PLAN.grid.search).told() == {node.uid: ["RUNNING"]}


def test_what_nobody_needs_is_found_and_removed(s3_store: Store) -> None:
    Sweep(s3_store, "s").save_plan(PLAN)
    for stage, uid in ((NODE.stage, NODE.uid), (NODE.stage, "0123456789abcdef")):
        s3_store.trial(stage, uid).write_bytes("recipe.json", b"{}")
        s3_store.trial(stage, uid).write_bytes(RESULT, b"{}")
    s3_store.trial(NODE.stage, NODE.uid).write_bytes(RESUME, b"state")
    garbage = find_garbage(s3_store)
    assert {each.path for each in garbage} == {f"teacher/{NODE.uid}/{RESUME}", "teacher/0123456789abcdef"}
    remove(s3_store, garbage)
    assert find_garbage(s3_store) == []
    assert set(s3_store.trial(NODE.stage, NODE.uid).sizes()) == {"recipe.json", RESULT}
    (entry,) = list_sweeps(s3_store)
    assert (entry.name, entry.grid) == ("s", PLAN.grid.name)


def test_mlflow_needs_a_place_of_its_own_and_nothing_is_written_without(bucket: Bucket, s3_store: Store) -> None:
    before = bucket.objects()
    code, printed = run("launch", "--grid", "smoke", "--storage", s3_store.uri)
    assert (code, printed.count("\n")) == (1, 1)
    assert "MLflow's database cannot lie in s3://" in printed
    assert "sqlite:///path/to/mlflow.db" in printed
    assert bucket.objects() == before
    code, printed = run("ui", "--storage", s3_store.uri)
    assert (code, "--tracking-uri" in printed) == (1, True)
    assert locate("sqlite:////tmp/x.db", s3_store).database == Path("/tmp/x.db")


def test_studies_are_shown_as_the_store_knows_them(s3_store: Store) -> None:
    sweep, said = Sweep(s3_store, "s"), list[str]()
    searched = next(node for node in PLAN.nodes if node.cell and node.cell.search_trials)
    trial = trial_of(s3_store, searched)
    trial.write_recipe(searched, None)
    trial.write_result(pair_metrics(0.005, 0.3), {}, seconds=1.0, data_sha256="d")
    # What a driver put there when its launch ended, older than what is done by now.
    sweep.folder.write_bytes(JOURNAL, b"")
    with study_file(sweep, PLAN, said.append) as path:
        (shown,) = open_journal(path).get_all_trials(0)
    assert shown.user_attrs["uid"] == searched.uid
    assert shown.value == pytest.approx(0.3)
    assert "made of the trials that are finished by now" in said[0]


def test_commands_read_a_sweep_on_s3(s3_store: Store) -> None:
    Sweep(s3_store, "s").save_plan(PLAN)
    trial = trial_of(s3_store, NODE)
    trial.write_recipe(NODE, None)
    trial.write_epoch([{"epoch": 1, "seconds": 1.5, "timestamp_ms": 1, "train/loss": 0.5}], b"state")
    trial.write_error(ValueError("x"))
    storage = ("--storage", s3_store.uri)
    code, printed = run("status", "s", "--json", *storage)
    assert code == 0
    status = json.loads(printed)
    assert status["failures"][0]["error"] == "ValueError: x"
    assert shlex.split(status["failures"][0]["resume"])[-1] == s3_store.uri
    assert run("logs", NODE.uid[:6], *storage)[1].splitlines()[2] == "  1/1      1.5      0.5"
    assert [entry["num_done"] for entry in json.loads(run("ls", "--json", *storage)[1])] == [0]
    assert run("plan", "--grid", "smoke", *storage)[0] == 0
    code, printed = run("report", "s", *storage)
    assert code == 0
    assert printed.splitlines()[-1].endswith(f"to be read from {s3_store.root.root}/sweeps/s/report.html")
    assert s3_store.sweep("s").exists("report.html")
    assert trial.folder.exists(ERROR)
    code, printed = run("stop", "s", *storage)
    assert (code, "there is nothing to stop" in printed) == (1, True)
