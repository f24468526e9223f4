"""`ls`, `logs` and `gc`: what lies in a storage, what a trial measured, and what nobody needs."""

import json
import os
import socket
import threading
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.storage import gc, ls
from orchestrator.cli.sweep import logs
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.progress.logs import log_lines
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.folder import CHECKPOINT, RESUME
from orchestrator.store.inventory import Garbage, find_garbage
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import PLAN, LaunchOptions, Sweep, latest_sweep_name
from orchestrator.store.trial import trial_of
from orchestrator.tracking.tracker import Tracker
from search_spaces.analyses import analysis_named
from search_spaces.errors import ConfigError, SweepError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.made_up import raised
from tests.waiting import wait_until


def plan_of(*seeds: int) -> Plan:
    return build_plan(build_grid("smoke", Choices(seeds=seeds), lambda _: 15), lambda _: 15)


A, B = plan_of(0), plan_of(1)
TEACHER, DISTILL, *PAIRS = A.nodes


def finish(store: Store, node: Node) -> None:
    folder = trial_of(store, node)
    folder.write_recipe(node, None)
    folder.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 0, "train/loss": 0.5}], b"state")
    folder.write_result({}, {CHECKPOINT: b"x" * 1000}, seconds=1.0, data_sha256="d")


@pytest.fixture
def two_sweeps(store: Store) -> Store:
    """Two sweeps; of each the teacher and the white box are done."""
    for name, plan in (("a", A), ("b", B)):
        sweep = Sweep(store, name)
        sweep.save_plan(plan)
        sweep.save_launch(LaunchOptions())
        for node in plan.nodes[:2]:
            finish(store, node)
    return store


def write_analysis(store: Store, uid: str, *subjects: str) -> None:
    AnalysisFolder(store, uid).write_task("layers/x", analysis_named("layers"), subjects)


def call(module: object, store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(module.command, [*arguments, "--storage", store.uri])  # type: ignore[attr-defined]


def files(store: Store) -> set[str]:
    return {path for path in store.root.sizes() if not path.endswith("driver.lock")}


def test_ls_tells_how_far_every_sweep_is_and_what_it_takes(two_sweeps: Store) -> None:
    first, second = json.loads(call(ls, two_sweeps, "--json").output)
    assert (first["name"], first["grid"], first["dataset"]) == ("a", "smoke", "digits")
    assert (first["num_done"], first["num_planned"], first["state"]) == (2, len(A.nodes), "incomplete")
    assert first["launched_at"] < second["launched_at"]
    reached = [f"{node.stage}/{node.uid}/" for node in A.nodes] + ["sweeps/a/"]
    sizes = two_sweeps.root.sizes()
    assert first["num_bytes"] == sum(s for path, s in sizes.items() if path.startswith(tuple(reached))) > 2000
    assert f"2 of {first['num_needed']}" in call(ls, two_sweeps).output
    trial_of(two_sweeps, A.nodes[-1]).write_pruned(1)
    trial_of(two_sweeps, A.nodes[-2]).write_error(raised(RuntimeError("out of luck")))
    assert json.loads(call(ls, two_sweeps, "--json").output)[0]["num_done"] == 3


def test_folder_of_a_launch_that_died_before_its_plan_is_no_sweep_for_any_command(two_sweeps: Store) -> None:
    Sweep(two_sweeps, "c").save_launch(LaunchOptions())

    assert [each["name"] for each in json.loads(call(ls, two_sweeps, "--json").output)] == ["a", "b"]
    assert latest_sweep_name(two_sweeps) == "b"
    with pytest.raises(ConfigError, match=r"unknown sweep 'c'.* Known: a, b\.$"):
        Sweep(two_sweeps, "c").load_plan(lambda _: 15)


def test_ls_of_nothing_says_how_to_start(store: Store) -> None:
    assert "start one with `dptq-sweep launch`" in call(ls, store).output


def test_gc_keeps_what_any_sweep_reaches(two_sweeps: Store) -> None:
    write_analysis(two_sweeps, "0" * 16, PAIRS[0].uid)
    two_sweeps.root.folder("probes").write_json("a.json", {})
    before = files(two_sweeps)
    assert call(gc, two_sweeps).exit_code == 0
    assert files(two_sweeps) == before


def test_gc_removes_exactly_what_a_removed_sweep_alone_reached(two_sweeps: Store) -> None:
    write_analysis(two_sweeps, "0" * 16, PAIRS[0].uid)
    write_analysis(two_sweeps, "1" * 16, PAIRS[0].uid, B.nodes[-1].uid)
    two_sweeps.root.delete_folder("sweeps/b")
    before = files(two_sweeps)
    gone = {path for path in before if path.split("/")[1] in {"1" * 16, *(node.uid for node in B.nodes)}}
    listed = call(gc, two_sweeps, "--plan")
    assert files(two_sweeps) == before
    assert "would remove 3 things" in listed.output
    result = call(gc, two_sweeps)
    assert result.exit_code == 0, result.output
    assert files(two_sweeps) == before - gone
    assert gone


def test_gc_removes_leftovers_but_no_state_that_a_trial_goes_on_from(two_sweeps: Store) -> None:
    finished, running = trial_of(two_sweeps, TEACHER).folder, trial_of(two_sweeps, PAIRS[0])
    finished.write_bytes(RESUME, b"left by a worker that died after its result")
    finished.write_bytes(".tmp-0123-checkpoint.safetensors", b"torn")
    running.write_epoch([{"epoch": 1, "seconds": 1.0, "timestamp_ms": 0}], b"state")
    before = files(two_sweeps)
    call(gc, two_sweeps)
    left = f"teacher/{TEACHER.uid}"
    assert before - files(two_sweeps) == {f"{left}/{RESUME}", f"{left}/.tmp-0123-checkpoint.safetensors"}


def test_garbage_names_what_goes_with_its_uid_and_bytes(two_sweeps: Store) -> None:
    trial_of(two_sweeps, TEACHER).folder.write_bytes(RESUME, b"12345")
    trial_of(two_sweeps, PAIRS[0]).folder.write_bytes(".tmp-0123-checkpoint.safetensors", b"123")
    two_sweeps.root.delete_folder("sweeps/b")
    sizes = two_sweeps.root.sizes()
    expected = {
        (f"{node.stage}/{node.uid}", node.uid): sum(
            size for path, size in sizes.items() if path.startswith(f"{node.stage}/{node.uid}/")
        )
        for node in B.nodes[:2]
    }
    expected[f"teacher/{TEACHER.uid}/{RESUME}", None] = 5
    expected[f"pair/{PAIRS[0].uid}/.tmp-0123-checkpoint.safetensors", None] = 3
    assert {(each.path, each.uid): each.num_bytes for each in find_garbage(two_sweeps)} == expected


def test_gc_touches_nothing_while_a_launch_runs(two_sweeps: Store) -> None:
    two_sweeps.root.delete_folder("sweeps/b")
    before = files(two_sweeps)
    with Sweep(two_sweeps, "a").driver():
        result = call(gc, two_sweeps)
    assert isinstance(result.exception, ConfigError)
    assert "is being run by another process" in str(result.exception)
    assert files(two_sweeps) == before


def test_first_launch_of_a_sweep_waits_while_gc_lists_and_keeps_its_trials(
    two_sweeps: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.leases.collection.LOOK_SECONDS", 0.01)
    two_sweeps.root.delete_folder("sweeps/b")
    said, is_over, listed = list[str](), threading.Event(), list[Garbage]()

    def launch() -> None:
        sweep = Sweep(two_sweeps, "new")
        with sweep.driver(said.append):
            sweep.save_plan(B)
            for node in B.nodes[:2]:
                finish(two_sweeps, node)
            is_over.set()

    def find(store: Store) -> list[Garbage]:
        listed.extend(find_garbage(store))
        launching.start()
        wait_until(lambda: said)
        return listed

    launching = threading.Thread(target=launch)
    monkeypatch.setattr("orchestrator.store.inventory.find_garbage", find)
    result = call(gc, two_sweeps)
    launching.join()
    assert result.exit_code == 0, result.output
    assert {each.uid for each in listed} == {node.uid for node in B.nodes[:2]}
    assert said == [
        f"waiting for `dptq-sweep gc` of {two_sweeps.uri} (process {os.getpid()} on {socket.gethostname()})"
    ]
    assert all(trial_of(two_sweeps, node).state() is State.DONE for node in B.nodes[:2])


def test_launch_that_came_before_gc_listed_the_sweeps_is_seen(two_sweeps: Store) -> None:
    with Sweep(two_sweeps, "new").driver():
        result = call(gc, two_sweeps)
    assert "sweep new is being run by another process" in str(result.exception)


def test_gc_takes_what_a_former_attempt_left_behind(two_sweeps: Store) -> None:
    folder = trial_of(two_sweeps, TEACHER).folder
    for name in (".tmp-0123/beat", "lease.json"):
        folder.write_bytes(name, b"{}")
    before = files(two_sweeps)
    call(gc, two_sweeps)
    gone = {f"teacher/{TEACHER.uid}/.tmp-0123/beat", f"teacher/{TEACHER.uid}/lease.json"}
    assert before - files(two_sweeps) == gone


def test_gc_refuses_where_a_plan_cannot_be_read(two_sweeps: Store) -> None:
    Sweep(two_sweeps, "b").folder.write_bytes(PLAN, b'{"schema": 1, "ui')
    before = files(two_sweeps)
    result = call(gc, two_sweeps)
    assert isinstance(result.exception, SweepError)
    assert "is not a JSON object" in str(result.exception)
    assert files(two_sweeps) == before


def test_gc_killed_in_the_middle_leaves_no_trial_that_is_done_without_its_files(
    two_sweeps: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_sweeps.root.delete_folder("sweeps/b")

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.store.folder.Folder.delete_folder", die)
    call(gc, two_sweeps)
    # Which of the two comes first is up to the filesystem.
    folders = [trial_of(two_sweeps, node).folder for node in B.nodes[:2]]
    assert sorted(folder.exists("result.json") for folder in folders) == [False, True]
    assert all(folder.exists(CHECKPOINT) for folder in folders)


def test_runs_go_with_what_is_removed_and_with_their_parent(two_sweeps: Store) -> None:
    for name, plan in (("a", A), ("b", B)):
        tracker = Tracker(None, two_sweeps, name)
        tracker.open(plan, {})
        tracker.close("FAILED")
    two_sweeps.root.delete_folder("sweeps/b")
    result = call(gc, two_sweeps)
    # Teacher and white box of b, and the run of b itself.
    assert "moved 3 MLflow runs to its bin; free their artifacts with: mlflow gc" in result.output
    client = mlflow.MlflowClient(f"sqlite:///{two_sweeps.root.local_path}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    left = {run.data.tags["dptq.sweep"] for run in client.search_runs(experiments)}
    assert left == {"a"}


def test_logs_show_epochs_and_error_by_a_part_of_the_uid_or_by_name(two_sweeps: Store) -> None:
    failed = trial_of(two_sweeps, PAIRS[0])
    failed.write_recipe(PAIRS[0], None)
    failed.write_error(RuntimeError("out of luck"))
    by_uid, by_name = (call(logs, two_sweeps, text).output for text in (TEACHER.uid[:6], PAIRS[0].uid))
    assert by_uid.splitlines() == [
        f"{TEACHER.name} ({TEACHER.uid})",
        "epoch  seconds     loss",
        "  1/1      1.0      0.5",
        "done",
    ]
    assert "RuntimeError: out of luck" in by_name
    # Both sweeps have a teacher of this name.
    ambiguous = call(logs, two_sweeps, TEACHER.name).exception
    assert isinstance(ambiguous, ConfigError)
    assert "could be any of 2" in str(ambiguous)


@pytest.mark.parametrize("text", ["../a", "../../etc/passwd", "", "/", "zz", "distill/test_resne"])
def test_no_text_leads_logs_out_of_the_storage(two_sweeps: Store, text: str, tmp_path: Path) -> None:
    result = call(logs, two_sweeps, text)
    assert isinstance(result.exception, ConfigError)
    assert f"unknown trial {text!r}" in str(result.exception)


def test_logs_follow_until_the_trial_ends(two_sweeps: Store) -> None:
    folder = trial_of(two_sweeps, PAIRS[0])
    folder.write_recipe(PAIRS[0], None)
    rows = [{"epoch": epoch, "seconds": 1.0, "timestamp_ms": 0} for epoch in (1, 2)]
    folder.write_epoch(rows[:1], b"state")
    lines = []
    with Sweep(two_sweeps, "a").driver():
        for line in log_lines(folder, two_sweeps, follow=True, seconds=0.01):
            lines.append(line)
            # What the worker does once a line was shown.
            if "1/" in line:
                folder.write_epoch(rows, b"state")
            if "2/" in line:
                folder.write_result({}, {CHECKPOINT: b"x"}, seconds=2.0, data_sha256="d")
    assert [line.split("/")[0].strip() for line in lines[1:]] == ["epoch  seconds", "1", "2", "done"]


def test_following_a_trial_that_nobody_runs_ends(two_sweeps: Store) -> None:
    folder = trial_of(two_sweeps, PAIRS[0])
    folder.write_recipe(PAIRS[0], None)
    assert list(log_lines(folder, two_sweeps, follow=True))[-1] == "waiting"
