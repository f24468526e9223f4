"""What a study is told and says while trials run, through the driver's own calls."""

from pathlib import Path

from optuna.study import StudyDirection

from orchestrator.plan import Node
from orchestrator.search.study import JOURNAL, sweep_journal
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
