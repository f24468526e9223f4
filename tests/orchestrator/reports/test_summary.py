"""The sentence at the top of a report, from tables made by hand."""

import pandas as pd
import pytest

from orchestrator.reports.summary import headline

COLUMNS = (
    "detrimental_accuracy_fp",
    "detrimental_accuracy_delta",
    "detrimental_parity_gap",
    "verdict",
    "robust_accuracy_delta",
)


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    made = pd.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in rows], columns=list(COLUMNS))
    return made.assign(evidence="", num_images=None, drop_low=None)


HELD, LOST = "catastrophic", "parity lost"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(None, None, None, "", None)], "No pair is done yet."),
        ([(None, None, None, "", -0.01), (None, None, None, "", -0.03)], "Robust pairs lost at most 3.0 pp."),
        (
            [(0.9, -0.2, 0.02, LOST, -0.01), (0.8, -0.5, 0.12, LOST, None), (0.9, -0.1, 0.05, LOST, None)],
            "No detrimental pair is catastrophic (0 of 3): the largest drop is 50.0 pp, at a parity gap of 12.0 pp; "
            "robust pairs lost at most 1.0 pp.",
        ),
        (
            [(0.9, -0.6, 0.002, HELD, None), (0.9, -0.4, 0.008, HELD, None), (0.8, -0.8, 0.12, LOST, None)],
            "Detrimental pairs lost up to 60.0 pp under quantization while staying within 0.8 pp of their white box "
            "(catastrophic: 2 of 3).",
        ),
        (
            [(0.9, -0.6, 0.0, HELD, None)],
            "Detrimental pairs lost up to 60.0 pp under quantization while matching their white box "
            "(catastrophic: 1 of 1).",
        ),
    ],
)
def test_the_headline_names_the_largest_drop_and_what_it_cost(rows: list[tuple[object, ...]], said: str) -> None:
    assert headline(table(*rows)) == said


def test_a_pair_within_noise_is_no_hit_and_a_drop_within_noise_is_not_named() -> None:
    rows = table((0.9, -0.6, 0.0, HELD, None), (0.9, -0.5, 0.0, HELD, None), (0.9, -0.4, 0.0, HELD, None))
    counted = rows.assign(num_images=359, evidence=["shown", "parity within noise: needs 1,200 images", "shown"])
    assert "(catastrophic: 2 of 3; within noise: 1)" in headline(counted)
    chance = table((0.9, -0.008, 0.0, "no drop", None)).assign(num_images=120, drop_low=-0.004)
    assert headline(chance) == "No detrimental pair is catastrophic (0 of 1): no drop is beyond noise."
