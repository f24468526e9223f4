"""A whole search, allocation and pruning and confirmations included, on a driver that dies wherever it likes."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.launch import driver as running
from orchestrator.launch.ending.audit import compare
from orchestrator.launch.restarts import restart
from orchestrator.launch.tuner import Launch
from orchestrator.plan import Node, Origin, Plan
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import JOURNAL, make_journal_whole
from orchestrator.store.folder import CHECKPOINT, PRUNED, RESUME
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import NonFiniteLossError
from tests.orchestrator.search_driver import Quality, SearchDriver, search_plan

SEARCH = {"trials": 2, "confirm_seeds": 2, "pruner": "halving"}
# Students start from the nearest hit, so that what dies wherever it likes keeps these, too.
PLAN = search_plan(epochs=2, overrides=("pair.detrimental.start_from=neighbour",), **SEARCH)
CELL = "test_resnet/I/{}/detrimental/seed0"


def quality(node: Node) -> tuple[float, float]:
    """60 bits have their pair at once, 82 in trial 2, 105 never; whatever else they try is worse than what they had."""
    assert node.cell is not None
    if node.origin is Origin.CONFIRMED:
        return 0.0, 0.4
    found_by = {"60b": 0, "82b": 2}.get(node.cell.budget_level)
    if node.trial_number == found_by:
        return 0.0, 0.6
    return 0.03 + 0.01 * node.trial_number, 0.3


Make = Callable[..., SearchDriver]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Returns what makes a driver with a store of its own."""

    def driver(plan: Plan = PLAN, quality: Quality = quality, name: str = "one") -> SearchDriver:
        return SearchDriver(plan, Store(str(tmp_path / name)), tmp_path / f"{name}.log", quality)

    return driver


def states_of_cell(driver: SearchDriver, level: str) -> dict[str, list[str]]:
    """Names of the cell's trials behind its own, by state."""
    found: dict[str, list[str]] = {}
    for name, state in driver.states().items():
        prefix = f"pair/{CELL.format(level)}"
        if name.startswith(prefix):
            found.setdefault(str(state), []).append(name.removeprefix(prefix).removeprefix("/"))
    return found


def test_trials_go_where_pairs_are_missing_and_pairs_are_confirmed(make: Make) -> None:
    driver = make()
    driver.run()
    searched = [f"trial{number}" for number in range(1, 5)]
    confirmed = ["confirm1", "confirm2"]
    assert states_of_cell(driver, "60b") == {"done": ["", *confirmed], "skipped": searched}
    assert states_of_cell(driver, "82b") == {"done": ["", "trial1", "trial2", *confirmed], "skipped": searched[2:]}
    assert states_of_cell(driver, "105b") == {"done": ["", "trial1"], "pruned": searched[1:], "skipped": confirmed}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchDriver, list[str]]:
    """An undisturbed run, and its moments."""
    folder = tmp_path_factory.mktemp("calm")
    driver = SearchDriver(PLAN, Store(str(folder / "storage")), folder / "studies.log", quality)
    return driver, list(driver.moments())


@pytest.mark.parametrize("eighth", range(1, 9))
def test_search_killed_at_any_moment_ends_like_an_undisturbed_one(
    make: Make, calm: tuple[SearchDriver, list[str]], eighth: int
) -> None:
    undisturbed, moments = calm
    # Within its eighth of the run every case dies at another kind of moment.
    kill_at = moments[eighth * len(moments) // 8 - eighth]
    driver = make()
    assert kill_at in driver.moments()  # which ends it there
    driver.restart()
    driver.run()
    assert driver.states() == undisturbed.states()
    assert driver.recipes() == undisturbed.recipes()
    assert max(Counter(driver.started).values()) <= 2
    for level in ("60b", "82b", "105b"):
        now, then = (one.optuna_trials(CELL.format(level)) for one in (driver, undisturbed))
        assert {trial.user_attrs["uid"]: (trial.state, trial.params) for trial in now} == {
            trial.user_attrs["uid"]: (trial.state, trial.params) for trial in then
        }
        assert len(now) == len(then)
        assert not {trial.state.name for trial in now} & {"RUNNING", "WAITING", "FAIL"}


def cut(journal: Path) -> None:
    """A disk that was full."""
    journal.write_bytes(journal.read_bytes()[:-20])


def fill_with_zeros(journal: Path) -> None:
    """A machine that lost power."""
    journal.write_bytes(journal.read_bytes() + bytes(64))


def add_an_unknown_operation(journal: Path) -> None:
    """An editor, or another version of Optuna."""
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 99, "worker_id": "me"}\n')


def add_half_an_operation(journal: Path) -> None:
    """A line that is JSON and no operation."""
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 5}\n')


@pytest.mark.parametrize("damage", [cut, fill_with_zeros, add_an_unknown_operation, add_half_an_operation])
def test_damaged_journal_is_set_aside_and_the_search_ends_like_an_undisturbed_one(
    make: Make, calm: tuple[SearchDriver, list[str]], damage: Callable[[Path], None]
) -> None:
    undisturbed, moments = calm
    driver = make()
    assert moments[len(moments) // 2] in driver.moments()
    assert make_journal_whole(driver.journal) is None
    damage(driver.journal)
    damaged = driver.journal.read_bytes()
    said = make_journal_whole(driver.journal)
    assert said is not None
    assert "one.log was cut short or edited: it is now one.log.damaged" in said
    assert driver.journal.with_name("one.log.damaged").read_bytes() == damaged
    driver.restart()
    driver.run()
    assert driver.states() == undisturbed.states()
    assert driver.recipes() == undisturbed.recipes()


def test_a_launch_takes_the_lock_of_a_dead_driver_off_the_journal_and_tells_of_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):  # noqa: N818
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(running, "Tracker", stop)
    sweep = Sweep(Store(str(tmp_path / "storage")), "mine")
    sweep.save_plan(PLAN)
    folder = tmp_path / "storage" / "sweeps" / "mine"
    (folder / JOURNAL).write_text('{"op_code": 0')
    (folder / f"{JOURNAL}.lock").symlink_to(folder / JOURNAL)
    printed = io.StringIO()
    with pytest.raises(Reached):
        running.run_sweep(
            Launch(sweep=sweep, snapshot=Snapshot(PLAN, sweep.store)), [], None, None, Console(file=printed)
        )
    assert f"it is now {JOURNAL}.damaged" in printed.getvalue()
    assert sorted(path.name for path in folder.glob(f"{JOURNAL}*")) == [f"{JOURNAL}.damaged"]


def test_store_studies_and_plan_agree_at_the_end(make: Make) -> None:
    driver = make()
    driver.run()
    mlflow = {State.DONE: "FINISHED", State.PRUNED: "KILLED"}
    states = driver.frontier.states
    runs = [(uid, mlflow[state]) for uid, state in states.items() if state in mlflow]
    agreement = compare(Snapshot(PLAN, driver.store), driver.studies, runs)
    assert agreement.disagreements == ()
    assert agreement.line() == "plan = store = Optuna = MLflow: 15 done, 0 failed, 8 skipped"
    pruned = next(uid for uid, state in states.items() if state is State.PRUNED)
    (line,) = compare(Snapshot(PLAN, driver.store), driver.studies, [*runs, (pruned, "FINISHED")]).disagreements
    assert "KILLED and FINISHED" in line


def test_pruned_trial_ends_at_half_of_its_epochs_and_is_no_result(make: Make) -> None:
    driver = make()
    driver.run()
    trial = trial_of(driver.store, driver.node("105b/detrimental/seed0/trial2"))
    assert trial.folder.read_json(PRUNED) == {"schema": 1, "epoch": 1}
    assert trial.result() is None
    assert not trial.folder.exists(RESUME)
    (told,) = [one for one in driver.optuna_trials(CELL.format("105b")) if one.user_attrs["uid"] == trial.uid]
    assert told.state.name == "PRUNED"
    assert list(told.intermediate_values) == [1]


@pytest.mark.parametrize(("epochs", "last"), [(4, 2), (5, 3), (9, 5)])
def test_there_is_one_rung_also_with_an_odd_number_of_epochs(make: Make, epochs: int, last: int) -> None:
    better_and_better = make(search_plan(epochs=epochs, **SEARCH), lambda node: (0.2 - 0.01 * node.trial_number, 0.3))
    better_and_better.run()
    assert State.PRUNED not in better_and_better.states().values()
    worse = make(search_plan(epochs=epochs, **SEARCH), name="worse")
    worse.run()
    pruned = trial_of(worse.store, worse.node("105b/detrimental/seed0/trial2")).folder.read_json(PRUNED)
    assert pruned == {"schema": 1, "epoch": last}


def test_first_trials_as_publisheds_and_confirmations_are_never_pruned(make: Make) -> None:
    def first_is_best(node: Node) -> tuple[float, float]:
        return (0.0, 0.5) if node.origin is Origin.RECIPE else (0.0, 0.2)

    driver = make(search_plan(**SEARCH, keep_searching=True, seeds=(0, 1)), first_is_best)
    driver.run()
    states: dict[Origin, set[State]] = {}
    for node in driver.plan.nodes:
        if node.cell:
            states.setdefault(node.origin, set()).add(driver.frontier.states[node.uid])
    # All but the first trials are equally bad.
    assert State.PRUNED in states[Origin.SEARCHED]
    assert states[Origin.RECIPE] == states[Origin.AS_PUBLISHED] == states[Origin.CONFIRMED] == {State.DONE}


def test_sampler_with_two_objectives_is_told_both_and_prunes_nothing_of_the_drop_unless_asked(make: Make) -> None:
    driver = make(search_plan(trials=3, sampler="nsga2"))
    driver.run()
    assert State.PRUNED not in driver.states().values()
    by_uid = {trial.user_attrs["uid"]: trial for trial in driver.optuna_trials(CELL.format("82b"))}
    first = by_uid[driver.node("82b/detrimental/seed0").uid]
    assert first.values == pytest.approx([0.3, 0.03])
    assert first.constraints["parity"] > 0
    pruning = make(search_plan(epochs=2, **SEARCH, sampler="nsga2"), name="pruning")
    pruning.run()
    assert states_of_cell(pruning, "105b")["pruned"] == ["trial2", "trial3", "trial4"]


def test_trial_as_published_has_no_parameters_unless_the_space_holds_all_its_differences(make: Make) -> None:
    driver = make()
    driver.run()
    published = driver.node("105b/detrimental/seed0/trial1")
    assert published.origin is Origin.AS_PUBLISHED
    (told,) = [one for one in driver.optuna_trials(CELL.format("105b")) if one.user_attrs["uid"] == published.uid]
    assert told.params == {}
    assert told.user_attrs["origin"] == "as-published"


def test_trial_as_published_is_a_point_of_a_space_that_holds_it(make: Make) -> None:
    space = {"learning_rate": (0.01, 0.2), "batch_norm": ("frozen", "both")}
    plan = search_plan(trials=1, budgets=(82,), space=space, overrides=("pair.kd_scaled=false",))
    driver = make(plan, lambda node: (0.05, 0.3))
    driver.run()
    told = next(one for one in driver.optuna_trials(CELL.format("82b")) if one.user_attrs["origin"] == "as-published")
    assert told.params == {
        "hinge_weight": 1.0, "kd_weight": 1.0, "margin": 0.01, "learning_rate": 0.1, "batch_norm": "both",
    }  # fmt: skip


def test_confirmations_repeat_the_pair_on_further_seeds_when_its_search_is_over(make: Make) -> None:
    driver = make()
    driver.run()
    found = driver.recipes()[f"pair/{CELL.format('82b')}/trial2"]
    for number in (1, 2):
        confirmed = driver.recipes()[f"pair/{CELL.format('82b')}/confirm{number}"]
        assert confirmed["recipe"] == found["recipe"]
        assert confirmed["seed"] == number
    names = driver.started
    last = max(place for place, name in enumerate(names) if "/82b/" in name and "confirm" not in name)
    assert all(names.index(f"pair/{CELL.format('82b')}/confirm{number}") > last for number in (1, 2))


def test_longer_search_that_finds_a_better_pair_confirms_that_one(make: Make) -> None:
    def better_with_every_trial(node: Node) -> tuple[float, float]:
        return 0.0, 0.4 + 0.1 * node.trial_number * (node.origin is not Origin.CONFIRMED)

    short, long = (
        search_plan(trials=trials, budgets=(82,), epochs=1, confirm_seeds=1, keep_searching=True) for trials in (2, 3)
    )
    driver = make(short, better_with_every_trial)
    driver.run()
    confirmed = {name: recipe["recipe"] for name, recipe in driver.recipes().items()}
    pair = f"pair/{CELL.format('82b')}"
    assert confirmed[f"{pair}/confirm1"] == confirmed[f"{pair}/trial2"]
    driver.plan = long
    driver.restart()
    driver.run()
    confirmed = {name: recipe["recipe"] for name, recipe in driver.recipes().items()}
    assert confirmed[f"{pair}/confirm1"] == confirmed[f"{pair}/trial3"] != confirmed[f"{pair}/trial2"]


def test_as_published_that_is_the_pair_is_confirmed_to_the_letter(make: Make) -> None:
    plan = search_plan(trials=2, budgets=(82,), confirm_seeds=1)
    driver = make(plan, lambda node: (0.0, 0.5) if node.origin is Origin.AS_PUBLISHED else (0.05, 0.3))
    driver.run()
    confirmed = driver.recipes()[f"pair/{CELL.format('82b')}/confirm1"]
    assert confirmed["recipe"] == driver.recipes()[f"pair/{CELL.format('82b')}/trial1"]["recipe"]
    assert confirmed["recipe"]["kd_scaled"] is False


def test_confirmations_wait_for_a_trial_that_is_to_be_tried_again(make: Make) -> None:
    plan = search_plan(trials=1, budgets=(82,), confirm_seeds=1, keep_searching=True)
    driver = make(plan, lambda node: (0.0, 0.5))
    for name in driver.moments():
        if name.endswith("trial1 handed out"):
            break
    retried = driver.plan.node(next(iter(driver.frontier._running.values())).uid)
    trial_of(driver.store, retried).write_error(RuntimeError("once"))
    driver.frontier.on_trial_complete(next(iter(driver.frontier._running)), error=True)
    driver.run()
    rest = driver.started[driver.started.index(retried.name) + 1 :]
    assert rest.index(retried.name) < rest.index(f"pair/{CELL.format('82b')}/confirm1")


def test_a_confirmation_asked_for_by_name_does_not_run_without_a_pair(make: Make) -> None:
    plan = search_plan(trials=1, budgets=(82,), confirm_seeds=1)
    driver = make(plan, lambda node: (0.2, 0.1))
    driver.run()
    confirmation = driver.node("confirm1")
    assert driver.frontier.states[confirmation.uid] is State.SKIPPED
    driver.frontier._only = [confirmation.uid]
    driver.frontier._pending = [confirmation]
    driver.run()
    assert confirmation.name not in driver.started


@pytest.mark.parametrize("ending", ["done", "pruned", "nan"])
@pytest.mark.parametrize(
    "name", ["82b/detrimental/seed0", "82b/detrimental/seed0/trial1", "82b/detrimental/seed0/trial3"]
)
def test_restarted_trial_of_any_origin_is_told_again_and_leaves_nothing_open(
    make: Make, name: str, ending: str
) -> None:
    plan = search_plan(trials=3, budgets=(82,), keep_searching=True, pruner="halving")
    gaps = {"done": 0.05, "pruned": 0.5, "nan": float("nan")}
    driver = make(plan, lambda node: (gaps[ending] if node.name.endswith(name) else 0.05, 0.3))
    driver.run()
    node = driver.node(name)
    restart(plan, driver.store, [node], children_too=False)
    driver.quality = lambda node: (0.02, 0.3)
    driver.restart()
    driver.run()
    driver.restart()
    assert driver.frontier.states[node.uid] is State.DONE
    runs = [(uid, "FINISHED" if s is State.DONE else "KILLED") for uid, s in driver.frontier.states.items()]
    assert compare(Snapshot(plan, driver.store), driver.studies, runs).disagreements == ()


def test_relaunches_do_not_tell_a_failure_again(make: Make) -> None:
    plan = search_plan(trials=3, budgets=(82,), keep_searching=True)
    driver = make(plan, lambda node: (float("nan") if node.trial_number == 2 else 0.05, 0.3))
    driver.run()
    before = [trial.state.name for trial in driver.optuna_trials(CELL.format("82b"))]
    assert before.count("FAIL") == 1
    for _ in range(2):
        driver.restart()
    assert [trial.state.name for trial in driver.optuna_trials(CELL.format("82b"))] == before
    # Its test split is finite, which is no reason to miss its value in the study.
    runs = [(node.uid, "FINISHED") for node in plan.nodes]
    assert compare(Snapshot(plan, driver.store), driver.studies, runs).disagreements == ()


def test_failed_trial_that_is_run_again_is_told_its_value(make: Make) -> None:
    plan = search_plan(trials=3, budgets=(82,), keep_searching=True)
    driver = make(plan, lambda node: (0.05, 0.3))
    for name in driver.moments():
        if name.endswith("trial2 handed out"):
            break
    node = next(iter(driver.frontier._running.values()))
    trial_of(driver.store, node).write_error(NonFiniteLossError("the loss became nan"))
    driver.restart()
    driver.run()
    assert driver.frontier.states[node.uid] is State.DIVERGED
    trial_of(driver.store, node).forget_failures()
    driver.restart()
    driver.run()
    states = [one.state.name for one in driver.optuna_trials(CELL.format("82b")) if one.user_attrs["uid"] == node.uid]
    assert states == ["FAIL", "COMPLETE"]


def test_lost_worker_after_pruning_changes_nothing(make: Make) -> None:
    driver = make()
    for name in driver.moments():
        if name == f"pair/{CELL.format('105b')}/trial2 ended, not told":
            break
    (trial_id,) = driver.frontier._running
    driver.frontier.on_trial_complete(trial_id, error=True)
    node = driver.node("105b/detrimental/seed0/trial2")
    assert trial_of(driver.store, node).error() is None
    assert driver.frontier.states[node.uid] is State.PRUNED


def test_gpu_hours_count_pruned_trials_and_end_the_search(make: Make) -> None:
    # Every search trial is pruned after two epochs of an hour each; the recipe as published would not be.
    alone = SEARCH | {"start_points": ("recipe",)}
    driver = make(search_plan(**alone, gpu_hours=4.0), lambda node: (0.03 + 0.01 * node.trial_number, 0.3))
    driver.run()
    begun = [name for name in driver.started if "/trial" in name]
    assert len(begun) == 2
    assert Counter(driver.states().values())[State.PRUNED] == 2


def test_neighbours_pair_is_tried_before_the_sampler_is_asked(make: Make) -> None:
    driver = make()
    driver.run()
    found, borrowed = (driver.recipes()[f"pair/{CELL.format(level)}/trial2"]["recipe"] for level in ("82b", "105b"))
    fields: Any = ("hinge_weight", "kd_weight", "margin")
    assert [borrowed[name] for name in fields] == [found[name] for name in fields]
    origins = [one.user_attrs["origin"] for one in driver.optuna_trials(CELL.format("105b"))]
    assert origins == ["recipe", "as-published", CELL.format("82b"), "tpe", "tpe"]


def test_finished_trials_leave_no_file_that_only_a_running_one_needs(make: Make) -> None:
    driver = make()
    driver.run()
    for node in driver.plan.nodes:
        folder = trial_of(driver.store, node).folder
        assert not folder.exists(RESUME)
        assert folder.exists(CHECKPOINT) == (driver.frontier.states[node.uid] is State.DONE)
