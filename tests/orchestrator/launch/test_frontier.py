"""The frontier hands out what is ready, once; its studies agree with the store whatever dies."""

import errno
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.search import Searcher

from orchestrator.launch.frontier import Frontier
from orchestrator.launch.restarts import find_node, forget_failures, restart, with_parents
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import open_journal
from orchestrator.search.study import CellStudy
from orchestrator.store.failures import MAX_LOST
from orchestrator.store.folder import CHECKPOINT, RECIPE
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError, NonFiniteLossError, UnavailableError, UnknownNameError, UnwritableError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics, raised

SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
PLAN: Plan = build_plan(build_grid("quick", Choices(search=SEARCH), lambda _: 15), lambda _: 15)
STOP_FILE = "sweeps/mine/stop"
SEARCHED_CELL = "test_resnet/I/B/detrimental/seed0"


class OutOfMemoryError(RuntimeError):
    """Named like torch's, which is all that the driver looks at."""


class Driver:
    """A launch without Ray: trials end when the test says so."""

    def __init__(self, store: Store, journal: Path) -> None:
        self.store, self.journal = store, journal
        self.started: list[str] = []
        self.restart()

    def restart(self) -> None:
        """Forgets everything but the store and the journal, as a killed driver does."""
        cell = next(node.cell for node in PLAN.nodes if node.cell and node.cell.search_trials)
        self.study = CellStudy(cell, open_journal(self.journal), PLAN.grid.search)
        self.frontier = Frontier(
            Snapshot(PLAN, self.store), {SEARCHED_CELL: self.study}, data_dir=None, stop_file=STOP_FILE
        )

    def fail(self, trial_id: str, error: Exception | None) -> Node:
        """Starts a trial, which fails at once; without an error its worker is lost."""
        node = self.start(trial_id)
        assert node is not None
        if error is not None:
            trial_of(self.store, node).write_error(error)
        self.frontier.on_trial_complete(trial_id, error=True)
        return node

    def start(self, trial_id: str) -> Node | None:
        config = self.frontier.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            return None
        assert isinstance(config, dict)
        node = PLAN.node(config["uid"])
        self.started.append(node.name)
        return node

    def finish(self, node: Node, *, drop: float = 0.5, gap: float = 0.0) -> None:
        """What a worker leaves behind."""
        trial_of(self.store, node).write_result(
            pair_metrics(gap, drop), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d"
        )

    def run_all(self) -> None:
        """Runs what is left, one trial at a time."""
        for number in range(100):
            node = self.start(f"t{number}")
            if node is None:
                return
            self.finish(node)
            self.frontier.on_trial_complete(f"t{number}")

    def optuna_trials(self) -> list[optuna.trial.FrozenTrial]:
        storage = JournalStorage(JournalFileBackend(str(self.journal)))
        return optuna.load_study(study_name=SEARCHED_CELL, storage=storage).get_trials()


@pytest.fixture
def driver(store: Store, tmp_path: Path) -> Driver:
    return Driver(store, tmp_path / "studies.log")


def finish_parents(driver: Driver) -> None:
    """Finishes what all pairs wait for."""
    for trial_id in ("teacher", "distill"):
        node = driver.start(trial_id)
        assert node is not None
        driver.finish(node)
        driver.frontier.on_trial_complete(trial_id)


def test_children_wait_for_their_parents(driver: Driver) -> None:
    teacher = driver.start("a")
    assert teacher is not None
    assert teacher.stage is Stage.TEACHER
    assert driver.frontier.suggest("b") is None
    driver.finish(teacher)
    driver.frontier.on_trial_complete("a")
    distill = driver.start("b")
    assert distill is not None
    assert distill.stage is Stage.DISTILL
    assert driver.frontier.suggest("c") is None


def test_every_trial_is_handed_out_once_and_then_it_is_over(driver: Driver) -> None:
    driver.run_all()
    assert sorted(driver.started) == sorted(node.name for node in PLAN.nodes)
    assert driver.frontier.suggest("z") == Searcher.FINISHED


def test_limit_of_concurrent_trials_is_kept(driver: Driver) -> None:
    finish_parents(driver)
    driver.frontier.limit(lambda: True, lambda: 2)
    assert driver.start("c") is not None
    assert driver.start("d") is not None
    assert driver.start("e") is None


def test_more_trials_run_at_once_when_machines_come_and_fewer_when_they_go(driver: Driver) -> None:
    finish_parents(driver)
    room = iter([1, 1, 3, 3, 3, 2, 2])
    driver.frontier.limit(lambda: True, lambda: next(room))
    assert [driver.start(trial_id) is not None for trial_id in "cdefg"] == [True, False, True, True, False]
    driver.frontier.on_trial_complete("c", error=True)
    assert driver.start("h") is None
    driver.frontier.on_trial_complete("e", error=True)
    assert driver.start("i") is not None


def test_a_failed_parent_ends_the_launch_without_its_children(driver: Driver) -> None:
    teacher = driver.fail("a", ConfigError("x"))
    assert driver.frontier.suggest("b") == Searcher.FINISHED
    assert driver.frontier.states[teacher.uid] is State.FAILED
    assert driver.frontier.halted is None
    # A user error may be fixed by now.
    driver.restart()
    assert driver.start("c") == teacher


def test_unknown_error_is_tried_again_twice_also_over_relaunches(driver: Driver) -> None:
    teacher = driver.fail("a", RuntimeError("x"))
    driver.restart()
    assert driver.fail("b", RuntimeError("x")) == teacher
    assert driver.fail("c", RuntimeError("x")) == teacher
    assert driver.frontier.suggest("d") == Searcher.FINISHED
    driver.restart()
    assert driver.frontier.suggest("e") == Searcher.FINISHED
    assert forget_failures(PLAN, driver.store) == 1
    driver.restart()
    assert driver.start("f") == teacher


def test_lost_worker_leaves_an_error_and_is_not_counted_as_a_retry(driver: Driver) -> None:
    teacher = driver.fail("0", None)
    error = trial_of(driver.store, teacher).error()
    assert error is not None
    assert error.startswith("LostWorkerError: ")
    assert {driver.fail(f"a{number}", None).uid for number in range(MAX_LOST)} == {teacher.uid}
    assert driver.frontier.suggest("b") == Searcher.FINISHED
    assert trial_of(driver.store, teacher).attempts() == {"lost worker": MAX_LOST + 1}


def test_three_trials_that_fail_alike_stop_the_sweep_with_the_traceback(driver: Driver) -> None:
    finish_parents(driver)
    assert len({driver.fail(str(number), raised(RuntimeError(f"image {number}"))).uid for number in range(3)}) == 3
    assert driver.frontier.suggest("x") == Searcher.FINISHED
    halted = driver.frontier.halted or ""
    assert "3 trials in a row failed alike" in halted
    assert halted.count("Traceback") == 1
    assert "RuntimeError: image 2" in halted


def test_trials_that_fail_differently_or_with_a_success_between_do_not_stop_the_sweep(driver: Driver) -> None:
    finish_parents(driver)
    failures = [raised(error) for error in map(RuntimeError, "xxxx")]
    failures.insert(2, raised(RuntimeError("x"), in_loss=True))
    for number, error in enumerate(failures):
        driver.fail(str(number), error)
    node = driver.start("good")
    assert node is not None
    driver.finish(node)
    driver.frontier.on_trial_complete("good")
    driver.fail("after", raised(RuntimeError("x")))
    assert driver.frontier.halted is None


def test_running_trials_end_by_themselves_after_a_halt(driver: Driver) -> None:
    finish_parents(driver)
    running = driver.start("running")
    driver.fail("no data", UnavailableError("dataset x is not in data"))
    assert "every other trial would fail like pair/" in (driver.frontier.halted or "")
    assert driver.frontier.suggest("x") is None
    assert running is not None
    driver.finish(running)
    driver.frontier.on_trial_complete("running")
    assert driver.frontier.suggest("x") == Searcher.FINISHED
    assert driver.frontier.states[running.uid] is State.DONE


def test_full_storage_ends_the_launch_instead_of_looking_like_a_lost_worker(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert driver.start("a") is not None

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestrator.store.places.file_system._write_synced", full)
    with pytest.raises(UnwritableError, match="No space left on device"):
        driver.frontier.on_trial_complete("a", error=True)


def test_stop_file_ends_the_launch_and_its_trials_are_not_failures(driver: Driver) -> None:
    teacher = driver.start("a")
    assert teacher is not None
    driver.store.root.write_bytes(STOP_FILE, b"")
    trial_of(driver.store, teacher).write_epoch([{"epoch": 1}], b"state")
    driver.frontier.on_trial_complete("a")
    driver.frontier._next_stop_check = 0.0
    assert driver.frontier.suggest("b") == Searcher.FINISHED
    assert driver.frontier.is_stopping
    assert driver.frontier.states[teacher.uid] is State.INTERRUPTED
    assert trial_of(driver.store, teacher).attempts() == {}


def test_only_some_trials_and_their_parents_are_run(driver: Driver) -> None:
    pair = PLAN.nodes[-1]
    only = with_parents(PLAN, [pair])
    driver.frontier = Frontier(Snapshot(PLAN, driver.store), {}, data_dir=None, stop_file=STOP_FILE, only=only)
    driver.run_all()
    assert driver.started == [PLAN.nodes[0].name, PLAN.nodes[1].name, pair.name]


def test_diverged_trials_are_run_again_only_when_asked_for(driver: Driver) -> None:
    teacher = driver.fail("a", NonFiniteLossError("the loss became nan"))
    driver.restart()
    assert driver.frontier.suggest("b") == Searcher.FINISHED
    forget_failures(PLAN, driver.store)
    driver.restart()
    assert driver.start("c") == teacher


def test_a_trial_out_of_memory_gets_one_more_try_with_a_whole_gpu(driver: Driver) -> None:
    shares = []
    for trial_id in ("a", "b"):
        config = driver.frontier.suggest(trial_id)
        assert isinstance(config, dict)
        shares.append(config["whole_gpu"])
        trial_of(driver.store, PLAN.node(config["uid"])).write_error(OutOfMemoryError("CUDA out of memory"))
        driver.frontier.on_trial_complete(trial_id, error=True)
    assert shares == [False, True]
    assert driver.frontier.suggest("c") == Searcher.FINISHED
    driver.restart()
    assert driver.frontier.suggest("d") == Searcher.FINISHED


def test_whole_gpu_is_remembered_by_a_relaunch(driver: Driver) -> None:
    driver.fail("a", OutOfMemoryError("CUDA out of memory"))
    assert driver.start("handed out, then the driver dies") is not None
    driver.restart()
    config = driver.frontier.suggest("b")
    assert isinstance(config, dict)
    assert config["whole_gpu"]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_restarted_trial_keeps_its_point_even_if_its_recipe_was_damaged(driver: Driver, is_damaged: bool) -> None:
    driver.run_all()
    node = next(node for node in PLAN.nodes if node.trial_number == 2)
    folder = trial_of(driver.store, node)
    before = folder.recipe()
    if is_damaged:
        folder.folder.write_bytes(RECIPE, b'{"schema')
    assert restart(PLAN, driver.store, [node], children_too=False) == [node]
    assert folder.state() is State.WAITING
    assert folder.folder.exists(RECIPE) is not is_damaged
    driver.restart()
    driver.run_all()
    assert folder.recipe() == before
    assert [trial.state.name for trial in driver.optuna_trials()] == ["COMPLETE"] * 5


def test_parent_is_not_restarted_under_its_children(driver: Driver) -> None:
    driver.run_all()
    with pytest.raises(ConfigError, match=r"10 trials were trained from what is to be restarted.*--with-children"):
        restart(PLAN, driver.store, [PLAN.nodes[1]], children_too=False)
    assert trial_of(driver.store, PLAN.nodes[1]).state() is State.DONE
    assert len(restart(PLAN, driver.store, [PLAN.nodes[1]], children_too=True)) == 11
    driver.restart()
    assert len(driver.frontier.pending) == 11


def test_uid_prefixes_must_be_unique_and_known(driver: Driver) -> None:
    uid = PLAN.nodes[3].uid
    assert find_node(PLAN, uid[:8]) == PLAN.nodes[3]
    with pytest.raises(UnknownNameError, match="unknown uid 'zz'"):
        find_node(PLAN, "zz")
    letter = Counter(node.uid[0] for node in PLAN.nodes).most_common(1)[0][0]
    with pytest.raises(ConfigError, match="type more of it"):
        find_node(PLAN, letter)


def test_trial_0_of_a_study_is_the_recipes_own_point(driver: Driver) -> None:
    driver.run_all()
    trials = driver.optuna_trials()
    assert trials[0].params == {"hinge_weight": 1.0, "kd_weight": 1.5, "margin": 0.01}
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert len({tuple(trial.params.values()) for trial in trials}) == 5


def test_studies_know_objective_and_constraint(driver: Driver) -> None:
    cell_nodes = [node for node in PLAN.nodes if node.cell_id == SEARCHED_CELL]
    for trial_id in "ab":
        node = driver.start(trial_id)
        assert node is not None
        driver.finish(node)
        driver.frontier.on_trial_complete(trial_id)
    gaps = dict(zip((node.uid for node in cell_nodes), (0.0, 0.03, 0.0, 0.0, 0.0), strict=True))
    for number in range(10):
        node = driver.start(str(number))
        assert node is not None
        driver.finish(node, drop=0.5, gap=gaps.get(node.uid, 0.0))
        driver.frontier.on_trial_complete(str(number))
    by_uid = {trial.user_attrs["uid"]: trial for trial in driver.optuna_trials()}
    kept, lost = by_uid[cell_nodes[0].uid], by_uid[cell_nodes[1].uid]
    assert kept.value == pytest.approx(0.5)
    assert lost.value == pytest.approx(0.5 - 10 * 0.02)
    assert kept.constraints["parity"] <= 0 < lost.constraints["parity"]


def kill_points() -> list[tuple[int, str]]:
    return [(count, moment) for count in (3, 6, 9, 11) for moment in ("running", "finished, not told")]


@pytest.mark.parametrize(("count", "moment"), kill_points())
def test_killed_driver_loses_no_value_and_repeats_no_point(driver: Driver, count: int, moment: str) -> None:
    node = None
    for number in range(count):
        node = driver.start(f"t{number}")
        assert node is not None
        if number < count - 1:
            driver.finish(node)
            driver.frontier.on_trial_complete(f"t{number}")
    assert node is not None
    recipe_before = trial_of(driver.store, node).recipe()
    if moment == "finished, not told":
        driver.finish(node)
    driver.restart()
    driver.run_all()
    # Only the trial that was running is handed out twice, and at the same point.
    repeated = {name for name in driver.started if driver.started.count(name) > 1}
    assert repeated == ({node.name} if moment == "running" else set())
    assert trial_of(driver.store, node).recipe() == recipe_before
    trials = driver.optuna_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert len({tuple(trial.params.values()) for trial in trials}) == 5
    assert len({trial.user_attrs["uid"] for trial in trials}) == 5


def test_lost_journal_is_filled_from_the_store(driver: Driver) -> None:
    driver.run_all()
    before = {trial.user_attrs["uid"]: (trial.params, trial.value) for trial in driver.optuna_trials()}
    driver.journal.unlink()
    driver.restart()
    assert {trial.user_attrs["uid"]: (trial.params, trial.value) for trial in driver.optuna_trials()} == before


@pytest.mark.parametrize("count", [3, 7, 9])
def test_killed_driver_draws_the_points_of_an_undisturbed_one(driver: Driver, tmp_path: Path, count: int) -> None:
    calm = Driver(Store(str(tmp_path / "calm")), tmp_path / "calm.log")
    calm.run_all()
    for number in range(count):
        node = driver.start(f"t{number}")
        assert node is not None
        driver.finish(node)
        driver.frontier.on_trial_complete(f"t{number}")
    driver.restart()
    driver.run_all()
    for node in PLAN.nodes:
        assert trial_of(driver.store, node).recipe() == trial_of(calm.store, node).recipe()


def test_driver_that_dies_between_asking_and_writing_leaves_no_running_trial(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial_id in "ab":
        node = driver.start(trial_id)
        assert node is not None
        driver.finish(node)
        driver.frontier.on_trial_complete(trial_id)

    def die(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.store.trial.TrialFolder.write_recipe", die)
        for number in range(10):
            with pytest.raises(KeyboardInterrupt):
                driver.frontier.suggest(f"x{number}")
    driver.restart()
    driver.run_all()
    states = [trial.state.name for trial in driver.optuna_trials()]
    assert states.count("COMPLETE") == 5
    assert "RUNNING" not in states
    assert "WAITING" not in states


def test_failed_and_diverged_trials_are_told_as_failures(driver: Driver) -> None:
    for number in range(12):
        node = driver.start(f"t{number}")
        assert node is not None
        if node.cell_id == SEARCHED_CELL and node.trial_number == 2:
            trial_of(driver.store, node).write_error(NonFiniteLossError("the loss became nan"))
        elif node.cell_id == SEARCHED_CELL and node.trial_number == 3:
            driver.finish(node, drop=float("nan"))
        else:
            driver.finish(node)
        driver.frontier.on_trial_complete(f"t{number}")
    assert [trial.state.name for trial in driver.optuna_trials()] == [
        "COMPLETE",
        "COMPLETE",
        "FAIL",
        "FAIL",
        "COMPLETE",
    ]
