"""Rungs of trainings: figures are those of counting image by image, and the verdict does not hear of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from search_spaces.stages.assessment import TRAINED_RUNGS
from trainables.assessment.assemble import assemble
from trainables.assessment.paired import drop_interval, wilson_interval
from trainables.assessment.record import MissingRung, Model, Rung
from trainables.assessment.trained import trained_rung

NAMES = ("ant", "bee", "cat")


def predictions(num_images: int = 40, seed: int = 0) -> pa.Table:
    """Answers at random, right more often than not, on two splits that differ."""
    generator = np.random.default_rng(seed)
    columns = {"split": ["validation"] * num_images + ["test"] * num_images}
    labels = generator.integers(0, 3, 2 * num_images)

    def answers(right: float) -> np.ndarray:
        is_right = generator.random(2 * num_images) < right
        return np.where(is_right, labels, (labels + generator.integers(1, 3, 2 * num_images)) % 3)

    own = {"prediction_white_box": answers(0.9), "prediction_fp": answers(0.85), "prediction_q": answers(0.4)}
    own |= {"margin_fp": generator.uniform(-1, 1, 2 * num_images), "bit_width": list(np.ones((2 * num_images, 2)))}
    table = pa.table(columns | {"label": labels} | own)
    return table.set_column(0, "split", table["split"].dictionary_encode())


@pytest.mark.parametrize("rung", TRAINED_RUNGS)
def test_figures_of_a_rung_are_those_of_counting_its_test_images(rung: str) -> None:
    table = predictions()
    found = trained_rung(rung, 60, table, NAMES)
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    right = sum(row["prediction_q"] == row["label"] for row in rows)
    lost = sum(row["prediction_fp"] == row["label"] != row["prediction_q"] for row in rows)
    gained = sum(row["prediction_q"] == row["label"] != row["prediction_fp"] for row in rows)
    flipped = [row["prediction_q"] != row["prediction_fp"] for row in rows]
    least_sure = sorted(range(len(rows)), key=lambda number: abs(rows[number]["margin_fp"]))[: len(rows) // 10]
    assert (found.rung, found.budget) == (rung, 60)
    assert found.accuracy == right / 40
    assert (found.accuracy_low, found.accuracy_high) == wilson_interval(right, 40)
    assert found.drop == (lost - gained) / 40
    ends = drop_interval(right - gained, lost, gained, 40 - right - lost)
    assert (found.drop_low, found.drop_high) == ends
    assert found.flips == sum(flipped) / 40
    assert found.flips_low_margin == sum(flipped[number] for number in least_sure) / 4
    shares = {name: sum(row["prediction_q"] == number for row in rows) / 40 for number, name in enumerate(NAMES)}
    assert found.class_shares == shares
    drops = {
        name: sum(
            (row["prediction_fp"] == number) - (row["prediction_q"] == number) for row in rows if row["label"] == number
        )
        / sum(row["label"] == number for row in rows)
        for number, name in enumerate(NAMES)
    }
    assert found.worst_class == max(drops, key=lambda name: drops[name])
    assert found.worst_class_drop == pytest.approx(max(drops.values()))


def test_only_a_fine_tuned_network_has_a_parity_gap_to_the_one_that_was_given() -> None:
    table = predictions()
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    before, after = (
        sum(row[name] == row["label"] for row in rows) for name in ("prediction_white_box", "prediction_fp")
    )
    assert before != after
    assert trained_rung("pair", 60, table, NAMES).parity_gap == pytest.approx((before - after) / 40)
    assert trained_rung("policy_detrimental", 60, table, NAMES).parity_gap is None


def test_a_class_that_is_never_answered_and_never_labelled_needs_no_image() -> None:
    found = trained_rung("pair", 60, predictions(), (*NAMES, "dog"))
    assert "dog" not in found.class_shares


def parts() -> list[dict[str, pd.DataFrame]]:
    """A healthy network: full precision and a uniform rung, all right."""
    table = predictions()
    for name in ("prediction_fp", "prediction_q"):
        table = table.set_column(table.column_names.index(name), name, table["label"])
    rungs = [
        trained_rung("policy_robust", 60, table, NAMES).model_copy(update={"rung": rung, "budget": budget})
        for rung, budget in (("fp", None), ("uniform", 60))
    ]
    rows = pd.DataFrame([rung.model_dump(exclude={"class_shares", "parity_gap"}) for rung in rungs])
    shares = [("labels", rungs[0]), *((rung.rung, rung) for rung in rungs)]
    classes = [
        {"rung": name, "class_name": each, "share": share}
        for name, rung in shares
        for each, share in rung.class_shares.items()
    ]
    channels = pd.DataFrame({"name": ["conv"], "channel": [0], "over_second": [1.1], "carries": [0.3]})
    links = pd.DataFrame({"link": ["a to b"], "site": ["conv"], "channel": [0], "exponent": [1]})
    tables = {"rungs": rows.astype({"budget": "Int64"}), "classes": pd.DataFrame(classes)}
    return [tables | {"channels": channels, "links": links}]


def test_trained_rungs_stand_in_the_ladder_and_have_no_part_in_the_verdict() -> None:
    catastrophic = [
        Rung.model_validate(
            trained_rung(rung, 60, predictions(), NAMES).model_dump()
            | {"accuracy": 0.0, "accuracy_high": 0.01, "drop": 1.0, "drop_low": 0.99, "drop_high": 1.0}
        )
        for rung in reversed(TRAINED_RUNGS)
    ]
    missing = MissingRung(rung="pair", budget=82, reason="failed: NaN")
    how = {"num_images": 40, "num_sites": 2, "labels": "dataset"}
    model = Model(uri="", sha256="", architecture="net")
    alone = assemble(model, parts(), **how)  # type: ignore[arg-type]  # a mapping's values
    found = assemble(model, parts(), **how, trained=catastrophic, missing=[missing])  # type: ignore[arg-type]
    assert (alone.verdict, found.verdict, found.reasons) == ("healthy", "healthy", alone.reasons)
    assert [rung.rung for rung in found.rungs] == ["fp", "uniform", *TRAINED_RUNGS]
    assert found.missing == (missing,)
