"""The paper's numbers, against the paper's own sentences."""

from pathlib import Path

import pytest

from search_spaces import paper
from search_spaces.budgets import OPTION_SETS
from search_spaces.objective import is_catastrophic

PAPER = Path(__file__).resolve().parents[3] / "shared" / "paper" / "002_0f6e10622455eb64.txt"
SHORT = {"resnet18": "RN18", "mobilenetv4_conv_medium": "MNv4", "regnetx_016": "RX1.6"}


def test_budgets_divided_by_sites_give_the_averages_of_section_4_1() -> None:
    for architecture, budgets in paper.BUDGETS.items():
        for level, budget in budgets.items():
            assert budget / paper.NUM_SITES[architecture] == pytest.approx(paper.AVERAGE_BITS[level], abs=0.11)


def test_resnet18_budgets_of_versions_ii_and_iii_are_as_printed() -> None:
    for option_set in ("II", "III"):
        assert [paper.total_bits("resnet18", option_set, level) for level in paper.BUDGET_LEVELS] == [100, 130, 160]


def test_table_1_equals_the_papers_text() -> None:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not on this machine")
    rows = {}
    for line in PAPER.read_text().splitlines():
        cells = line.split("\t")
        if len(cells) == 16 and cells[0] in SHORT.values():
            rows[cells[0], cells[2]] = [float(cell) for cell in cells[4:]]
    assert len(rows) == 9
    for (architecture, option_set, level), numbers in paper.TABLE_1.items():
        start = 4 * paper.BUDGET_LEVELS.index(level)
        assert list(numbers) == rows[SHORT[architecture], option_set][start : start + 4]


def test_five_of_the_papers_27_detrimental_cells_are_catastrophic() -> None:
    found = {
        cell
        for cell, (_, _, accuracy_fp, delta) in paper.TABLE_1.items()
        if is_catastrophic(
            accuracy_white_box=paper.TABLE_1_WHITE_BOX[cell[0]] / 100,
            accuracy_fp=accuracy_fp / 100,
            accuracy_q=(accuracy_fp + delta) / 100,
        )
    }
    assert found == {
        ("resnet18", "I", "B"),
        ("resnet18", "II", "B"),
        ("regnetx_016", "II", "C"),
        ("regnetx_016", "III", "B"),
        ("regnetx_016", "III", "C"),
    }


def test_training_details_are_as_printed_in_section_4() -> None:
    teacher = paper.TEACHER_RECIPE
    assert (teacher.epochs, teacher.optimizer, teacher.learning_rate, teacher.final_learning_rate) == (
        20,
        "adamw",
        4e-4,
        4e-7,
    )
    assert (teacher.weight_decay, teacher.batch_size, teacher.label_smoothing) == (0.05, 128, 0.1)
    batch_sizes = {architecture: paper.distill_recipe(architecture).batch_size for architecture in paper.WHITE_BOXES}
    assert batch_sizes == {"resnet18": 256, "mobilenetv4_conv_medium": 64, "regnetx_016": 256}
    distill, pair = paper.distill_recipe("resnet18"), paper.pair_recipe("resnet18")
    for recipe in (distill, pair):
        assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd", 0.9, 1e-4)
        assert (recipe.epochs, recipe.learning_rate, recipe.temperature) == (1000, 0.1, 5.0)
    assert (pair.batch_size, pair.margin, pair.hinge_weight, pair.kd_weight) == (64, 0.01, 1.0, 1.0)
    assert pair.weight_bit_width == 16


def test_option_sets_are_the_ranges_of_table_1() -> None:
    assert {name: [widths[0], widths[-1]] for name, widths in OPTION_SETS.items()} == {
        "I": [3, 10],
        "II": [4, 10],
        "III": [5, 10],
    }


def test_tables_2_and_3_are_as_printed() -> None:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not on this machine")
    lines = [line.split("\t") for line in PAPER.read_text().splitlines()]
    table2 = next(line[1:] for line in lines if line[0] == "Transitory Points")
    assert [f"{percent:.2f}" for percent in paper.TABLE_2.values()] == table2
    for policy, symbol in (("robust", "π_R"), ("detrimental", "π_D"), ("random", "Random")):
        row = next(line[1:] for line in lines if line[0] == symbol and len(line) == 4)
        assert [paper.TABLE_3[network, policy] for network in ("white_box", "robust", "detrimental")] == [
            float(number) for number in row
        ]
    # The pair's own policies give Table 1 again.
    for goal, start in (("robust", 0), ("detrimental", 2)):
        accuracy_fp, delta = paper.TABLE_1[paper.TABLE_3_CELL][start : start + 2]
        assert round(accuracy_fp + delta, 2) == paper.TABLE_3[goal, goal]
