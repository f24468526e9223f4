"""The report's files: self-contained, escaped, the same bytes every time, and honest about an unfinished sweep."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from orchestrator.plan import Node, Plan, build_plan
from orchestrator.reports.drawing import DARK, dark, svg
from orchestrator.reports.figures import figure_table1, figure_training
from orchestrator.reports.layout import pct, pp
from orchestrator.reports.page import write_report
from orchestrator.reports.search.figures import figure_search
from orchestrator.reports.table1 import table1
from orchestrator.results.pairs import pair_records
from orchestrator.results.snapshot import Snapshot
from orchestrator.results.trials import read_trials
from orchestrator.store.pages import save_pages
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from orchestrator.store.trial import trial_of
from search_spaces.grids.build import Choices, build_grid
from search_spaces.names import Goal
from search_spaces.stages.registry import Stage
from tests.orchestrator.made_up import accuracies

FACTS = {"date": "2026-01-02", "command": "dptq-sweep launch --name '<script>alert(1)</script>'"}
VOID = {"meta", "img", "source", "link", "br", "hr", "input"}
FIGURES = ("table1", "search", "history", "training")
SEARCH = {"keep_searching": True, "start_points": ("recipe",)}
SEARCH_TABLES = {
    f"search_{name}.{form}" for name in ("cells", "trials", "time_to_pair", "pruning") for form in ("csv", "parquet")
}
DROPS = {"A": 0.5, "B": 0.25, "C": 0.75}


class Reader(HTMLParser):
    """Collects what a page would load and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = ("src", "srcset", "data", "poster", *(["href"] if tag != "a" else []))
        self.loaded += [value or "" for name, value in attrs if name in loading]
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def plan() -> Plan:
    # With a search that skips no trial.
    return build_plan(build_grid("quick", Choices(search={"keep_searching": True}), lambda _: 15), lambda _: 15)


def result_of(node: Node, metrics: dict[str, float]) -> dict[str, object]:
    return {"schema": 1, "uid": node.uid, "metrics": metrics, "files": {}, "seconds": 1.0}


def fill(plan: Plan, store: Store, *, levels: str) -> Store:
    """Finishes all pairs of some levels; searched trials drop a little more, trial 4 fails."""
    for node in plan.nodes:
        folder = store.trial(node.stage, node.uid)
        if node.stage is not Stage.PAIR or node.cell is None:
            folder.write_json("result.json", result_of(node, {"test/accuracy": 0.96875}))
            continue
        if node.cell.budget_level not in levels:
            continue
        trial_of(store, node).write_recipe(node, None)
        if node.trial_number == 4:
            folder.write_bytes("error.txt", b"NonFiniteError: <b>loss</b> | nan & more\n")
            continue
        drop = 0.0 if node.cell.goal is Goal.ROBUST else DROPS[node.cell.budget_level] + node.trial_number / 100
        # On validation every pair drops by half as much, from another accuracy.
        metrics = accuracies("validation", 0.003, drop / 2, white_box=0.9, noise=0.0)
        metrics |= accuracies("test", 0.00625, drop, white_box=0.96875, noise=0.02)
        folder.write_json("result.json", result_of(node, metrics))
        curve = {"epoch": [1, 2], "validation/accuracy_fp": [0.5, 0.96], "validation/accuracy_q": [0.5, 0.4]}
        folder.write_table("epochs.parquet", pa.table(curve))
    return store


def files_of(paths: list[str]) -> dict[str, bytes]:
    return {Path(path).name: Path(path).read_bytes() for path in paths}


@pytest.fixture(scope="module")
def folder(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep that ran to its end, with one failure; drawn once, for drawing takes a second."""
    storage = tmp_path_factory.mktemp("storage")
    write_report(Snapshot(plan, fill(plan, Store(str(storage)), levels="ABC")), "demo", facts=FACTS)
    return storage / "sweeps" / "demo"


def test_report_writes_tables_pages_and_figures(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    figures = {f"figure_{name}.{form}" for name in FIGURES for form in ("png", "svg")}
    others = {"table1.csv", "table1.parquet", "report.md", "report.html", "report_files.json"}
    assert set(files) == figures | SEARCH_TABLES | others
    table = pd.read_csv(io.BytesIO(files["table1.csv"]))
    assert list(table["detrimental_accuracy_delta"]) == pytest.approx([-0.5, -0.28, -0.75])
    assert list(pd.read_parquet(io.BytesIO(files["table1.parquet"]))["chosen_trial"]) == [0, 3, 0]
    for name in figures:
        assert files[name].startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_html_loads_nothing_and_has_both_themes(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    reader = Reader()
    reader.feed(page)

    assert reader.open == []
    places = {link[1:] for link in reader.links if link.startswith("#")}
    assert len(reader.anchors) == len(set(reader.anchors))
    assert places > set(re.findall(r'<section id="([^"]*)"', page))
    assert places <= set(reader.anchors)
    assert reader.tags.count("img") == reader.tags.count("source") == len(FIGURES)
    assert len(reader.loaded) == 2 * len(FIGURES)
    assert all(value.startswith("data:image/svg+xml;base64,") for value in reader.loaded)
    assert "http" not in page.replace("data:", "")
    assert "url(" not in page
    assert "@import" not in page
    assert {"script", "link", "iframe"}.isdisjoint(reader.tags)
    assert page.count("@media (prefers-color-scheme: dark)") == 1
    assert "Detrimental pairs lost up to 75.0 pp under quantization while staying within 0.6 pp" in reader.text
    assert "(catastrophic: 3 of 3); robust pairs lost at most 0.0 pp." in reader.text


def test_every_trial_is_a_row_that_the_table_links_to_with_its_files_and_its_command(
    folder: Path, plan: Plan, tmp_path: Path
) -> None:
    page, reader = (folder / "report.html").read_text(), Reader()
    reader.feed(page)
    storage = folder.parent.parent
    assert {node.uid for node in plan.nodes} <= set(reader.anchors)
    files = {link for link in reader.links if not link.startswith("#")}
    assert {(folder / link).resolve() for link in files} == {
        path
        for stage in ("teacher", "distill", "pair")
        for path in (storage / stage).glob("*/*.*")
        if path.name in ("result.json", "epochs.parquet")
    }
    table = pd.read_parquet(folder / "table1.parquet")
    assert [link[1:] for link in reader.links if link[1:] in set(table["chosen_uid"])][:3] == list(table["chosen_uid"])
    failed = next(node for node in plan.nodes if node.trial_number == 4)
    for node in plan.nodes:
        again = f"<code>dptq-sweep reproduce {node.uid} --storage {storage}</code>"
        assert (again in page) is (node.uid != failed.uid)


def test_a_server_s_runs_are_linked_and_nothing_that_is_no_address(plan: Plan, tmp_path: Path) -> None:
    store, (first, second) = fill(plan, Store(str(tmp_path)), levels=""), plan.nodes[:2]
    pages = {"charts": "http://m:5000/#/experiments/1"}
    save_pages(Sweep(store, "demo"), pages, {first.uid: "http://m:5000/#/x?a&b", second.uid: "javascript:alert(1)"})
    page = files_of(write_report(Snapshot(plan, store), "demo", facts={}))["report.html"].decode()
    assert '<a href="http://m:5000/#/x?a&amp;b">MLflow</a>' in page
    assert "javascript" not in page
    assert page.count("In MLflow:") == page.count("experiments/1") == 1


def test_text_from_outside_is_escaped_in_both_pages(folder: Path) -> None:
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()

    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "NonFiniteError: &lt;b&gt;loss&lt;/b&gt; | nan &amp; more" in page
    assert "NonFiniteError: &lt;b&gt;loss&lt;/b&gt; \\| nan &amp; more" in text
    assert "<script" not in text


def test_markdown_tables_have_equal_rows_and_link_written_pictures(folder: Path) -> None:
    lines = (folder / "report.md").read_text().splitlines()

    row = next(line for line in lines if "| A 60 |" in line)
    assert row.split("|")[4:10] == [" 96.88 ", " 96.25 ", " 0.00 ", " 96.25 ", " -50.00 ", " +0.62 "]
    assert any("| 3 (of 5) |" in line and "detrimental: 4 of 5 trials done, 1 failed" in line for line in lines)
    for picture in (line for line in lines if line.startswith("![")):
        assert (folder / picture.rpartition("(")[2].rstrip(")")).exists()
    blocks = "\n".join(lines).split("\n\n")
    for block in (block for block in blocks if block.startswith("|")):
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_search_lists_every_trial_with_its_point_and_marks_the_chosen(folder: Path) -> None:
    text = (folder / "report.md").read_text()

    lines = [line for line in text.splitlines() if line.startswith("| pair/test\\_resnet/I/B/det")]
    rows = {line.split(" ")[1]: line for line in lines if "; from " in line}
    chosen, failed = (rows[f"pair/test\\_resnet/I/B/detrimental/seed0/trial{number}"] for number in (3, 4))
    assert "; chosen; on the front; from searched) | 1 | 1.5 | 0.01 | 89.70 | -14.00 | +0.30 | 14.00 | 96.25 " in chosen
    assert "| 96.25 | -28.00 | +0.62 | catastrophic | 2 of 16 (1 s) | [result](../../pair/" in chosen
    assert "from searched) | 1 | 1.5 | 0.01 |  |  |  |  |  |  |  | failed |  |  |" in failed


def test_sweep_without_any_result_says_so_and_has_no_figures(plan: Plan, tmp_path: Path) -> None:
    files = files_of(write_report(Snapshot(plan, Store(str(tmp_path))), "demo", facts=FACTS))

    assert set(files) == SEARCH_TABLES | {"table1.csv", "table1.parquet", "report.md", "report.html"}
    assert "No pair is done yet." in files["report.html"].decode()
    assert "Planned: 0 of 12 trials done." in files["report.md"].decode()
    assert len(pd.read_csv(io.BytesIO(files["table1.csv"]))) == 3


def test_partial_sweep_names_what_is_missing(plan: Plan, tmp_path: Path) -> None:
    store = fill(plan, Store(str(tmp_path)), levels="B")

    text = files_of(write_report(Snapshot(plan, store), "demo", facts=FACTS))["report.md"].decode()

    assert "Incomplete: 7 of 12 trials done, 1 failed. What follows" in text
    assert "| pair/test\\_resnet/I/C/robust/seed0 | waiting |" in text


def test_no_drop_is_reported_as_no_catastrophe(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DROPS, "A", 0.0625)
    store = fill(plan, Store(str(tmp_path)), levels="A")

    text = files_of(write_report(Snapshot(plan, store), "demo", facts={}))["report.md"].decode()

    assert "No detrimental pair is catastrophic (0 of 1): the largest drop is 6.2 pp, at a parity gap of 0.6 pp" in text


def test_equal_stores_give_equal_bytes(plan: Plan, tmp_path: Path) -> None:
    def written() -> dict[str, bytes]:
        store = fill(plan, Store(str(tmp_path / "storage")), levels="AB")
        files = files_of(write_report(Snapshot(plan, store), "demo", facts=FACTS))
        # Reports name their storage: the second one has the same place.
        shutil.rmtree(tmp_path / "storage")
        return files

    first, second = written(), written()

    assert first == second
    assert b"<dc:date>" not in first["figure_table1.svg"]


def test_figures_without_anything_to_show_are_none(plan: Plan, tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    assert figure_table1(table1(plan, read_trials(Snapshot(plan, store)))) is None
    assert figure_search(pair_records(Snapshot(plan, store))) is None
    assert figure_training({"A": {}}) is None


def test_table1_figure_has_one_panel_per_network_and_option_set(tmp_path: Path) -> None:
    full = build_plan(build_grid("full", Choices(), lambda _: 20), lambda _: 20)
    table = table1(full, read_trials(Snapshot(full, Store(str(tmp_path)))))
    table.loc[0, ["robust_accuracy_fp", "robust_accuracy_delta"]] = [0.9, -0.02]

    figure = figure_table1(table)

    assert figure is not None
    assert [len(axes.get_yticks()) for axes in figure.axes] == [3] * 9
    assert figure.axes[0].get_title(loc="left") == "resnet18\noption set I (3..10)"
    assert any(text.get_text() == "\N{MINUS SIGN}2.0 pp" for text in figure.axes[0].texts)


def test_dark_figure_keeps_no_light_colour(plan: Plan, tmp_path: Path) -> None:
    store = fill(plan, Store(str(tmp_path)), levels="B")
    figure = figure_search(pair_records(Snapshot(plan, store)))

    assert figure is not None
    picture = dark(svg(figure)).decode()
    assert not [light for light in DARK if light in picture]


def test_store_after_a_report_still_lists_the_same_trials(plan: Plan, tmp_path: Path) -> None:
    store = fill(plan, Store(str(tmp_path)), levels="A")
    before = [trial.state for trial in read_trials(Snapshot(plan, store))]

    write_report(Snapshot(plan, store), "demo", facts={})

    assert [trial.state for trial in read_trials(Snapshot(plan, store))] == before
    assert json.dumps([record.as_json() for record in pair_records(Snapshot(plan, store))], allow_nan=False)


@pytest.mark.parametrize(("value", "text"), [(0.5, "50.00"), (None, ""), (float("nan"), ""), (pd.NA, "")])
def test_missing_numbers_are_blank(value: object, text: str) -> None:
    assert pct(value) == text
    assert pp(value) == ("+" + text if text else "")
