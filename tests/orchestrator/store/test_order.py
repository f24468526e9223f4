"""What is written and deleted in which order, so that a process may die in between; see `recorder.py`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.search.journal import JOURNAL, sweep_journal
from orchestrator.store.analysis import AnalysisFolder
from orchestrator.store.failures import Failure
from orchestrator.store.folder import CHECKPOINT, EPOCHS, PREDICTIONS, RECIPE, RESULT
from orchestrator.store.leases.sweeps import OWNER
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import LAUNCH, LaunchOptions, Sweep
from orchestrator.store.trial import TrialFolder, trial_of
from search_spaces.errors import ConfigError, NonFiniteLossError
from search_spaces.grids.build import Choices, build_grid
from tests.orchestrator.buckets import memory_bucket
from tests.orchestrator.recorder import deaths, operations

PLAN: Plan = build_plan(build_grid("smoke", Choices(), lambda _: 15), lambda _: 15)
NODE: Node = PLAN.nodes[0]
ROWS = [{"epoch": 1, "seconds": 1.0, "timestamp_ms": 1}]
SAVED = "resume/state.safetensors"
FILES = {CHECKPOINT: b"x", PREDICTIONS: b"y"}
Prepare = Callable[[TrialFolder], None]


def begun(trial: TrialFolder) -> None:
    trial.write_recipe(NODE, None)
    trial.write_epoch(ROWS, b"state")


def done(trial: TrialFolder) -> None:
    begun(trial)
    trial.write_result({}, FILES, seconds=1.0, data_sha256="")


def failed(trial: TrialFolder) -> None:
    begun(trial)
    trial.write_error(ValueError("x"), log=["a line"])
    trial.count_attempt(Failure.UNKNOWN)


def pruned(trial: TrialFolder) -> None:
    begun(trial)
    trial.write_pruned(1)


@pytest.fixture
def trial(store: Store) -> TrialFolder:
    return trial_of(store, NODE)


def test_rows_of_epochs_are_written_before_the_state_to_go_on_from(store: Store, trial: TrialFolder) -> None:
    assert operations(store, lambda: trial.write_epoch(ROWS, b"state")) == [f"write {EPOCHS}", f"write {SAVED}"]


def test_result_is_written_last_and_the_state_to_go_on_from_goes_after_it(store: Store, trial: TrialFolder) -> None:
    begun(trial)
    assert operations(store, lambda: trial.write_result({}, FILES, seconds=1, data_sha256="")) == [
        *(f"write {name}" for name in (CHECKPOINT, PREDICTIONS, RESULT)),
        "delete resume",
    ]


def test_analysis_has_its_result_before_its_units_go(store: Store) -> None:
    folder = AnalysisFolder(store, "0" * 16)
    folder.write_partial([{"unit": "a"}], seconds=1.0)
    assert operations(store, lambda: folder.write_rows([{"unit": "a"}], seconds=1.0, data_sha256="")) == [
        "write rows.parquet",
        f"write {RESULT}",
        "delete resume",
    ]


def test_pruned_trial_is_marked_before_the_state_to_go_on_from_goes(tmp_path: Path) -> None:
    for store, did in deaths(tmp_path, lambda each: begun(trial_of(each, NODE)), prune):
        assert trial_of(store, NODE).state() is (State.PRUNED if did else State.INTERRUPTED)


def prune(store: Store) -> None:
    trial_of(store, NODE).write_pruned(1)


@pytest.mark.parametrize(
    ("log", "expected"),
    [(["a line"], ["write log.txt", "write error.txt"]), ([], ["delete log.txt", "write error.txt"])],
    ids=["with a log", "without one"],
)
def test_log_is_that_of_the_error_before_the_error_is_there(
    store: Store, trial: TrialFolder, log: list[str], expected: list[str]
) -> None:
    failed(trial)
    assert operations(store, lambda: trial.write_error(ValueError("y"), log=log)) == expected


def test_tries_are_given_back_before_the_failure_is_forgotten_that_asks_for_them(tmp_path: Path) -> None:
    def forget(store: Store) -> None:
        trial_of(store, NODE).forget_failures()

    for store, did in deaths(tmp_path, lambda each: failed(trial_of(each, NODE)), forget):
        trial = trial_of(store, NODE)
        # Who asks again finds it failed; otherwise it has all its tries.
        assert trial.state() is State.FAILED or not trial.attempts(), did
    assert trial.state() is State.INTERRUPTED


@pytest.mark.parametrize("before", [done, failed, pruned, begun], ids=lambda before: before.__name__)
def test_restart_that_dies_leaves_a_trial_to_be_run_and_no_state_without_its_rows(
    before: Prepare, tmp_path: Path
) -> None:
    for store, did in deaths(tmp_path, lambda each: before(trial_of(each, NODE)), restart):
        trial = trial_of(store, NODE)
        assert did == [] or not trial.state().ended_well, did
        assert not trial.folder.exists(SAVED) or trial.epochs(), did
        restart(store)
        assert trial.state() is State.WAITING
        assert [*trial.folder.sizes()] == [RECIPE], did


def restart(store: Store) -> None:
    trial_of(store, NODE).restart()


def test_restart_takes_the_result_first_and_a_damaged_recipe_last(store: Store, trial: TrialFolder) -> None:
    done(trial)
    trial.write_error(NonFiniteLossError("x"))
    trial.folder.write_bytes(RECIPE, b"{}")
    did = operations(store, trial.restart)
    assert (did[0], did[-1]) == (f"delete {RESULT}", f"delete {RECIPE}")


def test_driver_owns_the_sweep_before_it_forgets_that_it_was_to_stop_and_until_its_end(store: Store) -> None:
    sweep = Sweep(store, "mine")
    sweep.ask_to_stop()

    def launch() -> None:
        with sweep.driver():
            sweep.save_plan(PLAN)

    assert operations(store, launch) == [f"write {OWNER}", "delete stop", "write plan.json", f"delete {OWNER}"]


def test_refused_driver_leaves_the_wish_to_stop_alone(store: Store) -> None:
    sweep = Sweep(store, "mine")
    with sweep.driver():
        sweep.ask_to_stop()
        with pytest.raises(ConfigError, match="is being run by another process"), Sweep(store, "mine").driver():
            pass
        assert store.root.exists(sweep.stop_file)


def test_driver_that_dies_anywhere_leaves_a_sweep_that_the_next_one_takes_over(tmp_path: Path) -> None:
    def launch(store: Store) -> None:
        sweep = Sweep(store, "mine")
        with sweep.driver():
            sweep.save_plan(PLAN)
            sweep.save_launch(LaunchOptions(max_retries=7))

    for store, did in deaths(tmp_path, lambda each: Sweep(each, "mine").ask_to_stop(), launch):
        sweep, said = Sweep(store, "mine"), list[str]()
        assert not sweep.has_driver()
        # Whoever looks for the latest sweep finds one that has its plan.
        assert not sweep.folder.exists(LAUNCH) or sweep.load_plan(lambda _: 15) == PLAN
        is_left = sweep.folder.exists(OWNER)
        with sweep.driver(said.append):
            sweep.save_plan(PLAN)
            assert sweep.load_plan(lambda _: 15) == PLAN
            assert not store.root.exists(sweep.stop_file)
        assert [line.startswith("taking sweep mine over") for line in said] == ([True] if is_left else []), did
        assert not sweep.folder.exists(OWNER)


def test_journal_on_an_object_store_is_put_back_also_when_its_driver_fails() -> None:
    folder = memory_bucket()
    with pytest.raises(ZeroDivisionError), sweep_journal(folder) as journal:
        1 / journal.create_new_study([], "mine")
    assert b"mine" in (folder.read_bytes(JOURNAL) or b"")
    with sweep_journal(folder) as journal:
        assert [study.study_name for study in journal.get_all_studies()] == ["mine"]
