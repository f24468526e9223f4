"""No cell of a CSV begins a formula of a spreadsheet, whatever a class, a network or a message is called."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.reports.rendering import table_files

ROOT = Path(__file__).resolve().parents[3]
FORMULAS = ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1+1", "|calc", "%0A=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_texts_that_begin_like_a_formula_are_texts(text: str) -> None:
    table = pd.DataFrame({"class": [text, "cat"], text: [-1.5, 2.0], "count": [-1, 2]})
    (header, first, second) = csv.reader(io.StringIO(table_files({"x": table})["x.csv"].decode()))
    shown = "'" + text.replace("\r", " ")
    assert header == ["class", shown, "count"]
    assert first == [shown, "-1.5", "-1"]
    assert second == ["cat", "2", "2"]


def test_categories_are_texts() -> None:
    table = pd.DataFrame({"class": pd.Categorical(["=1", "cat"])})
    assert table_files({"x": table})["x.csv"] == b"class\n'=1\ncat\n"


def test_every_csv_passes_through_one_place() -> None:
    code = [
        path
        for name in ("orchestrator", "trainables", "search_spaces", "cluster")
        for path in (ROOT / name).rglob("*.py")
    ]
    writers = [path.name for path in code if "to_csv(" in path.read_text() or "csv.writer" in path.read_text()]
    assert writers == ["rendering.py"]
