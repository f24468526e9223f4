"""Who has what on an object store, when requests come together, late or twice: behind a proxy to a real S3 server."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.launch.frontier import Frontier
from orchestrator.plan import build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.folder import CHECKPOINT, ENVIRONMENT, EPOCHS, LEASE, PREDICTIONS, RESULT, RESUME
from orchestrator.store.integrity import find_damage
from orchestrator.store.leases import sweeps
from orchestrator.store.leases.contended import ContendedFile
from orchestrator.store.leases.fenced import FencedFolder, LostLeaseError
from orchestrator.store.leases.shared import SharedTrials
from orchestrator.store.leases.sweeps import OWNER, Pace
from orchestrator.store.leases.trials import Leases, fenced, read_lease
from orchestrator.store.places.bucket import PART_BYTES, Bucket
from orchestrator.store.places.listed import listed
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import TrialFolder
from orchestrator.tracking.runs import read_standing
from orchestrator.workers.attempt import attempt_at
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import Proxy, memory_bucket

PATIENT = Pace(beat_seconds=0.1, dead_seconds=600, settle_seconds=0.1)


def trial_taken(store: Store, sweep: str) -> TrialFolder:
    taken = Leases(store, sweep=sweep).take(store.trial("pair", "u"))
    assert isinstance(taken, FencedFolder)
    return TrialFolder(store, "pair", "u", taken)


def held(proxy: Proxy, is_meant: Callable[[str, str], bool]) -> tuple[threading.Event, threading.Event]:
    """Makes the proxy hold back the first request that is meant; returns what says so, and what lets it go."""
    is_under_way, may_go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if is_meant(method, path) and not is_under_way.is_set():
            is_under_way.set()
            assert may_go_on.wait(60)

    proxy.before = hold
    return is_under_way, may_go_on


def outcome_of(act: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Starts something in a thread; returns it and where its answer, or its error, will be."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(act())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_of_many_that_come_at_once_one_has_the_trial(s3_store: Store) -> None:
    leases = []
    for name in "abcdef":
        Sweep(s3_store, name).folder.write_json(OWNER, {"id": name, "beat": 1})
        leases.append(Leases(Store(s3_store.uri, create=False), sweep=name, driver=name, pace=PATIENT))
    barrier, found = threading.Barrier(len(leases)), list[object]()

    def come(each: Leases) -> None:
        barrier.wait()
        found.append(each.take(s3_store.trial("pair", "u")))

    threads = [threading.Thread(target=come, args=(each,)) for each in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (each for each in found if isinstance(each, FencedFolder))
    lease = read_lease(s3_store.trial("pair", "u"))
    assert lease is not None
    assert lease.attempt == winner.attempt
    assert {getattr(each, "sweep", lease.sweep) for each in found} == {lease.sweep}, "the others know who has it"


def test_a_lease_that_arrives_late_takes_nothing_from_who_was_faster(
    proxy: Proxy, behind: Store, s3_store: Store
) -> None:
    is_under_way, may_go_on = held(proxy, lambda method, path: method == "PUT" and path.endswith(LEASE))
    thread, outcome = outcome_of(lambda: trial_taken(behind, "slow"))
    assert is_under_way.wait(60)
    Sweep(s3_store, "fast").folder.write_json(OWNER, {"id": "fast", "beat": 1})
    winner = Leases(s3_store, sweep="fast", driver="fast").take(s3_store.trial("pair", "u"))
    may_go_on.set()
    thread.join()
    assert isinstance(outcome[0], AssertionError), "refused"
    assert isinstance(winner, FencedFolder)
    winner.check()


def test_what_was_created_by_a_request_that_arrived_twice_is_ones_own(proxy: Proxy, behind: Store) -> None:
    proxy.repeats = lambda method, path: method == "PUT"
    trial = trial_taken(behind, "c")
    trial.write_epoch([{"epoch": 1}], b"state")
    trial.write_epoch([{"epoch": 1}, {"epoch": 2}], b"state")
    assert isinstance(trial.folder, FencedFolder)
    trial.folder.beat(1)
    trial.folder.beat(2)
    trial.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    assert read_lease(trial.folder) is not None
    Leases(behind, sweep="c").release(trial.folder)
    assert read_lease(trial.folder) is None
    with Sweep(behind, "s").driver(pace=PATIENT):
        assert Sweep(behind, "s").has_driver()


def test_heart_that_beats_late_does_not_take_a_trial_back(proxy: Proxy, behind: Store, s3_store: Store) -> None:
    former = trial_taken(behind, "c")
    assert isinstance(former.folder, FencedFolder)
    former.folder.beat(1)
    is_under_way, may_go_on = held(proxy, lambda method, path: method == "PUT" and path.endswith(LEASE))
    thread, outcome = outcome_of(lambda: former.folder.beat(2))  # type: ignore[attr-defined]
    assert is_under_way.wait(60)
    winner = trial_taken(s3_store, "d")
    may_go_on.set()
    thread.join()
    assert isinstance(outcome[0], LostLeaseError)
    assert isinstance(winner.folder, FencedFolder)
    winner.folder.check()
    winner.folder.beat(1)


@pytest.mark.parametrize("late", [CHECKPOINT, EPOCHS, RESULT])
def test_file_that_arrives_after_that_of_a_new_attempt_changes_nothing(
    proxy: Proxy, behind: Store, s3_store: Store, late: str
) -> None:
    former = trial_taken(behind, "c")
    former.write_epoch([{"epoch": 1}], b"former")
    is_under_way, may_go_on = held(proxy, lambda method, path: method == "PUT" and path.endswith(late))
    thread, outcome = outcome_of(lambda: former.folder.write_bytes(late, b"late"))
    assert is_under_way.wait(60)
    winner = trial_taken(s3_store, "d")
    winner.write_epoch([{"epoch": 1}, {"epoch": 2}], b"winner")
    winner.write_result({}, {CHECKPOINT: b"winner"}, seconds=1.0, data_sha256="d")
    may_go_on.set()
    thread.join()
    assert isinstance(outcome[0], LostLeaseError)
    assert find_damage([(None, winner)], verify=True) == []  # type: ignore[list-item]
    result = winner.result()
    assert result is not None
    assert result.attempt == winner.folder.attempt  # type: ignore[attr-defined]


def test_file_that_arrives_before_that_of_a_new_attempt_is_replaced(s3_store: Store) -> None:
    former, winner = trial_taken(s3_store, "c"), trial_taken(s3_store, "d")
    assert isinstance(winner.folder, FencedFolder)
    assert not winner.folder.exists(CHECKPOINT), "looked which files there are"
    s3_store.trial("pair", "u").write_bytes(CHECKPOINT, b"late")
    winner.folder.write_bytes(CHECKPOINT, b"winner")
    assert s3_store.trial("pair", "u").read_bytes(CHECKPOINT) == b"winner"
    with pytest.raises(LostLeaseError):
        former.folder.write_bytes(CHECKPOINT, b"later still")


def test_large_object_comes_back_in_parts_and_one_replaced_meanwhile_from_one_version() -> None:
    folder = memory_bucket()
    old, new = bytes(range(256)) * (3 * PART_BYTES // 256) + b"end", b"n" * (4 * PART_BYTES)
    folder.write_bytes("x", old)
    assert folder.read_bytes("x") == old
    assert isinstance(folder.place, Bucket)
    tagged = folder.place.read_tagged("bucket/x")
    assert tagged is not None
    assert folder.place.write_if("bucket/x", new, tagged.tag) is not None
    assert folder.place.write_if("bucket/x", old, tagged.tag) is None
    assert folder.read_bytes("x") == new


def test_file_that_somebody_removed_is_created_again_and_one_of_another_is_not_touched() -> None:
    folder = memory_bucket()
    mine, others = ContendedFile(folder, "x"), ContendedFile(folder, "x")
    assert mine.read() is None
    assert mine.replace({"id": "mine"})
    assert not others.replace({"id": "others"})
    assert others.read() == {"id": "mine"}
    assert others.replace({"id": "others"})
    assert not mine.replace({"id": "mine", "beat": 2})
    folder.delete("x")
    assert not others.replace({"id": "others", "beat": 2})
    assert others.read() is None
    assert others.replace({"id": "others", "beat": 2})
    assert others.release({"id": "others"})
    assert mine.read() is None
    assert mine.replace({"id": "mine"})


def test_attempt_of_a_driver_goes_on_where_its_worker_ended(s3_store: Store) -> None:
    driver = trial_taken(s3_store, "c")
    assert isinstance(driver.folder, FencedFolder)
    driver.folder.write_json("recipe.json", {})
    driver.folder.hand_over()
    worker = TrialFolder(s3_store, "pair", "u", fenced(s3_store.trial("pair", "u"), driver.folder.attempt))
    worker.write_error(ValueError("x"))
    assert (driver.error() or "").startswith("ValueError")
    driver.clear_error()
    assert not s3_store.trial("pair", "u").exists("error.txt")


def test_life_of_a_trial_takes_thirty_requests(proxy: Proxy, behind: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver asks for a trial of two epochs, its worker, and who tells MLflow of it; beats follow the clock."""
    plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
    teacher, child = plan.nodes[:2]
    done = TrialFolder(behind, teacher.stage, teacher.uid)
    done.write_recipe(teacher, None)
    done.write_result({}, {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    sweep = Sweep(behind, "s")
    with sweep.driver():
        trials = SharedTrials(behind, sweep.leases(), lambda line: None)
        snapshot = Snapshot(plan, behind)
        frontier = Frontier(snapshot, {}, data_dir=None, stop_file=sweep.stop_file, shared=trials)
        # Both follow the clock.
        monkeypatch.setattr(sweeps._Heart, "beat", lambda heart: True)
        monkeypatch.setattr("orchestrator.store.leases.conditional.CHECK_SECONDS", 1e9)
        proxy.asked.clear()
        config = frontier.suggest("t0")
        assert isinstance(config, dict)
        assert config["uid"] == child.uid
        snapshot.trial(child).recipe()  # for who hears that the trial began
        work(config)
        frontier.on_trial_complete("t0")
        tell(TrialFolder(behind, child.stage, child.uid, listed(behind.trial(child.stage, child.uid))))
        assert proxy.asked.total() <= 30, proxy.asked
    assert snapshot.states[child.uid] is State.DONE


def work(config: dict[str, Any]) -> None:
    """What `orchestrator.workers.trial` asks of a storage."""
    store = Store(config["storage"], create=False)
    trial = attempt_at(store, config, config["stage"])
    assert trial.state() is State.WAITING
    assert isinstance(trial.folder, FencedFolder)
    trial.folder.beat(1)
    record = trial.recipe()
    assert record is not None
    parent = TrialFolder(store, "teacher", record.parents[0])
    assert parent.recipe() is not None
    parent.read_checked(CHECKPOINT, parent.result())
    assert trial.folder.read_bytes(RESUME) is None
    trial.folder.write_json(ENVIRONMENT, {})
    rows: list[dict[str, Any]] = []
    for epoch in (1, 2):
        rows.append({"epoch": epoch, "seconds": 1.0, "timestamp_ms": 1})
        trial.write_epoch(rows, b"state")
        if epoch < 2:
            store.root.exists(config["stop_file"])
    trial.write_result({}, {CHECKPOINT: b"x", PREDICTIONS: b"x"}, seconds=2.0, data_sha256="d")


def tell(trial: TrialFolder) -> None:
    """What MLflow's tracker asks of a storage."""
    assert read_standing(trial) is not None
    assert trial.epochs()
    assert trial.recipe() is not None
    assert trial.state() is State.DONE
    with trial.folder.on_disk(["recipe.json", RESULT, PREDICTIONS, EPOCHS]):
        pass
