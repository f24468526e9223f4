"""What a report says of searches: verdicts, costs, pruning; numbers computed by hand on a hand-made store."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.reports.search.figures import figure_search_cost
from orchestrator.reports.search.pruning import ALL, rung_correlations
from orchestrator.reports.search.sections import search_files, search_sections, searches_of
from orchestrator.reports.search.tables import correlation_table, overview_table
from orchestrator.reports.search.trials import trials_section
from orchestrator.reports.terminal import render
from orchestrator.results.searches import SearchedCell, read_searches
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.time_to_pair import kaplan_meier, logrank_p, median_epochs, median_text, time_to_pair
from orchestrator.results.trials import read_trials
from orchestrator.results.verdicts import Outcome, chance_bound, outcome_facts, outcome_of
from orchestrator.search.journal import open_journal
from orchestrator.search.study import CellStudy
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from orchestrator.tracking.sweep_content import SEARCHES, sweep_content
from search_spaces.grids.build import Choices, build_grid
from search_spaces.loss_space import LossSpace
from tests.orchestrator.made_up import accuracies, pair_metrics, raised
from tests.orchestrator.reports.test_figures import texts
from trainables.assessment.paired import drop_interval

EPOCHS = 10
VALIDATION_GAP = 0.003
SEARCH = {"trials": 3, "levels": "all", "keep_searching": True, "confirm_seeds": 2}


def make_plan(folder: Path, **search: object) -> Plan:
    """Three searched cells A, B, C of four trials and two confirmations."""
    grid = {"name": "g", "base": "quick", "goals": ["detrimental"], "pair": {"epochs": EPOCHS}}
    path = folder / "g.yaml"
    path.write_text(json.dumps(grid | {"search": SEARCH | search}))
    return build_plan(build_grid(str(path), Choices(), lambda _: 15), lambda _: 15)


@dataclass
class Written:
    """A sweep whose trials a test writes by hand."""

    plan: Plan
    store: Store

    def node(self, name: str) -> Node:
        """The trial whose name ends so, e.g. `A/trial2` or `B/confirm1`; `A/trial0` is the first one."""
        level, _, rest = name.partition("/")
        ending = f"/I/{level}/detrimental/seed0" + ("" if rest == "trial0" else f"/{rest}")
        return next(node for node in self.plan.nodes if node.name.endswith(ending))

    def epochs(self, name: str, drops: list[float], *, ends: float = 0.0, seconds: float = 1.0) -> Node:
        """Writes a recipe and an epoch per drop; the last one ends at a second. Searched points are the sampler's."""
        node = self.node(name)
        trial_of(self.store, node).write_recipe(node, None, point_from="tpe" if node.is_searched else None)
        rows = [
            {"epoch": place + 1, "seconds": seconds, "timestamp_ms": int(1000 * (ends - len(drops) + place + 1))}
            | accuracies("validation", 0.0, drop)
            for place, drop in enumerate(drops)
        ]
        trial_of(self.store, node).folder.write_table("epochs.parquet", pa.Table.from_pylist(rows))
        return node

    def done(
        self,
        name: str,
        validation: float,
        test: float,
        *,
        ends: float = 0.0,
        seconds: float = 1.0,
        gap: float = 0.0,
        num_images: int | None = None,
    ) -> None:
        """Finishes a trial with a drop on each split; the gap is that on test, of which images may be counted."""
        node = self.epochs(name, [validation] * EPOCHS, ends=ends, seconds=seconds)
        metrics = pair_metrics(
            VALIDATION_GAP, validation, noise=0.005, test=(gap, test), test_noise=0.02, num_test_images=num_images
        )
        trial_of(self.store, node).write_result(metrics, {}, seconds=EPOCHS * seconds, data_sha256="")

    def searches(self) -> dict[str, SearchedCell]:
        """The searched cells, by budget level."""
        searches = read_searches(read_trials(Snapshot(self.plan, self.store)))
        return {searched.cell.budget_level: searched for searched in searches}

    def outcomes(self) -> dict[str, Outcome]:
        """What became of every search, by budget level."""
        return {level: outcome_of(searched) for level, searched in self.searches().items()}


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(make_plan(tmp_path), Store(str(tmp_path)))


@pytest.mark.parametrize(
    ("winner", "confirmations", "expected", "num_catastrophic"),
    [
        (0.8, (0.7, 0.6), "catastrophic", 3),
        (0.8, (0.7, 0.05), "sometimes", 2),
        (0.05, (0.7, 0.7), "sometimes", 2),
        (0.05, (0.02, 0.0), "validation only", 0),
        (0.8, (0.7, None), "catastrophic", 2),
        (0.8, (None, None), "catastrophic", 1),
        (0.05, (None, None), "validation only", 0),
    ],
)
def test_verdict_follows_the_seeds_on_which_the_pair_is_catastrophic_on_test(
    written: Written, winner: float, confirmations: tuple[float | None, ...], expected: str, num_catastrophic: int
) -> None:
    written.done("B/trial2", 0.8, winner)
    written.done("B/trial1", 0.05, 0.9)
    for number, drop in enumerate(confirmations, start=1):
        if drop is not None:
            # On validation no seed tells what the test split tells.
            written.done(f"B/confirm{number}", 0.9 - drop, drop)

    outcome = written.outcomes()["B"]

    assert outcome.verdict == expected
    assert outcome.finding is not None
    assert outcome.finding.pair.trial_number == 2
    assert outcome.finding.num_catastrophic == num_catastrophic


def test_intervals_are_students_over_seeds_and_the_images_own_for_a_single_pair(written: Written) -> None:
    for name, test, gap in (("A/trial0", 0.8, 0.0), ("A/confirm1", 0.7, 0.005), ("A/confirm2", 0.6, 0.01)):
        written.done(name, 0.9 - test / 2, test, gap=gap)
    written.done("B/trial0", 0.7, 0.5, gap=0.005, num_images=1000)

    several, single = (written.outcomes()[level].finding for level in "AB")

    assert several is not None
    assert single is not None
    # 4.302653 is Student's 97.5 % quantile of 2 degrees of freedom; the standard deviations are 0.1 and 0.005.
    half = 4.302653 / 3**0.5
    drop, gap = several.drop, several.parity_gap
    assert (drop.value, drop.low, drop.high) == pytest.approx((0.7, 0.7 - 0.1 * half, 0.7 + 0.1 * half))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.005, 0.005 - 0.005 * half, 0.005 + 0.005 * half))
    # Wilson's lower end for 3 of 3 is 1 / (1 + z^2 / 3).
    assert several.share.low == pytest.approx(1 / (1 + 1.959964**2 / 3), abs=1e-6)
    assert (single.drop.low, single.drop.high) == drop_interval(500, 500, 0, 0, 0.9)
    assert (single.parity_gap.low, single.parity_gap.high) == drop_interval(995, 5, 0, 0, 0.9)


def test_a_pair_whose_images_nobody_counted_has_no_interval_and_no_evidence(written: Written) -> None:
    written.done("B/trial0", 0.7, 0.5)
    finding = written.outcomes()["B"].finding
    assert finding is not None
    assert (finding.drop.value, finding.drop.low, finding.parity_gap.low) == (pytest.approx(0.5), None, None)
    assert (finding.num_catastrophic, finding.num_shown, finding.pair.evidence) == (1, None, "")


def test_verdicts_say_on_how_many_seeds_the_test_images_show_them(written: Written) -> None:
    # At 1,000 images a gap of 0.2 pp may be one of 1 pp only by a chance below 5 %, one of 0.5 pp by more.
    for name, gap in (("A/trial0", 0.002), ("A/confirm1", 0.005), ("A/confirm2", 0.0)):
        written.done(name, 0.5, 0.5, gap=gap, num_images=1000)
    written.done("B/trial0", 0.5, 0.5, gap=0.005, num_images=1000)

    searches = searches_of(written.plan, read_trials(Snapshot(written.plan, written.store)))

    assert searches is not None
    outcome = searches.outcomes[0]
    assert outcome.finding is not None
    assert [pair.is_shown for pair in outcome.finding.pairs] == [True, False, True]
    assert (outcome.verdict, outcome.finding.num_shown) == ("catastrophic", 2)
    section = search_sections(searches)[0]
    fields = [row[1] for row in section.tables[0].rows]
    assert (fields[0].text, fields[0].note) == ("catastrophic", "3 of 3 seeds\nshown on 2\n3 trials to come")
    assert fields[1].note.startswith("1 seed\nparity within\nnoise: needs")
    assert "The test images show a catastrophic pair in 1." in section.statement
    assert outcome_facts(outcome)["num_shown"] == 2


def test_interval_of_a_drop_ends_where_accuracies_do(written: Written) -> None:
    # Student's interval of these two seeds is 0.45 +- 5.08.
    written.done("A/trial0", 0.35, 0.85)
    written.done("A/confirm1", 0.34, 0.05)

    finding = written.outcomes()["A"].finding

    assert finding is not None
    assert finding.drop.value == pytest.approx(0.45)
    assert (finding.drop.low, finding.drop.high) == (-1.0, 1.0)


@pytest.mark.parametrize("num_drawn", [1, 4, 59])
def test_bound_of_a_chance_is_clopper_and_pearsons_one_sided_one(num_drawn: int) -> None:
    oracle = stats.binomtest(0, num_drawn, alternative="less").proportion_ci(0.95, method="exact")
    assert chance_bound(num_drawn) == pytest.approx(oracle.high)
    assert (1 - chance_bound(num_drawn)) ** num_drawn == pytest.approx(0.05)


def test_nothing_found_says_in_how_many_trials_and_bounds_the_chance_of_what_it_drew(written: Written) -> None:
    # Trials 0 and 1 are the recipe's and the published one, which every search has.
    for number in range(4):
        written.done(f"C/trial{number}", 0.05, 0.9)
    written.done("B/trial0", 0.05, 0.9)
    pruned = written.epochs("B/trial2", [0.0] * 5)
    trial_of(written.store, pruned).write_pruned(5)

    searches = searches_of(written.plan, read_trials(Snapshot(written.plan, written.store)))

    assert searches is not None
    section = search_sections(searches)[0]
    row = next(row for row in section.tables[0].rows if "I-C" in row[0].text)
    assert row[1].text == "not found in 4 trials"
    # 1 - 0.05^(1/2)
    assert (row[-1].text, row[-1].note) == ("below 77.6", "2 draws")
    assert "Where 2 draws found nothing, a draw of this search finds a pair with a chance below 77.6 %" in (
        section.caption
    )
    assert searches.outcomes[1].num_drawn == 0
    assert searches.outcomes[1].chance_high is None


def test_a_point_of_another_cell_is_no_draw(written: Written) -> None:
    written.done("C/trial2", 0.05, 0.9)
    node = written.node("C/trial2")
    trial_of(written.store, node).write_recipe(node, None, point_from="test_resnet/I/A/detrimental/seed0")
    written.done("C/trial3", 0.05, 0.9)
    assert written.outcomes()["C"].num_drawn == 1


def test_cost_counts_what_ended_until_the_first_pair_pruned_and_failed_trials_too(written: Written) -> None:
    written.done("A/trial0", 0.05, 0.05, ends=100, seconds=2)
    pruned = written.epochs("A/trial1", [0.0] * 5, ends=50, seconds=3)
    trial_of(written.store, pruned).write_pruned(5)
    failed = written.epochs("A/trial2", [0.0], ends=70)
    trial_of(written.store, failed).write_error(raised(RuntimeError("lost")))
    # Trial 3 is not the first to end, and whatever ends after it costs nothing any more.
    written.done("A/trial3", 0.5, 0.05, ends=90, seconds=4)

    outcome = written.outcomes()["A"]

    assert outcome.trials_to_first == 3
    assert outcome.device_seconds_to_first == 5 * 3 + 1 + 10 * 4
    assert (outcome.epochs_to_first, outcome.num_epochs) == (5 + 1 + 10, 5 + 1 + 10 + 10)
    assert (outcome.num_ended, outcome.device_seconds, outcome.num_trials) == (4, 76, 3)
    assert outcome.first is not None
    assert not outcome.first.catastrophic
    content = sweep_content(read_trials(Snapshot(written.plan, written.store)), "")
    table = json.loads(content.tables[SEARCHES])
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert row["cell"] == outcome.searched.cell.cell_id
    assert (row["trials_to_first"], row["epochs_to_first"], row["device_seconds_to_first"]) == (3, 16, 56)
    assert (row["num_trials_ended"], row["epochs"], row["num_catastrophic"]) == (4, 26, 0)
    assert not [point.key for point in content.points if point.key.startswith("search")]


def test_share_of_a_gpu_counts_as_that_share(written: Written) -> None:
    node = written.epochs("A/trial0", [0.0, 0.0])
    folder = trial_of(written.store, node)
    rows = [row | {"gpu_seconds": 0.25 * row["seconds"]} for row in folder.epochs()]
    folder.folder.write_table("epochs.parquet", pa.Table.from_pylist(rows))
    assert written.searches()["A"].trials[0].device_seconds == pytest.approx(0.5)


def test_curve_of_a_textbook_matches_its_printed_values() -> None:
    # Remission in weeks under 6-mercaptopurine (Freireich et al. 1963), the usual example of Kaplan-Meier.
    found = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]

    curve = kaplan_meier([*found, *censored], [True] * 9 + [False] * 12)

    steps = curve[curve["num_found"] > 0].set_index("epochs")
    shares = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert list(steps["share"]) == pytest.approx(shares, abs=6e-4)
    assert list(steps["num_at_risk"]) == [21, 17, 15, 12, 11, 7, 6]
    # SAS and R, log-log.
    assert steps.loc[6, ["share_low", "share_high"]].tolist() == pytest.approx([0.620, 0.952], abs=1e-3)
    assert steps.loc[23, ["share_low", "share_high"]].tolist() == pytest.approx([0.188, 0.680], abs=1e-3)
    assert median_epochs(curve) == (23, True)


def test_median_that_was_not_reached_lies_above_the_longest_search() -> None:
    curve = kaplan_meier([10, 30, 40], [True, False, False])
    assert curve["share"].tolist() == pytest.approx([2 / 3] * 3)
    assert median_text(curve) == "> 40 epochs"


def test_logrank_of_a_textbook_matches_its_printed_value() -> None:
    # 6-mercaptopurine against placebo (Freireich et al. 1963): chi-square 16.79 with one degree of freedom.
    treated = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    p_value = logrank_p(treated, [True] * 9 + [False] * 12, placebo, [True] * 21)
    assert stats.chi2.isf(p_value, 1) == pytest.approx(16.79, abs=0.005)
    assert math.isnan(logrank_p([3, 4], [False, False], [5], [False]))
    assert math.isnan(logrank_p([], [], [5], [True]))


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=12))
def test_curve_falls_within_its_band_and_is_the_plain_share_without_censoring(cells: list[tuple[int, bool]]) -> None:
    times, is_found = [float(time) for time, _ in cells], [found for _, found in cells]
    curve = kaplan_meier(times, is_found)
    assert curve["share"].is_monotonic_decreasing
    known = curve.dropna()
    assert ((known["share_low"] <= known["share"]) & (known["share"] <= known["share_high"])).all()
    plain = kaplan_meier(times, [True] * len(times))
    for row in plain.to_dict("records"):
        assert row["share"] == pytest.approx(sum(time > row["epochs"] for time in times) / len(times))


def test_correlation_is_of_ranks_within_cells_and_counts_finished_trials_only(written: Written) -> None:
    # In either cell ranks are reversed, though the values of the easy cell are higher throughout.
    for level, base in (("A", 0.0), ("B", 0.5)):
        for number in range(4):
            rises = [base + number / 100] * 5 + [base + 0.3 - number / 100] * 5
            node = written.epochs(f"{level}/trial{number}", rises)
            metrics = pair_metrics(0.0, rises[-1])
            trial_of(written.store, node).write_result(metrics, {}, seconds=10, data_sha256="")
    pruned = written.epochs("C/trial1", [0.1] * 5, seconds=2)
    trial_of(written.store, pruned).write_pruned(5)
    searches = tuple(written.searches().values())

    found = rung_correlations(searches).set_index("cell")

    assert found["spearman"].tolist() == pytest.approx([-1, -1, -1])
    assert found["num_trials"].tolist() == [4, 4, 8]
    assert found.index[-1] == ALL
    assert found["epoch"].tolist()[:2] == [5, 5]
    assert searches[2].trials[1].saved_device_seconds == 5 * 2
    # Every correlation is there, so that there is nothing to explain.
    headers = [column.header for column in correlation_table(rung_correlations(searches), searches).columns]
    assert headers[1:] == ["after epoch", "trials", "Spearman"]


def test_tables_show_origin_all_searched_fields_and_what_pruned_and_skipped_trials_are(tmp_path: Path) -> None:
    space = {"margin": [0.003, 0.5], "temperature": [1, 10], "batch_norm": ["frozen", "both"], "kd_weight": None}
    space |= {"hinge_weight": None}
    plan = make_plan(tmp_path, space=space, keep_searching=False, levels=["B"], confirm_seeds=0)
    written = Written(plan, Store(str(tmp_path)))
    cell = written.node("B/trial2").cell
    assert cell is not None
    study = CellStudy(cell, open_journal(tmp_path / "studies.log"), plan.grid.search)
    node = written.node("B/trial2")
    borrowed = ("test_resnet/I/A/detrimental/seed0", {"margin": 0.2, "temperature": 2.0, "batch_norm": "both"})
    point = study.point(node, trial_of(written.store, node), borrowed)
    trial_of(written.store, node).write_recipe(node, point, point_from=study.point_from(node))
    trial_of(written.store, node).write_pruned(5)
    written.done("B/trial0", 0.5, 0.45, gap=0.002)

    trials = read_trials(Snapshot(plan, written.store))
    section = trials_section(trials, searches_of(plan, trials), storage="s3://mine/a b", runs={node.uid: "http://m/1"})
    (table,) = section.tables

    assert [column.header for column in table.columns[1:4]] == ["margin", "temperature", "batch_norm"]
    rows = {row[0].anchor: [field.text for field in row] for row in table.rows}
    notes = {row[0].anchor: [field.note.splitlines() for field in row] for row in table.rows}
    begun, first = node.uid, written.node("B/trial0").uid
    assert rows[begun][1:4] == ["0.2", "2", "both"]
    assert notes[begun][0] == [begun, f"from {borrowed[0]}"]
    assert (rows[begun][-3], notes[begun][-3]) == ("pruned", ["saved 0 s"])
    assert rows[first][1:4] == ["0.01", "5", "frozen"]
    assert rows[first][4:8] == ["89.70", "-50.00", "+0.30", "50.00"]
    assert rows[first][9:12] == ["-45.00", "+0.20", "catastrophic"]
    assert notes[first][0] == [first, "chosen", "on the front", "from recipe"]
    opens = {row[0].anchor: row[-1] for row in table.rows}
    assert dict(opens[first].links) == {
        "result": f"../../pair/{first}/result.json",
        "epochs": f"../../pair/{first}/epochs.parquet",
    }
    assert opens[first].command == f"dptq-sweep reproduce {first} --storage 's3://mine/a b'"
    assert opens[begun].links == (("MLflow", "http://m/1"),)
    assert opens[begun].command == ""
    assert written.searches()["B"].num_skipped == 7 - 2
    assert section.caption.endswith("Skipped by their searches: 5 trials.")


def test_start_point_that_another_sweep_began_has_the_origin_that_this_plan_gives_it(written: Written) -> None:
    # The arm as published of a comparison runs it as the recipe of its own grid.
    node = written.node("B/trial1")
    trial_of(written.store, node).write_recipe(node, None, point_from="recipe")
    trials = written.searches()["B"].trials
    assert [each.trial.point_from for each in trials[:2]] == ["recipe", "as-published"]


def test_figure_marks_censored_cells_and_needs_two_cells(written: Written) -> None:
    written.done("A/trial0", 0.5, 0.5, seconds=60)
    written.done("B/trial0", 0.05, 0.5, seconds=90)
    written.done("B/trial1", 0.05, 0.5, seconds=90)
    curve = time_to_pair(list(written.outcomes().values()))

    figure = figure_search_cost(curve)

    assert "training epochs in one cell" in texts(figure)
    assert "search ended without a hit" in texts(figure)
    panel = figure.axes[0]  # type: ignore[union-attr]
    assert list(panel.lines[0].get_xdata()) == [0, 10, 20]
    assert list(panel.lines[0].get_ydata()) == [100, 50, 50]
    assert list(panel.lines[1].get_xdata()) == [20]
    assert figure_search_cost(curve.tail(1)) is None


def test_files_and_json_hold_plain_values_and_a_terminal_line_fits(written: Written) -> None:
    written.done("A/trial0", 0.6, 0.8)
    written.done("B/trial0", 0.05, 0.8)
    trials = read_trials(Snapshot(written.plan, written.store))
    searches = searches_of(written.plan, trials)
    assert searches is not None

    files = search_files(searches)
    cells = files["search_cells"].set_index("budget_level")
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render(overview_table(searches.outcomes)))

    assert cells.loc["A", "verdict"] == "catastrophic (1 seed)"
    assert cells.loc["A", "drop"] == pytest.approx(0.8)
    assert pd.isna(cells.loc["B", "trials_to_first"])
    assert cells.loc["B", "num_trials_drawn"] == 0
    assert pd.isna(cells.loc["B", "chance_per_trial_high"])
    assert len(files["search_trials"]) == 3 * 4 + 2 * 3
    facts = json.loads(json.dumps([outcome_facts(outcome) for outcome in searches.outcomes], allow_nan=False))
    assert [each["trials_to_first"] for each in facts] == [1, None, None]
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 100
    assert any("catastrophic" in line for line in lines)
    assert any("not found in 1 trial " in line and "> 10" in line for line in lines)


def test_sweep_without_a_search_says_nothing_of_searches(tmp_path: Path) -> None:
    plan = build_plan(build_grid("quick", Choices(search={"trials": 0}), lambda _: 15), lambda _: 15)
    store = Store(str(tmp_path))
    assert searches_of(plan, read_trials(Snapshot(plan, store))) is None
    assert SEARCHES not in sweep_content(read_trials(Snapshot(plan, store)), "").tables
    assert LossSpace().fields == ("hinge_weight", "kd_weight", "margin")
