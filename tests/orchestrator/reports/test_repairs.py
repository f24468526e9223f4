"""The matrix of repairs: a row per pair and repair, in words, as a table and as a figure."""

import pandas as pd
import pytest

from orchestrator.reports.analyses.repairs import (
    figure_repairs,
    repair_matrix,
    repairs_statement,
    repairs_text,
    section,
)
from orchestrator.reports.document import Section
from tests.orchestrator.tiny_analyses import SHOWN, contrast, tiny_analyses


@pytest.fixture(scope="module")
def matrix() -> pd.DataFrame:
    return repair_matrix(tiny_analyses([contrast()])["repairs"])


def test_the_matrix_has_a_row_per_pair_and_repair_with_both_allocations(matrix: pd.DataFrame) -> None:
    assert list(matrix["goal"] + " " + matrix["evaluated_with"]) == [
        "robust nothing",
        "robust ranges per channel",
        "detrimental nothing",
        "detrimental ranges per channel",
    ]
    assert list(matrix["drop"]) == pytest.approx([0, 0, 0.8, 0.05])
    assert list(matrix["uniform_drop"]) == pytest.approx([0, 0, 0.6, 0.04])
    assert set(matrix["trained_against"]) == {"nothing"}


def test_the_sentence_names_the_repair_that_leaves_least(matrix: pd.DataFrame) -> None:
    assert repairs_statement(matrix, [SHOWN]) == (
        "Of the detrimental drop, trained against nothing, least is left by ranges per channel: 5.0 pp in place of "
        "80.0."
    )
    assert repairs_statement(matrix.head(0), []) == ""


def test_a_row_of_the_table_shows_gap_and_drop_with_intervals(matrix: pd.DataFrame) -> None:
    table = repairs_text(matrix)
    row = {column.header: field for column, field in zip(table.columns, table.rows[3], strict=True)}
    assert row["evaluated with"].text == "ranges per channel"
    assert (row["drop"].text, row["drop"].note) == ("5.00", "1.0 to 9.0")
    assert (row["gap"].text, row["gap"].note) == ("1.00", "-1.0 to 3.0")
    assert row["drop, uniform"].text == "4.00"


def test_several_seeds_are_a_mean_with_its_spread() -> None:
    both = repair_matrix(tiny_analyses([contrast(), contrast(seed=1, uid="d1")], shift=0.1)["repairs"])
    (field,) = [row[-2] for row in repairs_text(both).rows if [cell.text for cell in row[4:7]][2] == "nothing"][1:]
    # 80 and 70 pp.
    assert (field.text, field.note) == ("75.00", "\N{PLUS-MINUS SIGN} 7.07")


def test_the_figure_has_a_line_per_repair_and_both_goals(matrix: pd.DataFrame) -> None:
    figure = figure_repairs(matrix, [SHOWN])
    assert figure is not None
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["nothing", "ranges per channel"]
    marks = [line for line in panel.lines if len(line.get_xdata()) == 1]
    assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx([0, 0, 5, 80])
    assert figure_repairs(matrix, []) is None


def test_the_section_has_table_and_figure(matrix: pd.DataFrame) -> None:
    found = section({"repair_matrix": matrix}, [SHOWN])
    assert isinstance(found, Section)
    assert found.title == "Repairs"
    assert [len(found.tables), len(found.pictures)] == [1, 1]
