"""The matrix of repairs: a row per pair and repair, in words, as a table and as a figure."""

import pandas as pd
import pytest

from orchestrator.reports.analyses.repair_matrix import figure_matrix, matrix_text, over_white_boxes
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
    found = section(both(matrix, {"d0": 0}), [SHOWN])
    assert isinstance(found, Section)
    assert found.title == "Repairs"
    assert [len(found.tables), len(found.pictures)] == [1, 1]


def both(matrix: pd.DataFrame, white_boxes: dict[str, int]) -> dict[str, pd.DataFrame]:
    return {"repair_matrix": matrix, "repair_white_boxes": over_white_boxes(matrix, white_boxes)}


WHITE_BOXES = {"x0": 0, "x1": 0, "x2": 1, "y0": 0, "y2": 1}


@pytest.fixture(scope="module")
def attackers() -> pd.DataFrame:
    """Attacker x has two pairs of one white box and one of another, attacker y has one of each."""
    names = [("A+x", 0), ("A+x", 1), ("A+x", 2), ("A+y", 0), ("A+y", 2)]
    contrasts = [contrast(level, seed, uid=f"{level[-1]}{seed}") for level, seed in names]
    matrix = repair_matrix(tiny_analyses(contrasts, shift=0.1)["repairs"])
    return matrix.assign(parity_gap=matrix["parity_gap"].where(matrix["seed"] < 2, 0.0))


def test_pairs_of_a_white_box_are_one_value_of_a_mean(attackers: pd.DataFrame) -> None:
    means = over_white_boxes(attackers, WHITE_BOXES)
    names = list(means["budget_level"] + " " + means["evaluated_with"])
    assert names == [f"A+{each} {repair}" for each in "xy" for repair in ("nothing", "ranges per channel")]
    row = means.iloc[0]
    assert (row["num_white_boxes"], row["num_pairs"]) == (2, 3)
    # 80 and 70 pp of one white box, 60 of the other; Student's factor of one degree of freedom is 12.71.
    assert row["drop"] == pytest.approx((0.75 + 0.60) / 2)
    assert row["drop_high"] - row["drop"] == pytest.approx(12.706 * 0.15 / 2, rel=1e-3)
    # The gap is 1 pp in the first two, and the drop under ranges per channel 5 pp or less.
    assert list(means["num_catastrophic"]) == [3, 0, 2, 0]
    assert over_white_boxes(attackers.head(0), {}).empty
    one = over_white_boxes(attackers[attackers["seed"] == 0], WHITE_BOXES)
    assert one["drop_low"].isna().all()


def test_several_attackers_have_a_table_and_a_heat_map_of_their_own(attackers: pd.DataFrame) -> None:
    means = over_white_boxes(attackers, WHITE_BOXES)
    found = section(both(attackers, WHITE_BOXES), [])
    assert [picture.name for picture in found.pictures] == ["figure_repair_matrix"]
    table = found.tables[0]
    assert table == matrix_text(means)
    row = {column.header: field for column, field in zip(table.columns, table.rows[0], strict=True)}
    assert len(table.rows) == 4
    assert (row["drop"].text, row["catastrophic"].text) == ("67.50", "3 of 3")
    figure = figure_matrix(means)
    assert figure is not None
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["A+x\nnothing", "A+y\nnothing"]
    texts = {text.get_position(): text.get_text() for text in panel.texts}
    assert texts[(0, 0)] == "67.5\n(0.5)"
    # Framed where the repair is known, which is none here.
    frames = [patch for patch in panel.patches if patch.get_linewidth() > 1]
    assert sorted(frame.get_xy()[1] for frame in frames) == pytest.approx([-0.46, 0.54])
