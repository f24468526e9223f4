"""A comparison shows the arms that were launched, each with what it found and what it spent."""

import json
from dataclasses import replace

from scipy import stats

from orchestrator.plan import build_plan
from orchestrator.reports.comparison.data import comparison, figure_comparison
from orchestrator.reports.comparison.launched import launched_plans, sweep_of
from orchestrator.reports.comparison.page import arms_table, comparison_page, write_comparison
from orchestrator.search.arms import Arm
from orchestrator.store.store import Store
from search_spaces.grids.build import build_grid
from tests.orchestrator.reports.made_up_arms import CHOICES, PLANS, finish, pairs, row_of, sites


def launch(store: Store, *arms: Arm, name: str = "mine") -> None:
    for arm in arms:
        sweep_of(arm, name, store).save_plan(PLANS[arm])


def test_an_arm_that_was_not_launched_is_not_shown_though_others_ran_trials_of_it(store: Store) -> None:
    launch(store, Arm.RECIPE, Arm.RANDOM)
    for place, arm in enumerate((Arm.RECIPE, Arm.RANDOM)):
        for node in pairs(arm):
            finish(store, node, ended_at=1000 + place, drop=0.5)
    plans = launched_plans("mine", {arm: PLANS[arm] for arm in (Arm.RECIPE, Arm.RANDOM)}, store, sites)
    page = comparison_page("mine", comparison(plans, store))
    texts = f"{page.headline} {page.progress} {[section.tables for section in page.sections]}"
    assert "random search 3 and 3" in texts
    assert Arm.SEARCH.label not in texts
    assert page.is_complete


def test_arms_that_were_launched_earlier_under_the_name_are_shown_in_order(store: Store) -> None:
    launch(store, Arm.GUMBEL, Arm.RECIPE)
    launch(store, Arm.RANDOM, name="another")
    plans = launched_plans("mine", {Arm.GUMBEL: PLANS[Arm.GUMBEL], Arm.FROZEN: PLANS[Arm.FROZEN]}, store, sites)
    assert list(plans.items()) == [(arm, PLANS[arm]) for arm in (Arm.RECIPE, Arm.GUMBEL)]
    said: list[str] = []
    narrower = build_plan(build_grid("families", replace(CHOICES, budgets=(70,)), sites), sites)
    assert launched_plans("mine", {Arm.SEARCH: narrower}, store, sites, said.append) == {}
    assert said == [
        "mine-recipe has other cells and is left out: add --arm recipe to run it on these",
        "mine-gumbel has other cells and is left out: add --arm gumbel to run it on these",
    ]


def test_arms_that_a_cap_kept_from_beginning_are_named_as_not_done(store: Store) -> None:
    for node in pairs(Arm.RECIPE):
        finish(store, node, ended_at=1000, drop=0.5)
    table = comparison({Arm.RECIPE: PLANS[Arm.RECIPE]}, store)
    assert comparison_page("mine", table).is_complete
    page = comparison_page("mine", table, not_launched=(Arm.STATIC,))
    assert not page.is_complete
    assert page.progress == "Not done: static allocation."


def test_penalty_says_what_it_really_spends(store: Store) -> None:
    first, second, _ = pairs(Arm.PENALTY)
    budgets = [node.cell.recipe.budget for node in (first, second) if node.cell]
    finish(store, first, ended_at=1000, drop=0.5, spent={"mean_bits": 1.1 * budgets[0], "on_budget": 0.0})
    finish(store, second, ended_at=1000, drop=0.5, spent={"mean_bits": 0.95 * budgets[1], "on_budget": 0.5})
    for node in pairs(Arm.RECIPE):
        finish(store, node, ended_at=1000, drop=0.5)
    table = comparison({arm: PLANS[arm] for arm in (Arm.RECIPE, Arm.PENALTY)}, store)
    exact = table[table["arm"] == Arm.RECIPE]
    assert (exact["mean_bits"] == exact["budget"]).all()
    assert (exact["on_budget"] == 1).all()
    rows = arms_table(table)
    assert rows.columns[-1].header == "bits spent"
    # Two of three cells have a pair: 110 % and 95 % of the budget, 0 and 50 % of the images on it.
    assert [(row[-1].text, row[-1].note) for row in rows.rows] == [("", ""), ("102.5 %", "[25 %]")]
    cells = next(section for section in comparison_page("x", table).sections if section.title == "Cells").tables[0]
    assert cells.rows[0][2].note.splitlines()[1] == f"{1.1 * budgets[0]:.1f} of {budgets[0]} bits"
    assert "bits" not in cells.rows[0][1].note
    assert "bits spent" not in [column.header for column in arms_table(exact).columns]


def test_without_a_search_arms_are_compared_with_the_recipe(store: Store) -> None:
    for arm in (Arm.RECIPE, Arm.GUMBEL):
        for node in pairs(arm):
            finish(store, node, ended_at=1000, drop=0.5 if arm is Arm.RECIPE else 0.0)
    table = comparison({arm: PLANS[arm] for arm in (Arm.RECIPE, Arm.GUMBEL)}, store)
    assert "log-rank: against our recipe" in arms_table(table).caption
    found, none = stats.CensoredData(uncensored=[2, 2, 2]), stats.CensoredData(right=[2, 2, 2])
    assert row_of(Arm.RECIPE, table)[-1] == ""
    assert row_of(Arm.GUMBEL, table)[-1] == f"{stats.logrank(none, found).pvalue:.3f}"
    alone = arms_table(comparison({Arm.GUMBEL: PLANS[Arm.GUMBEL]}, store))
    assert "log-rank" not in alone.caption
    assert "log-rank p" not in [column.header for column in alone.columns]


def test_every_arm_has_a_label_and_a_line_of_its_own_in_figure_and_files(store: Store) -> None:
    for place, arm in enumerate(Arm):
        for node in pairs(arm)[:3]:
            finish(store, node, ended_at=1000 + place, drop=0.5)
    table = comparison(PLANS, store)
    figure = figure_comparison(table)
    figure.draw_without_rendering()
    assert figure.bbox.containsx(figure.legends[0].get_window_extent().x0)
    assert figure.bbox.containsx(figure.legends[0].get_window_extent().x1)
    curves = [line for line in figure.axes[0].lines if not str(line.get_label()).startswith("_")]
    assert [line.get_label() for line in curves] == [arm.label for arm in Arm]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in curves}) == len(Arm)
    folder = store.root.folder("sweeps/x")
    write_comparison("x", table, folder)
    content = folder.read_bytes("comparison.json")
    assert content is not None
    assert {row["arm"] for row in json.loads(content)} == {str(arm) for arm in Arm}
