"""Sweeps that share trials: one of them trains a trial, whatever freezes, dies or comes late, and the others wait."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch.frontier import Frontier
from orchestrator.launch.stateless import FINISHED
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT, EPOCHS, RESULT
from orchestrator.store.integrity import find_damage
from orchestrator.store.leases import fenced, shared
from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.leases.shared import SharedTrials
from orchestrator.store.leases.sweeps import OWNER, Pace, read_owner
from orchestrator.store.leases.trials import Leases, read_lease
from orchestrator.store.places import file_system as files
from orchestrator.store.places.place import TEMPORARY
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import TrialFolder, trial_of
from orchestrator.workers.attempt import at_work, attempt_at
from search_spaces.grids.build import Choices, build_grid
from tests.waiting import wait_until

PLAN: Plan = build_plan(build_grid("smoke", Choices(search={"keep_searching": True}), lambda _: 15), lambda _: 15)
TEACHER = PLAN.nodes[0]
SOON = Pace(beat_seconds=0.1, dead_seconds=1.0, settle_seconds=0.1)
PATIENT = Pace(beat_seconds=0.1, dead_seconds=600, settle_seconds=0.1)
EPOCHS_OF_TRIAL = 3
FORK = multiprocessing.get_context("fork")
Train = Callable[[dict[str, Any], Path], None]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LOOK_SECONDS", 0.05)
    monkeypatch.setitem(fenced.beating.__wrapped__.__kwdefaults__, "seconds", 0.1)  # type: ignore[attr-defined]


@pytest.fixture
def started() -> Iterator[list[int]]:
    """Processes that the test started; none of them outlives it, frozen or not."""
    processes: list[int] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def train(config: dict[str, Any], notes: Path) -> None:
    """What a worker does; on a GPU no two trainings of a trial come to the same bits."""
    trial = attempt_at(Store(config["storage"], create=False), config, config["stage"])
    (notes / f"worker-{os.getpid()}").touch()
    with at_work(trial):
        note(notes, "began", config["uid"])
        rows = trial.epochs()
        for epoch in range(len(rows) + 1, EPOCHS_OF_TRIAL + 1):
            rows.append({"epoch": epoch, "seconds": random.random(), "timestamp_ms": 0})
            trial.write_epoch(rows, b"state")
            # As long as an epoch takes; the test freezes it in here.
            wait_until(lambda: not (notes / "hold").exists())
        trial.write_result({}, {CHECKPOINT: random.randbytes(100)}, seconds=1.0, data_sha256="d")
        note(notes, "finished", config["uid"])


def note(notes: Path, what: str, uid: str) -> None:
    with (notes / what).open("a") as file:
        file.write(f"{uid}\n")


def noted(notes: Path, what: str) -> list[str]:
    return (notes / what).read_text().split() if (notes / what).exists() else []


def drive(uri: str, name: str, notes: Path, pace: Pace) -> None:
    """A launch without Ray."""
    random.seed()
    store = Store(uri)
    sweep = Sweep(store, name)
    with sweep.driver(pace=pace), (notes / f"said-{name}").open("w", buffering=1) as said:
        leases = Leases(store, sweep=name, driver=(read_owner(sweep.folder) or {})["id"], pace=pace)
        trials = SharedTrials(store, leases, lambda line: print(line, file=said))
        frontier = Frontier(Snapshot(PLAN, store), {}, data_dir=None, stop_file=sweep.stop_file, shared=trials)
        for number in count():
            config = frontier.suggest(f"t{number}")
            if config == FINISHED:
                return
            if config is None:
                time.sleep(0.02)
                continue
            worker = FORK.Process(target=train, args=(config, notes))
            worker.start()
            worker.join()
            frontier.on_trial_complete(f"t{number}", error=worker.exitcode != 0)


def launch(store: Store, name: str, notes: Path, started: list[int], pace: Pace = PATIENT) -> Any:
    process = FORK.Process(target=drive, args=(store.uri, name, notes, pace))
    process.start()
    started.append(process.pid or 0)
    return process


def launch_held(store: Store, notes: Path, started: list[int]) -> Any:
    """Starts a launch of sweep `c` whose worker has saved its first epoch and waits; returns its process."""
    (notes / "hold").touch()
    process = launch(store, "c", notes, started)
    folder = trial_of(store, TEACHER).folder
    wait_until(lambda: folder.exists("resume/state.safetensors"))
    return process


def contents(store: Store) -> dict[str, bytes | None]:
    """Of the files of all trials."""
    folders = [(node, trial_of(store, node).folder) for node in PLAN.nodes]
    return {f"{node.name}/{name}": folder.read_bytes(name) for node, folder in folders for name in folder.sizes()}


def check_all_done(store: Store, notes: Path) -> None:
    """Every trial was finished once, its files are those of the attempt that did, and nobody has a lease."""
    assert Counter(noted(notes, "finished")) == Counter(node.uid for node in PLAN.nodes)
    trials = [(node, trial_of(store, node)) for node in PLAN.nodes]
    assert find_damage(trials, verify=True) == []
    for node, trial in trials:
        result = trial.result()
        assert result is not None
        assert result.attempt
        assert {EPOCHS, "recipe.json"} <= set(result.recorded), node.name
        assert read_lease(trial.folder) is None
        assert not [name for name in trial.folder.sizes() if name.startswith(TEMPORARY)]


def test_two_launches_train_every_shared_trial_once_and_say_what_they_wait_for(
    store: Store, tmp_path: Path, started: list[int]
) -> None:
    (tmp_path / "hold").touch()
    first = launch(store, "c", tmp_path, started)
    wait_until(lambda: noted(tmp_path, "began"))
    second = launch(store, "d", tmp_path, started)
    said = tmp_path / "said-d"
    wait_until(lambda: said.exists() and said.read_text())
    owner = f"sweep c (process {first.pid} on {os.uname().nodename})"
    assert said.read_text() == f"waiting for {TEACHER.name} ({TEACHER.uid}): {owner} works on it\n"
    (tmp_path / "hold").unlink()
    first.join()
    second.join()
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert Counter(noted(tmp_path, "began")) == Counter(node.uid for node in PLAN.nodes)
    check_all_done(store, tmp_path)


def test_frozen_worker_loses_its_trial_and_changes_nothing_when_it_is_thawed(
    store: Store, tmp_path: Path, started: list[int]
) -> None:
    first = launch_held(store, tmp_path, started)
    (worker,) = (int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*"))
    started.append(worker)
    os.kill(worker, signal.SIGSTOP)
    (tmp_path / "hold").unlink()
    second = launch(store, "d", tmp_path, started, SOON)
    second.join()
    assert second.exitcode == 0
    before = contents(store)
    os.kill(worker, signal.SIGCONT)
    first.join()
    assert first.exitcode == 0, "what the other sweep finished is done for this one, too"
    assert contents(store) == before
    check_all_done(store, tmp_path)


def test_trials_of_a_killed_launch_are_taken_over_at_once_and_go_on_from_their_epoch(
    store: Store, tmp_path: Path, started: list[int]
) -> None:
    first = launch_held(store, tmp_path, started)
    started += [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join()
    seconds = trial_of(store, TEACHER).epochs()[0]["seconds"]
    second = launch(store, "d", tmp_path, started)  # would wait for ten minutes
    wait_until(lambda: len(noted(tmp_path, "began")) == 2)
    (tmp_path / "hold").unlink()
    second.join()
    assert second.exitcode == 0
    assert trial_of(store, TEACHER).epochs()[0]["seconds"] == seconds
    check_all_done(store, tmp_path)


def taken(store: Store, sweep: str, node: Node = TEACHER, pace: Pace = SOON) -> TrialFolder:
    """Returns a trial as a driver of a sweep has it that is alive for nobody else."""
    attempt = Leases(store, sweep=sweep, pace=pace).take(store.trial(node.stage, node.uid))
    assert isinstance(attempt, FencedFolder)
    return TrialFolder(store, node.stage, node.uid, attempt)


@pytest.mark.parametrize("late", ["write", "delete", "delete a folder"])
def test_write_that_arrives_after_a_takeover_is_lost(store: Store, late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    former = taken(store, "c")
    former.write_epoch([{"epoch": 1}], b"former")
    is_under_way, may_go_on, outcome = threading.Event(), threading.Event(), list[BaseException]()
    write = files._write_synced

    def hang(path: Path, content: bytes) -> None:
        write(path, content)
        if content == b"late":
            is_under_way.set()
            may_go_on.wait()

    def act() -> None:
        if late == "write":
            former.folder.write_bytes(CHECKPOINT, b"late")
            return
        is_under_way.set()
        may_go_on.wait()
        (former.folder.delete if late == "delete" else former.folder.delete_folder)(
            EPOCHS if late == "delete" else "resume"
        )

    def run() -> None:
        try:
            act()
        except BaseException as error:
            outcome.append(error)

    monkeypatch.setattr(files, "_write_synced", hang)
    thread = threading.Thread(target=run)
    thread.start()
    is_under_way.wait()
    winner = taken(store, "d")
    winner.write_epoch([{"epoch": 1}, {"epoch": 2}], b"winner")
    winner.folder.write_bytes(CHECKPOINT, b"winner")
    before = winner.folder.sizes()
    may_go_on.set()
    thread.join()
    assert [type(error) for error in outcome] == [LostLeaseError]
    assert winner.folder.sizes() == before
    assert winner.folder.read_bytes(CHECKPOINT) == b"winner"


def test_one_of_many_that_come_at_once_has_the_trial(store: Store) -> None:
    leases = []
    for name in "abcdefgh":
        Sweep(store, name).folder.write_json(OWNER, {"id": name, "beat": 1})
        leases.append(Leases(store, sweep=name, driver=name, pace=PATIENT))
    barrier, found = threading.Barrier(len(leases)), list[object]()

    def come(each: Leases) -> None:
        barrier.wait()
        found.append(each.take(store.trial(TEACHER.stage, TEACHER.uid)))

    threads = [threading.Thread(target=come, args=(each,)) for each in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, FencedFolder) for each in found) == 1


def test_clocks_do_not_decide_who_stands_still_and_a_frozen_observer_takes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = store.trial(TEACHER.stage, TEACHER.uid), [0.0]
    monkeypatch.setattr("orchestrator.store.leases.standstill.time.monotonic", lambda: now[0])
    owner = Sweep(store, "c").folder
    owner.write_json(OWNER, {"id": "c", "beat": 1, "beat_at": 4e9})
    assert isinstance(Leases(store, sweep="c", driver="c").take(folder), FencedFolder)
    other = Leases(store, sweep="d", driver="d", pace=Pace(dead_seconds=60))

    def is_free_after(seconds: float) -> bool:
        now[0] += seconds
        return other.holder(folder) is None

    assert not is_free_after(0)
    assert not is_free_after(3600), "the observer slept: one look is not an hour of looking"
    assert not any(is_free_after(5) for _ in range(10))
    owner.write_json(OWNER, {"id": "c", "beat": 2, "beat_at": 0})
    assert not any(is_free_after(5) for _ in range(12))
    assert is_free_after(5)


def test_on_an_object_store_an_attempt_that_lost_its_lease_ends_before_its_next_write(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a freeze, when no beat has seen the lease for long.
    monkeypatch.setattr("orchestrator.store.leases.conditional.CHECK_SECONDS", 0.0)
    former = taken(s3_store, "c")
    former.write_epoch([{"epoch": 1}], b"former")
    winner = taken(s3_store, "d")
    for act in (
        lambda: former.write_epoch([{"epoch": 1}], b"late"),
        lambda: former.folder.delete(EPOCHS),
        lambda: former.write_result({}, {}, seconds=1.0, data_sha256="d"),
    ):
        with pytest.raises(LostLeaseError):
            act()
    winner.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    assert winner.folder.exists(RESULT)


def test_failure_after_the_result_takes_nothing_from_a_finished_trial(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of(store, TEACHER)
    trial.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    trial.write_error(RuntimeError("cannot delete"))
    assert not trial.folder.exists("error.txt")
    trial.folder.write_bytes("error.txt", b"RuntimeError: left by another version\n")
    assert (trial.state().value, trial.error(), trial.headline()) == ("done", None, None)
