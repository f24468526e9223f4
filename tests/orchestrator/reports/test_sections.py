"""A page from whatever analyses there are: its sections, its files, and what a real browser says of it."""

import json
import subprocess
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.analyses.results import SweepTables
from orchestrator.analyses.tasks import Missing
from orchestrator.plan import Node, Plan, build_plan
from orchestrator.reports.analyses.registry import analysis_sections, derived_tables
from orchestrator.reports.decisions import decisions_table
from orchestrator.reports.document import Page, Section
from orchestrator.reports.layout import LONG_TABLE, Column, Field, TextTable
from orchestrator.reports.page import FILES, write_report
from orchestrator.reports.rendering import html_page, markdown
from orchestrator.results.pairs import PairRecord, pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of
from search_spaces.analyses import ANALYSES
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import pair_metrics
from tests.orchestrator.tiny_analyses import contrast, indicator_table, tiny_analyses

TITLES = {
    "transitory": "Table 2: transitory points",
    "cross_policy": "Table 3: every network under every policy",
    "layers": "Figure 2: where accuracy is lost",
    "histograms": "Figure 3: what happens to activations",
    "corruptions": "Figure 4: corrupted images",
    "mitigation": "Mitigation",
    "repairs": "Repairs",
    "twins": "Twins",
    "adverse_inputs": "Adverse inputs",
    "indicators": "Indicators",
}
SEARCH = {"keep_searching": True, "start_points": ("recipe",)}


@pytest.fixture(scope="module")
def plan() -> Plan:
    # With a search that skips no trial.
    return build_plan(build_grid("quick", Choices(search={"keep_searching": True}), lambda _: 15), lambda _: 15)


def result_of(node: Node, metrics: dict[str, float]) -> dict[str, object]:
    return {"schema": 1, "uid": node.uid, "metrics": metrics, "files": {}, "seconds": 1.0}


def fill(plan: Plan, store: Store) -> list[PairRecord]:
    """Finishes all pairs; those of level A drop most."""
    drops = {"A": 0.8, "B": 0.5, "C": 0.3}
    for node in plan.nodes:
        folder = store.trial(node.stage, node.uid)
        if node.stage is not Stage.PAIR or node.cell is None:
            folder.write_json("result.json", result_of(node, {"test/accuracy": 0.96875}))
            continue
        trial_of(store, node).write_recipe(node, None)
        drop = drops[node.cell.budget_level] if node.cell.goal is Goal.DETRIMENTAL else 0.0
        metrics = pair_metrics(0.005, drop, test=(0.01, drop - 0.02))
        folder.write_json("result.json", result_of(node, metrics))
    return pair_records(Snapshot(plan, store))


@pytest.fixture(scope="module")
def analyzed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    """The folder of a sweep's report with all analyses, and their tables."""
    storage = tmp_path_factory.mktemp("storage")
    store = Store(str(storage))
    records = fill(plan, store)
    analyses = tiny_analyses([contrast("A"), contrast("B", budget=82)])
    analyses["indicators"] = indicator_table(records)
    write_report(Snapshot(plan, store), "demo", facts={"seed": "0"}, analyses=SweepTables(tables=analyses))
    return storage / "sweeps" / "demo", analyses


def headings(page: str) -> list[str]:
    """Titles of a page's sections."""

    class Headings(HTMLParser):
        found: list[str]
        is_inside = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.is_inside = tag == "h2"

        def handle_data(self, data: str) -> None:
            if self.is_inside:
                self.found.append(data)
                self.is_inside = False

    reader = Headings()
    reader.found = []
    reader.feed(page)
    return reader.found


def test_sections_stand_in_reading_order(analyzed: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    page = (analyzed[0] / "report.html").read_text()
    expected = ["Table 1", "What quantization costs", "Analyses", *TITLES.values()]
    expected += ["Search: what it found", "Search: what it cost", "Search: all trials"]
    expected += ["Trials", "Decisions in force", "Terms", "Facts"]
    assert headings(page) == expected
    text = (analyzed[0] / "report.md").read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == expected
    assert "Figures show 1 of 3 cells" in page
    assert "test_resnet I-A, 60 bits; tables and the files" in page


def test_every_analysis_with_a_figure_draws_the_shown_cell(analyzed: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    folder = analyzed[0]
    names = {path.stem for path in folder.glob("figure_*.png")}
    # The table of the twins says all of it.
    for analysis in TITLES.keys() - {"twins"}:
        assert [name for name in names if name.startswith(f"figure_{analysis}")], analysis
    assert "of the test images are transitory" in (folder / "report.md").read_text()


def test_every_table_is_a_file_and_lists_are_in_parquet_only(analyzed: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    folder, analyses = analyzed
    names = {path.stem for path in (folder / "analyses").iterdir()}
    derived = {"table2", "transitory_points", "transitory_overlaps", "table3", "layer_effects", "layer_inflections"}
    derived |= {"histogram_summary", "collapse_correlations", "corruption_summary", "corruption_curves"}
    own = {
        "mitigation_summary",
        "repair_matrix",
        "repair_white_boxes",
        "twin_drops",
        "adverse_summary",
        "indicator_correlations",
    }
    assert names == set(analyses) | derived | own
    flat = pd.read_csv(folder / "analyses" / "transitory.csv")
    whole = pd.read_parquet(folder / "analyses" / "transitory.parquet")
    assert set(whole.columns) - set(flat.columns) == {"bit_width", "thumbnail"}
    assert list(whole["bit_width"][5]) == [3, 4, 5]
    assert len(flat) == len(whole) == 20
    written = json.loads((folder / FILES).read_text())["files"]
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert on_disk == {*written, FILES}


def test_a_later_report_removes_what_only_an_earlier_one_wrote(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    fill(plan, store)
    folder = tmp_path / "sweeps" / "demo"
    write_report(
        Snapshot(plan, store), "demo", facts={}, analyses=SweepTables(tables={"layers": tiny_analyses()["layers"]})
    )
    (folder / "figure_mine.png").write_bytes(b"kept: no report wrote it")
    assert (folder / "figure_layers_test_resnet.png").exists()

    write_report(Snapshot(plan, store), "demo", facts={}, analyses=SweepTables(tables={}))

    assert not list(folder.glob("figure_layers*"))
    assert not list((folder / "analyses").iterdir())
    assert (folder / "figure_mine.png").exists()
    assert (folder / "figure_table1.png").exists()


def test_a_list_of_files_that_was_edited_removes_nothing_else(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    fill(plan, store)
    folder = tmp_path / "sweeps" / "demo"
    others = ["plan.json", "../other/report.md", "analyses/../plan.json", "figure_../../x.png"]
    for name in others:
        store.sweep("demo").write_bytes(name, b"{}")
    store.sweep("demo").write_json(FILES, {"files": others})

    write_report(Snapshot(plan, store), "demo", facts={}, analyses=SweepTables(tables={}))

    assert all((folder / name).exists() for name in others)


@pytest.mark.slow
def test_few_analyses_and_nearly_all_of_them_make_a_page() -> None:
    analyses = tiny_analyses() | {"indicators": indicator_table([])}
    analyses["indicators"] = pd.DataFrame([{**contrast(), "kurtosis_max": 1.0}])
    # One analysis asks for another at most, so each two must occur together, alone, and both missing. Two different
    # columns of six rows with four ones each do, with a row of zeros (Kleitman and Spencer 1973).
    rows = range(6)
    columns = dict(zip(ANALYSES, combinations(rows, 4), strict=False))
    subsets = [set[str](), *({name for name in ANALYSES if row in columns[name]} for row in rows)]
    for one, other in combinations(ANALYSES, 2):
        assert len({(one in names, other in names) for names in subsets}) == 4
    # Without a cell to show, so without figures: drawing all pages takes minutes.
    for names in subsets:
        some = {name: analyses[name] for name in names}
        sections = analysis_sections(some, derived_tables(some, [], dataset="digits"), [])
        assert [section.title for section in sections] == [title for name, title in TITLES.items() if name in names]
        page = Page(title="t", headline="h", progress="p", is_complete=True, sections=tuple(sections))
        assert headings(html_page(page)) == [section.title for section in sections]
        assert markdown(page).count("\n## ") == len(names)


def test_analyses_that_were_begun_and_not_done_are_listed(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    fill(plan, store)
    missing = [Missing("layers/test_resnet/I/A/robust/seed0", "interrupted")]

    write_report(Snapshot(plan, store), "demo", facts={}, analyses=SweepTables(tables={}, missing=missing))

    text = (tmp_path / "sweeps" / "demo" / "report.md").read_text()
    assert "| layers/test\\_resnet/I/A/robust/seed0 | not analyzed | interrupted |" in text
    assert "Complete: 12 of 12 trials done." in text


@pytest.mark.parametrize("goal", list(Goal))
def test_analyses_of_one_goal_make_a_page(goal: Goal) -> None:
    tables = tiny_analyses()
    some = {name: tables[name] for name in ("layers", "histograms", "corruptions", "mitigation")}
    some = {name: table[table["goal"] == goal] for name, table in some.items()}
    cell = {"architecture": "test_resnet", "option_set": "I", "budget_level": "A", "budget": 60}
    sections = analysis_sections(some, derived_tables(some, [], dataset="digits"), [cell])
    assert [len(section.pictures) for section in sections] == [1, 1, 1, 1]


def test_long_tables_are_folded_and_empty_sections_left_out() -> None:
    table = TextTable("Long", (Column("x"),), ((Field("1"),),) * (LONG_TABLE + 1))
    short = TextTable("Short", (Column("x"),), ((Field("1", note="a\nb"),),))
    page = Page(
        title="t", headline="h", progress="p", is_complete=True, sections=(Section(title="S", tables=(table, short)),)
    )
    text = html_page(page)
    assert text.count("<details>") == 1
    assert f"Long: {LONG_TABLE + 1} rows" in text
    assert "(a)\n(b)" in text
    assert Section(title="Nothing", caption="still nothing").is_empty


def test_decisions_show_what_the_recipes_hold(plan: Plan) -> None:
    rows = {row[0].text: row[2].text for row in decisions_table(plan).rows}
    assert rows["batch norm of a pair"] == "frozen"
    assert rows["what the knapsack maximizes"] == "softmax"
    assert rows["bit-width of weights"] == "16"
    assert rows["validation split"] == "10 % of the training images"
    mixed = build_grid("quick", Choices(), lambda _: 15)
    first, *others = mixed.cells
    changed = first.model_copy(update={"recipe": first.recipe.model_copy(update={"batch_norm": "both"})})
    both = build_plan(mixed.model_copy(update={"cells": (changed, *others)}), lambda _: 15)
    assert {row[0].text: row[2].text for row in decisions_table(both).rows}["batch norm of a pair"] == "both, frozen"
    assert "how bits are chosen" not in rows
    changed = first.model_copy(update={"recipe": first.recipe.model_copy(update={"selection": "penalty"})})
    chosen = build_plan(mixed.model_copy(update={"cells": (changed, *others)}), lambda _: 15)
    assert {row[0].text: row[2].text for row in decisions_table(chosen).rows}[
        "how bits are chosen"
    ] == "penalty, not set"


@pytest.mark.browser
def test_a_browser_shows_the_page_without_complaint(
    analyzed: tuple[Path, dict[str, pd.DataFrame]], browser: str, tmp_path: Path
) -> None:
    page = (analyzed[0] / "report.html").absolute().as_uri()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,2000"]
    screenshot = tmp_path / "page.png"

    dom = subprocess.run([browser, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True)
    shot = [browser, *flags, f"--screenshot={screenshot}", page]
    seen = subprocess.run(shot, capture_output=True, text=True, timeout=120, check=True)

    console = [line for line in (dom.stderr + seen.stderr).splitlines() if ":CONSOLE" in line]
    assert console == []
    assert list(TITLES.values()) == [title for title in headings(dom.stdout) if title in TITLES.values()]
    pixels = screenshot.read_bytes()
    assert pixels.startswith(b"\x89PNG")
    assert len(pixels) > 50_000, "an empty page has no pixels to tell of"
