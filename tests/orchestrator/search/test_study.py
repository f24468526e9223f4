"""What a study is told and says while trials run, through the driver's own calls."""

from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection

from orchestrator.launch.ending.audit import compare
from orchestrator.plan import Node
from orchestrator.results.snapshot import Snapshot
from orchestrator.search.journal import JOURNAL, open_journal, sweep_journal
from orchestrator.search.study import kept_objectives
from orchestrator.store.states import State
from orchestrator.store.store import Store
from tests.orchestrator.search_driver import SearchDriver, search_plan

DROPS = (0.5, 0.1, 0.6, 0.2, 0.55)


def drop(node: Node) -> tuple[float, float]:
    return 0.0, DROPS[node.trial_number]


def test_a_trial_is_pruned_at_half_of_its_epochs_and_never_at_its_last(tmp_path: Path) -> None:
    plan = search_plan(
        budgets=(82,), epochs=4, trials=4, keep_searching=True, pruner="halving", start_points=("recipe",)
    )
    driver = SearchDriver(plan, Store(str(tmp_path / "storage")), tmp_path / "studies.log", drop)
    driver.run()
    # At the last epoch the fifth is behind the best half of three, where nothing is left to save.
    expected = (State.DONE, State.PRUNED, State.DONE, State.PRUNED, State.DONE)
    nodes = sorted((node for node in plan.nodes if node.cell), key=lambda node: node.trial_number)
    assert [driver.states()[node.name] for node in nodes] == list(expected)


def test_the_journal_of_a_local_sweep_is_made_with_its_folder_and_opened_again(tmp_path: Path) -> None:
    folder = Store(str(tmp_path / "storage")).sweep("mine")
    assert folder.local_path is not None
    assert not folder.local_path.exists()
    with sweep_journal(folder) as journal:
        study_id = journal.create_new_study([StudyDirection.MAXIMIZE], "one")
    assert (folder.local_path / JOURNAL).is_file()
    with sweep_journal(folder) as journal:
        assert journal.get_study_id_from_name("one") == study_id


SLOPES = ((-0.9, 0.01), (-0.5, 0.3), (0.4, 0.02), (0.1, 0.2), (0.7, 0.001))


def slopes(node: Node) -> tuple[float, float]:
    return SLOPES[node.trial_number]


def test_a_study_of_the_lag_is_told_the_lag_and_a_continuous_constraint(tmp_path: Path) -> None:
    """Accuracies of all trials are the same: only the slopes tell them apart."""
    plan = search_plan(budgets=(82,), trials=4, keep_searching=True, pruner="none", objective="lag")
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", lambda node: (0.02, 0.0), slopes)
    driver.run()
    (cell,) = driver.studies
    trials = sorted(driver.optuna_trials(cell), key=lambda trial: trial.number)
    # Ten times the gap beyond one point.
    expected = pytest.approx([lag - 0.1 for lag, _ in SLOPES], abs=1e-6)
    assert [trial.value for trial in trials] == expected
    assert [trial.intermediate_values[3] for trial in trials] == expected
    assert [trial.constraints["parity"] for trial in trials] == pytest.approx([0.01 + far for _, far in SLOPES])
    study = optuna.load_study(study_name=cell, storage=open_journal(driver.journal))
    assert study.metric_names == ["lag"]


@pytest.mark.parametrize("earlier", ["a study", "a result"])
def test_what_an_earlier_version_began_goes_on_with_the_drop_and_says_so(tmp_path: Path, earlier: str) -> None:
    """Results without a lag come first, then those of this version."""
    plan = search_plan(budgets=(82,), trials=4, keep_searching=True, pruner="none", objective="lag")
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", drop)
    (cell,) = driver.studies
    driver.studies[cell].maximizes = "drop"
    assert any("trial1 told" in moment for moment in driver.moments())
    if earlier == "a result":
        driver.journal.unlink()
    else:
        lines = driver.journal.read_text().splitlines(keepends=True)
        driver.journal.write_text("".join(line for line in lines if '"objective"' not in line))
    driver.slopes = slopes
    driver.restart()
    driver.run()
    assert sorted(trial.value for trial in driver.optuna_trials(cell)) == pytest.approx(sorted(DROPS))
    assert kept_objectives(driver.studies, plan.grid.search) == (
        f"1 of 1 studies maximize the drop and not the lag, since trials of an earlier version began them: {cell}; "
        "another --name begins new ones"
    )


def test_a_result_without_a_lag_that_comes_later_is_told_as_a_failure_with_its_reason(tmp_path: Path) -> None:
    plan = search_plan(budgets=(82,), trials=2, keep_searching=True, pruner="none", objective="lag")
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", drop, slopes)
    for moment in driver.moments():
        if "trial1 told" in moment:
            driver.slopes = None
    (cell,) = driver.studies
    last = driver.optuna_trials(cell)[-1]
    assert (last.state.name, last.user_attrs["untold"]) == ("FAIL", "its result has no lag")
    agreement = compare(Snapshot(plan, driver.store), driver.studies, None)
    assert agreement.disagreements == ("MLflow does not answer; the next launch replays what it lacks",)
