"""The corruption curves against the pair's own measurement on data that was corrupted beforehand."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from search_spaces.analyses import Corruptions
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.corruptions import classify_corrupted, corruptions
from trainables.analyses.trained_pair import Subject
from trainables.data.augment import evaluation_batch
from trainables.data.corruptions import STRENGTHS, Corruption, corrupt, shift_normalization
from trainables.data.images import TEST
from trainables.data.view import View
from trainables.evaluation import EVALUATION_BATCH
from trainables.stages.pair import measure


@pytest.fixture
def subject(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.01)


def test_there_is_one_clean_unit_and_one_per_corruption_and_degree(subject: Subject) -> None:
    units = corruptions(Corruptions(num_degrees=2), subject)
    assert len({unit.key for unit in units}) == len(units) == 1 + 2 * len(STRENGTHS)
    rows = rows_of(units)
    assert [(row["corruption"], row["degree"]) for row in rows] == [
        ("clean", 0),
        *((kind, degree) for kind in STRENGTHS for degree in (1, 2)),
    ]
    assert rows[0]["strength"] is None
    assert [row["strength"] for row in rows[1:3]] == [55, 30]
    assert all(row["num_images"] == 64 for row in rows)
    for row in rows:
        drop = (row["num_lost"] - row["num_gained"]) / row["num_images"]
        assert row["accuracy_fp"] - row["accuracy_q"] == pytest.approx(drop)


@pytest.mark.parametrize("kind", [None, "jpeg", "noise", "rotation"])
def test_a_row_equals_measuring_the_pair_on_corrupted_images(subject: Subject, kind: str | None) -> None:
    split, data = subject.data.splits[TEST], subject.data
    if kind:
        corruption = Corruption(kind=kind, degree=2, draw_seed=4)
        split = replace(split, images_BCHW=corrupt(split.images_BCHW, split.image_ids_B, corruption))
        data = replace(data, splits={TEST: split})
    full, quantized, _ = measure(subject.pair, data, TEST)
    units = corruptions(Corruptions(num_degrees=2, draw_seed=4), subject)
    key = f"test/{kind}/2" if kind else "test/clean"
    (row,) = next(unit for unit in units if unit.key == key).rows()
    assert row["accuracy_fp"] == full.accuracy
    assert row["accuracy_q"] == quantized.accuracy
    assert row["mean_margin_fp"] == pytest.approx(full.margins_B.mean().item())


def test_every_batch_is_normalized_by_the_draws_of_its_own_images(subject: Subject) -> None:
    split = subject.data.splits[TEST]
    many = replace(
        split,
        images_BCHW=split.images_BCHW.repeat(5, 1, 1, 1),
        labels_B=split.labels_B.repeat(5),
        image_ids_B=torch.arange(5 * len(split)),
    )
    assert len(many) > EVALUATION_BATCH
    corruption = Corruption(kind="normalization_shift", degree=5)
    first, second = classify_corrupted([subject.student, subject.student], many, View(32, 32), corruption)
    assert first.logits_BK.equal(second.logits_BK)
    chosen = [0, 63, 255, 256, 319]
    alone = []
    for at in chosen:
        image, image_id = many.images_BCHW[at : at + 1], many.image_ids_B[at : at + 1]
        with torch.inference_mode():
            alone.append(
                subject.student(shift_normalization(evaluation_batch(image, View(32, 32)), image_id, corruption))
            )
    torch.testing.assert_close(torch.cat(alone), first.logits_BK[chosen], rtol=1e-3, atol=1e-3)
