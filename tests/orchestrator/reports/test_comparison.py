"""The arms of a comparison share what they can, and the table says what each found and spent."""

import pandas as pd
import pytest
from scipy import stats

from orchestrator.reports.comparison.data import comparison, figure_comparison, without_pair
from orchestrator.reports.comparison.page import comparison_page, write_comparison
from orchestrator.results.time_to_pair import median_text
from orchestrator.search.arms import DEFAULT_ARMS, Arm
from orchestrator.store.store import Store
from search_spaces.loss_space import as_published
from search_spaces.stages.registry import Stage
from tests.orchestrator.reports.made_up_arms import PLANS, finish, pairs, row_of, shown


def test_arms_look_at_the_same_cells() -> None:
    cells = [{node.cell_id for node in pairs(arm)} for arm in Arm]
    assert len(cells[0]) == 3
    assert all(each == cells[0] for each in cells)


def test_recipe_and_as_published_are_the_first_trials_of_the_search() -> None:
    search = {node.name: node for node in pairs(Arm.SEARCH)}
    for node in pairs(Arm.RECIPE):
        assert node.uid == search[node.name].uid
    for node in pairs(Arm.AS_PUBLISHED):
        assert node.uid == search[f"{node.name}/trial1"].uid
        cell = search[node.name].cell
        assert cell is not None
        assert node.recipe == as_published(cell.recipe)


def test_a_trial_that_arms_share_is_never_pruned() -> None:
    owners = [{node.uid for node in plan.nodes} for plan in PLANS.values()]
    shared = [node for node in pairs(Arm.SEARCH) if sum(node.uid in uids for uids in owners) > 1]
    assert len(shared) == 6
    assert not any(node.is_prunable for node in shared)
    assert all(node.is_prunable for node in pairs(Arm.SEARCH) if node not in shared)


def test_random_search_shares_teacher_and_white_boxes_with_the_search_and_nothing_else() -> None:
    shared = PLANS[Arm.RANDOM].by_uid().keys() & PLANS[Arm.SEARCH].by_uid().keys()
    assert {PLANS[Arm.SEARCH].node(uid).stage for uid in shared} == {Stage.TEACHER, Stage.DISTILL}
    assert all(node.is_searched for node in pairs(Arm.RANDOM))
    assert len(pairs(Arm.RANDOM)) == len(pairs(Arm.SEARCH))


def test_costs_up_to_the_first_pair_count_all_trials_that_ended_before(store: Store) -> None:
    first, second, *_ = [node for node in pairs(Arm.RANDOM) if node.cell_id == pairs(Arm.RANDOM)[0].cell_id]
    # The second trial ends first and loses parity; the first one holds.
    finish(store, second, ended_at=1000, drop=0.9, gap=0.3, seconds=30.0)
    finish(store, first, ended_at=2000, drop=0.8, seconds=12.0)
    table = comparison(PLANS, store)
    row = table[(table["arm"] == Arm.RANDOM) & (table["cell_id"] == first.cell_id)].iloc[0]
    assert row["found"]
    assert row["catastrophic"]
    assert row["chosen_uid"] == first.uid
    assert (row["trials_to_first"], row["epochs_to_first"], row["device_seconds_to_first"]) == (2, 4, 42.0)
    assert (row["trials"], row["epochs"], row["device_seconds"]) == (2, 4, 42.0)
    others = table[(table["arm"] == Arm.RANDOM) & (table["cell_id"] != first.cell_id)]
    assert not others["found"].any()
    assert others["trials_to_first"].isna().all()
    assert not others["is_done"].any()


def test_a_pair_that_does_not_hold_on_test_is_found_and_not_held(store: Store) -> None:
    node = pairs(Arm.RECIPE)[0]
    finish(store, node, ended_at=1000, drop=0.5, test=(0.1, 0.45))
    table = comparison({Arm.RECIPE: PLANS[Arm.RECIPE]}, store)
    assert table["found"].tolist() == [True, False, False]
    assert table["catastrophic"].tolist() == [False, False, False]
    assert row_of(Arm.RECIPE, table)[1:4] == ["1 of 3", "1", "0"], "cells that are done, found and held"


def test_a_pair_that_was_not_found_does_not_hold_however_lucky_it_is_on_test(store: Store) -> None:
    lucky, shown_one, _ = pairs(Arm.RECIPE)
    finish(store, lucky, ended_at=1000, drop=0.05, test=(0.0, 0.5))
    finish(store, shown_one, ended_at=1000, drop=0.5, test=(0.0, 0.5), num_images=359)
    table = comparison({Arm.RECIPE: PLANS[Arm.RECIPE]}, store)
    assert table["catastrophic"].tolist() == [True, True, False]
    assert table["held"].tolist() == [False, True, False]
    assert table["shown"].tolist() == [False, True, False]
    assert row_of(Arm.RECIPE, table)[2:5] == ["1", "1", "1"], "found, held and shown"


def test_arms_are_compared_by_the_logrank_test_over_epochs(store: Store) -> None:
    for node in pairs(Arm.RECIPE):
        finish(store, node, ended_at=1000, drop=0.5)
    for node in pairs(Arm.AS_PUBLISHED):
        finish(store, node, ended_at=1000, drop=0.0)
    table = comparison(PLANS, store)
    # In the search both are trials; each of its cells has its pair after the first two epochs.
    published, searched = stats.CensoredData.right_censored([2] * 3, [True] * 3), stats.CensoredData([2.0] * 3)
    expected = stats.logrank(published, searched).pvalue
    assert row_of(Arm.AS_PUBLISHED, table)[-1] == f"{expected:.3f}"
    assert row_of(Arm.SEARCH, table)[-1] == ""


@pytest.mark.parametrize(
    ("to_first", "spent", "expected"),
    [
        ([10.0, 20.0, 90.0], [10.0, 20.0, 90.0], "20 epochs"),
        ([10.0, 20.0, None, None], [10.0, 20.0, 70.0, 80.0], "20 epochs"),
        ([10.0, None, None], [10.0, 70.0, 80.0], "> 80 epochs"),
        # Given up after 5, the second cell says nothing of later: of three that were searched longer two have a pair.
        ([10.0, None, 60.0, None], [10.0, 5.0, 60.0, 80.0], "60 epochs"),
    ],
)
def test_median_is_censored_where_too_few_cells_have_a_pair(
    to_first: list[float | None], spent: list[float], expected: str
) -> None:
    cells = pd.DataFrame({"epochs_to_first": to_first, "epochs": spent})
    assert median_text(without_pair(cells)) == expected


def test_share_of_cells_that_hold_has_an_interval_once_all_are_done(store: Store) -> None:
    *others, last = pairs(Arm.RECIPE)
    for node in others:
        finish(store, node, ended_at=1000, drop=0.5)
    plans = {Arm.RECIPE: PLANS[Arm.RECIPE]}
    row = next(line for line in shown(comparison(plans, store)).splitlines() if "our recipe" in line)
    assert "2 of 3" in row
    assert "%" not in row
    finish(store, last, ended_at=1000, drop=0.0)
    row = next(line for line in shown(comparison(plans, store)).splitlines() if "our recipe" in line)
    assert " of " not in row
    # The three cells share their white box: 2 of 3 of a single cluster.
    assert "9 to 97 %" in row


def test_table_and_figure_are_shown_and_saved(store: Store) -> None:
    for place, node in enumerate(pairs(Arm.RECIPE)):
        finish(store, node, ended_at=1000 + place, drop=0.5 * place)
    table = comparison(PLANS, store)
    text = shown(table)
    assert "our recipe" in text
    assert row_of(Arm.RECIPE, table) == [
        *("our recipe", "3", "2", "2", "0", "9 to 97 %", "3", "6", "0.01", "2 epochs", "1.000"),
    ]
    assert "random search" not in text, "an arm that was not run has no row"
    (panel,) = figure_comparison(table).axes
    assert "training epochs spent on a cell" in panel.get_xlabel()
    # Two of three cells have a pair, all after two epochs.
    assert list(panel.lines[0].get_xdata()) == [0, 2]
    assert panel.lines[0].get_ydata()[-1] == pytest.approx(100 / 3)
    folder = store.root.folder("sweeps/x")
    paths = write_comparison("x", table, folder)
    assert sorted(folder.names()) == sorted(path.rpartition("/")[2] for path in paths)
    assert len(pd.read_csv(f"{folder.root}/comparison.csv")) == len(table)


def test_page_names_what_every_arm_has_in_every_cell(store: Store) -> None:
    held, lost, _ = pairs(Arm.RECIPE)
    finish(store, held, ended_at=1000, drop=0.5, gap=0.005)
    finish(store, lost, ended_at=1000, drop=0.5, test=(0.1, 0.45))
    page = comparison_page("mine", comparison({arm: PLANS[arm] for arm in DEFAULT_ARMS}, store))
    assert "our recipe 2 and 1" in page.headline
    assert not page.is_complete
    assert page.progress == "Not done: as published, our recipe, random search, the search."
    cells = next(section for section in page.sections if section.title == "Cells").tables[0]
    assert [column.header for column in cells.columns] == ["cell", "our recipe", "the search"]
    texts = [[(field.text, field.note) for field in row[:2]] for row in cells.rows]
    assert texts == [
        [("resnet10t I-A", ""), ("catastrophic", "-47.00 at +0.70 [1]")],
        [("resnet10t I-B", ""), ("on validation only", "-45.00 at +10.00 [1]")],
        [("resnet10t I-C", ""), ("", "")],
    ]
