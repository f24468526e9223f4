"""An analysis is settings, a module that measures and a module that reports; docs/developing.md has this example."""

from pathlib import Path

from tests.extend.copies import copy_packages, dptq_sweep, edit, run_python

SETTINGS = '''class Flips(Analysis):
    """Images whose answer quantization changes, by class."""

    name = "flips"
    title = "Flips"
    keys = ("label_name",)
    split: str = "test"


'''
MEASURE = '''"""Images whose answer quantization changes, by class."""

from search_spaces.analyses import Flips
from trainables.analyses.trained_pair import Row, Subject, Unit

# B = images of a split.


def flips(settings: Flips, subject: Subject) -> list[Unit]:
    """Compares a pair's answers at full precision and quantized.

    Returns:
        One unit with a row per class: label_name, num_images, num_flipped.
    """
    num_images = 2 * subject.num_images(settings.split)
    return [Unit(key=settings.split, num_images=num_images, rows=lambda: _rows(subject, settings.split))]


def _rows(subject: Subject, split: str) -> list[Row]:
    full, quantized = subject.full_precision(split), subject.quantized(split)
    is_flipped_B = full.predictions_B != quantized.predictions_B
    rows: list[Row] = []
    for label, name in enumerate(subject.data.class_names):
        is_here_B = full.labels_B == label
        counts = {"num_images": int(is_here_B.sum()), "num_flipped": int((is_here_B & is_flipped_B).sum())}
        rows.append({"label_name": name, **counts})
    return rows
'''
REPORT = '''"""Which classes change their answers: table and section of the analysis `flips`."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section
from orchestrator.reports.grouping import CELL, Row, over_seeds
from orchestrator.reports.layout import Column, TextTable, cell_table, pct, spread_field


def derive(findings: Findings) -> dict[str, pd.DataFrame]:
    """Computes the share of every class that flips; a file of the report has this name."""
    flips = findings.tables["flips"]
    return {"flip_shares": flips.assign(share=flips["num_flipped"] / flips["num_images"])}


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section; figures would show the given cells."""
    return Section(title="Flips", caption="Answers before and after.", tables=(_text(tables["flip_shares"]),))


def _text(shares: pd.DataFrame) -> TextTable:
    return cell_table(
        "Images whose answer changes",
        (Column.name("pair"), Column.name("class"), Column("flipped (%)")),
        over_seeds(shares, [*CELL, "goal", "label_name"], ("share",)),
        lambda row: (str(row["goal"]), str(row["label_name"]), spread_field(row, "share", pct)),
        heading="Flips: images whose answer changes, percent of a class",
    )


REPORT = AnalysisReport(derive=derive, section=section, overview=lambda tables: _text(tables["flip_shares"]))
'''
RUN = """
import pandas as pd
import torch
from rich.console import Console

from orchestrator.reports.analyses.registry import analysis_sections, derived_tables, overviews
from orchestrator.reports.document import Page
from orchestrator.reports.rendering import html_page, markdown
from orchestrator.reports.terminal import render
from orchestrator.tracking.analysis_runs import analysis_points
from search_spaces.analyses import analysis_named
from search_spaces.datasets import dataset_spec
from search_spaces.recipes import PairRecipe
from trainables.analyses.registry import units_of
from trainables.analyses.trained_pair import Subject
from trainables.data.loading import load_dataset
from trainables.models.backbones import create_backbone
from trainables.stages.pair import Pair

data = load_dataset(dataset_spec("digits", train_images=100, test_images=50))
torch.manual_seed(0)
white_box = create_backbone("test_resnet", data.num_classes).eval().requires_grad_(False)
recipe = {"architecture": "test_resnet", "goal": "detrimental", "budget": 60, "epochs": 1, "batch_size": 32}
pair = Pair(white_box, PairRecipe(**recipe, optimizer="sgd", learning_rate=0.02, weight_decay=0))
analysis = analysis_named("flips")
table = pd.DataFrame(row for unit in units_of(analysis, [Subject(pair, white_box, data)]) for row in unit.rows())
for point in analysis_points(analysis, table, timestamp_ms=0):
    print(point.key, point.value)

about = {"architecture": "test_resnet", "option_set": "I", "budget_level": "A", "budget": 60, "seed": 0}
analyses = {"flips": table.assign(**about, goal="detrimental")}
derived = derived_tables(analyses, [], dataset="digits")
print(*derived)
sections = tuple(analysis_sections(analyses, derived, []))
page = Page(title="t", headline="h", progress="p", is_complete=True, sections=sections)
print(markdown(page))
assert "Images whose answer changes" in html_page(page)
for overview in overviews(analyses, derived):
    Console(width=100).print(render(overview))
"""


def test_an_analysis_added_in_three_places_is_measured_reported_and_tracked(tmp_path: Path) -> None:
    root = copy_packages(tmp_path)
    settings = root / "search_spaces/analyses.py"
    edit(settings, "ANALYSES: dict[str, Analysis] = {", f"{SETTINGS}ANALYSES: dict[str, Analysis] = {{")
    edit(settings, "        Indicators(),\n", "        Indicators(),\n        Flips(),\n")
    (root / "trainables/analyses/flips.py").write_text(MEASURE)
    (root / "orchestrator/reports/analyses/flips.py").write_text(REPORT)

    said = run_python(root, "-c", RUN)
    lines = said.splitlines()

    assert "flips" in dptq_sweep(root, "analyze", "--help")
    assert {line.split()[0] for line in lines if line.startswith("flips/7/")} == {"flips/7/num_flipped"}
    assert "flip_shares" in lines
    assert "## Flips" in lines
    assert any(line.startswith("| test\\_resnet | I-A | 60 | detrimental | 7 |") for line in lines)
    assert "Flips: images whose answer changes, percent of a class" in said
