"""Ladders: which pair a student starts from, that it is kept, and what a user is told of it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.launch.restarts import restart
from orchestrator.plan import Node, Origin, Plan, build_plan
from orchestrator.reports.search.tables import overview_table
from orchestrator.reports.search.trials import trials_section
from orchestrator.reports.terminal import render
from orchestrator.results.searches import read_searches
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import read_trials
from orchestrator.results.verdicts import outcome_of
from orchestrator.search.arms import Arm
from orchestrator.search.comparison_arms import choices_for
from orchestrator.search.ladder import check_starts, nearest_first
from orchestrator.store.folder import CHECKPOINT
from orchestrator.store.inventory import find_garbage
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.grids.cells import Cell
from search_spaces.recipes import PairRecipe
from tests.orchestrator.made_up import pair_metrics
from tests.orchestrator.search_driver import SearchDriver, search_plan

CLIMBING = "pair.detrimental.start_from=neighbour"
PLAN = search_plan(epochs=1, trials=1, confirm_seeds=1, start_points=("recipe",), overrides=(CLIMBING,))
CELL = "test_resnet/I/{}/detrimental/seed0"


def plan_with(*overrides: str, grid: str = "quick", **choices: object) -> Plan:
    return build_plan(build_grid(grid, Choices(overrides=overrides, **choices), lambda _: 15), lambda _: 15)  # type: ignore[arg-type]


def recipe_of(node: Node) -> PairRecipe:
    assert isinstance(node.recipe, PairRecipe)
    return node.recipe


def quality(node: Node) -> tuple[float, float]:
    """60 bits have a hit at once, 82 bits in their second trial, 105 never."""
    assert node.cell is not None
    found_by = {"60b": 0, "82b": 1}.get(node.cell.budget_level, 99)
    return (0.0, 0.5) if node.trial_number >= found_by else (0.03, 0.3)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> SearchDriver:
    folder = tmp_path_factory.mktemp("climbed")
    driver = SearchDriver(PLAN, Store(str(folder / "storage")), folder / "studies.log", quality)
    driver.run()
    return driver


def starts(driver: SearchDriver) -> dict[str, str]:
    """Where students started, by the ends of names."""
    uids = {node.uid: node.name.removeprefix("pair/test_resnet/I/") for node in driver.plan.nodes}
    begun = {uid: trial_of(driver.store, driver.plan.node(uid)).recipe() for uid in uids}
    pairs = {uid: record for uid, record in begun.items() if record and record.cell_id}
    return {uids[uid]: uids[record.start_uid] if record.start_uid else "" for uid, record in pairs.items()}


def test_the_nearest_cells_have_the_set_then_the_nearest_sets_and_the_nearest_budgets() -> None:
    cells = plan_with(grid="families", seeds=(0, 1)).grid.cells
    (cell,) = [each for each in cells if each.cell_id == "resnet10t/III/C/detrimental/seed0"]
    nearest = [other.cell_id for other in nearest_first(cell, cells)]
    places = ("III/B", "III/A", "II/C", "II/B", "II/A", "I/C", "I/B", "I/A")
    assert nearest == [f"resnet10t/{place}/detrimental/seed0" for place in places]


def test_of_two_budgets_that_are_as_near_the_lower_one_comes_first() -> None:
    cells: tuple[Cell, ...] = search_plan(trials=1, budgets=(90, 70, 80)).grid.cells
    assert [other.recipe.budget for other in nearest_first(cells[2], cells)] == [70, 90]


def test_students_start_from_the_nearest_hit_that_is_known_and_else_from_the_white_box(climbed: SearchDriver) -> None:
    assert starts(climbed) == {
        "60b/detrimental/seed0": "",
        "82b/detrimental/seed0": "60b/detrimental/seed0",
        # 82 bits are nearer, and have no hit yet.
        "105b/detrimental/seed0": "60b/detrimental/seed0",
        "82b/detrimental/seed0/trial1": "60b/detrimental/seed0",
        "105b/detrimental/seed0/trial1": "82b/detrimental/seed0/trial1",
        "105b/detrimental/seed0/trial2": "82b/detrimental/seed0/trial1",
        # A confirmation starts where the pair did.
        "60b/detrimental/seed0/confirm1": "",
        "82b/detrimental/seed0/confirm1": "60b/detrimental/seed0",
    }


def test_a_point_of_a_climbing_pair_is_lent_like_any_other(climbed: SearchDriver) -> None:
    recipes = climbed.recipes()
    assert recipes[f"pair/{CELL.format('105b')}/trial1"]["point_from"] == CELL.format("82b")


def test_the_report_says_where_a_student_started_and_whether_further_seeds_did_too(climbed: SearchDriver) -> None:
    searches = read_searches(read_trials(Snapshot(climbed.plan, climbed.store)))
    buffer = io.StringIO()
    console = Console(file=buffer, width=250)
    console.print(render(overview_table([outcome_of(cell) for cell in searches])))
    trials = read_trials(Snapshot(climbed.plan, climbed.store))
    (table,) = trials_section(trials, None, storage="", runs={}).tables
    text = buffer.getvalue()
    start = "started from test_resnet/I/60b/detrimental/seed0"
    assert f"{start}; further seeds, too" in text
    assert {row[0].text: row[0].note.splitlines()[1:] for row in table.rows if "82b" in row[0].text} == {
        f"pair/{CELL.format('82b')}": [start],
        f"pair/{CELL.format('82b')}/trial1": [start],
        f"pair/{CELL.format('82b')}/confirm1": ["seed 1", start],
    }
    assert searches[0].trials[0].trial.started_from == ""


def test_confirmations_from_scratch_start_at_the_white_box(tmp_path: Path) -> None:
    plan = search_plan(
        epochs=1,
        trials=1,
        budgets=(60, 82),
        confirm_seeds=1,
        confirm_from_scratch=True,
        start_points=("recipe",),
        overrides=(CLIMBING,),
    )
    driver = SearchDriver(plan, Store(str(tmp_path / "s")), tmp_path / "log", lambda node: (0.0, 0.5))
    driver.run()
    assert starts(driver)["82b/detrimental/seed0"] == "60b/detrimental/seed0"
    assert starts(driver)["82b/detrimental/seed0/confirm1"] == ""
    (_, cell) = read_searches(read_trials(Snapshot(plan, driver.store)))
    buffer = io.StringIO()
    Console(file=buffer, width=250).print(render(overview_table([outcome_of(cell)])))
    assert "further seeds from scratch" in buffer.getvalue()
    # They are other trials than confirmations that start where the pair did.
    uids = [{node.uid for node in each.nodes if node.origin is Origin.CONFIRMED} for each in (plan, PLAN)]
    assert not uids[0] & uids[1]
    with pytest.raises(ConfigError, match="confirm_from_scratch=true confirms nothing"):
        search_plan(trials=1, confirm_from_scratch=True)


def test_a_start_that_is_restarted_is_waited_for_and_takes_along_what_came_of_it(
    climbed: SearchDriver, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "copy"))
    for path in climbed.store.root.sizes():
        content = climbed.store.root.read_bytes(path)
        assert content is not None
        store.root.write_bytes(path, content)
    first = climbed.node("60b/detrimental/seed0")
    with pytest.raises(ConfigError, match="trials were trained from what is to be restarted"):
        restart(climbed.plan, store, [first], children_too=False)
    restarted = {node.name.rpartition("I/")[2] for node in restart(climbed.plan, store, [first], children_too=True)}
    # All but the first cell's confirmation, which started at the white box.
    assert restarted == set(starts(climbed)) - {"60b/detrimental/seed0/confirm1"}
    again = SearchDriver(climbed.plan, store, tmp_path / "log", quality)
    assert {node.name.rpartition("I/")[2] for node in again.frontier.ready} & restarted == {"60b/detrimental/seed0"}
    again.run()
    assert starts(again) == starts(climbed)


def test_gc_keeps_what_a_student_started_from_though_no_sweep_has_it(climbed: SearchDriver, store: Store) -> None:
    parent = climbed.node("60b/detrimental/seed0")
    trial_of(store, parent).write_recipe(parent, {"start_from": None})
    trial_of(store, parent).write_result(pair_metrics(0.0, 0.5), {CHECKPOINT: b"x"}, seconds=1.0, data_sha256="d")
    mine = plan_with(f"pair.detrimental.start_from={parent.uid}", goals=("detrimental",), search={"trials": 0})
    check_starts(mine, store.uri)
    child = next(node for node in mine.nodes if node.cell)
    Sweep(store, "mine").save_plan(mine)
    assert [each.uid for each in find_garbage(store)] == [parent.uid]
    trial_of(store, child).write_recipe(child, None)
    assert find_garbage(store) == []
    assert trial_of(store, child).state() is State.WAITING


def test_uids_cover_the_start_and_others_stay() -> None:
    plain, climbing, named = (
        {node.name: node.uid for node in plan_with(*overrides).nodes}
        for overrides in ((), (CLIMBING,), ("pair.start_from=0123456789abcdef",))
    )
    searched = {name for name in plain if "/B/detrimental" in name}
    # Only the search of level B can name a neighbour; the paper's reading starts at the white box.
    published = "pair/test_resnet/I/B/detrimental/seed0/trial1"
    assert {name for name in plain if plain[name] != climbing[name]} == searched - {published}
    pairs = {name for name in plain if name.startswith("pair/")}
    assert {name for name in plain if plain[name] != named[name]} == pairs - {published}
    assert plain == {node.name: node.uid for node in plan_with("pair.start_from=white_box").nodes}


@pytest.mark.parametrize(
    ("overrides", "choices", "message"),
    [
        (["pair.start_from=neighbour"], {}, r"start_from=neighbour: a robust pair has no hits; .*pair\.detrimental\."),
        (["pair.start_from=best"], {}, r"give white_box, neighbour, or a finished pair's uid, 16 digits"),
        ([CLIMBING], {"search": {"trials": 0}}, r"start_from=neighbour says how to search, and no cell .* is searched"),
    ],
)
def test_a_start_that_means_nothing_is_one_line(overrides: list[str], choices: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_with(*overrides, **choices)


def test_a_start_that_is_not_there_is_one_line_before_anything_runs(climbed: SearchDriver) -> None:
    def check(uid: str, **choices: object) -> None:
        check_starts(plan_with(f"pair.start_from={uid}", **choices), climbed.store.uri)

    with pytest.raises(ConfigError, match=r"start_from=0123456789abcdef: of .* is no pair; name a pair that is done"):
        check("0123456789abcdef")
    waiting = next(node for node in climbed.plan.nodes if climbed.states()[node.name] is State.SKIPPED)
    with pytest.raises(ConfigError, match="name a pair that is done"):
        check(waiting.uid)
    done = climbed.node("60b/detrimental/seed0")
    check(done.uid)
    with pytest.raises(ConfigError, match=r"is pair/test_resnet.*, of another white box than pair/test_resnet"):
        check(done.uid, seeds=(1,))


def test_arms_other_than_the_search_start_at_the_white_box() -> None:
    choices = Choices(overrides=(CLIMBING,), search={"trials": 2})
    for arm in Arm:
        plan = build_plan(build_grid("quick", choices_for(arm, choices), lambda _: 15), lambda _: 15)
        found = {recipe_of(node).start_from for node in plan.nodes if node.cell and node.cell.search_trials}
        assert found <= ({"neighbour", None} if arm is Arm.SEARCH else {None})
