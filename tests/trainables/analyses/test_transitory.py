"""Transitory points against the definition, image by image."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces.analyses import Transitory
from search_spaces.names import Goal
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.trained_pair import Row, Subject
from trainables.analyses.transitory import transitory
from trainables.data.images import TEST, ImageData
from trainables.stages.pair import measure


@pytest.fixture
def robust(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(goal=Goal.ROBUST, budget=140, noise=0.02, seed=1)


@pytest.fixture
def detrimental(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.01, seed=2)


def rows_with(num_thumbnails: int, robust: Subject, detrimental: Subject) -> list[Row]:
    return rows_of(transitory(Transitory(num_thumbnails=num_thumbnails), robust, detrimental))


def test_a_row_per_image_says_what_both_pairs_answer(robust: Subject, detrimental: Subject) -> None:
    rows = rows_with(0, robust, detrimental)
    full, quantized, bit_width_BL = measure(detrimental.pair, detrimental.data, TEST)
    robust_full, robust_quantized, _ = measure(robust.pair, robust.data, TEST)
    split = detrimental.data.splits[TEST]
    assert [row["image_id"] for row in rows] == split.image_ids_B.tolist()
    assert [row["label"] for row in rows] == split.labels_B.tolist()
    assert [row["label_name"] for row in rows] == [str(label) for label in split.labels_B.tolist()]
    assert [row["prediction_fp"] for row in rows] == full.predictions_B.tolist()
    assert [row["prediction_q"] for row in rows] == quantized.predictions_B.tolist()
    assert [row["prediction_fp_robust"] for row in rows] == robust_full.predictions_B.tolist()
    assert [row["prediction_q_robust"] for row in rows] == robust_quantized.predictions_B.tolist()
    assert [row["bit_width"] for row in rows] == bit_width_BL.tolist()
    assert [row["margin_fp"] for row in rows] == pytest.approx(full.margins_B.tolist())
    assert [row["margin_q"] for row in rows] == pytest.approx(quantized.margins_B.tolist())
    assert [row["margin_q_robust"] for row in rows] == pytest.approx(robust_quantized.margins_B.tolist())


def test_transitory_is_both_right_and_the_quantized_detrimental_one_wrong(
    robust: Subject, detrimental: Subject
) -> None:
    rows = rows_with(0, robust, detrimental)
    for row in rows:
        both_right = row["prediction_fp"] == row["label"] and row["prediction_fp_robust"] == row["label"]
        assert row["is_transitory"] == (both_right and row["prediction_q"] != row["label"])
    # There are some that the robust network, and some that the detrimental one, alone gets right before.
    lost = [row for row in rows if row["prediction_q"] != row["label"]]
    assert any(row["prediction_fp"] == row["label"] != row["prediction_fp_robust"] for row in lost)
    assert any(row["prediction_fp"] != row["label"] == row["prediction_fp_robust"] for row in lost)
    assert any(row["is_transitory"] for row in rows)


def test_the_worst_transitory_points_come_with_their_image(robust: Subject, detrimental: Subject) -> None:
    rows = rows_with(5, robust, detrimental)
    shown = [row for row in rows if row["thumbnail"] is not None]
    others = [row["margin_q"] for row in rows if row["is_transitory"] and row["thumbnail"] is None]
    assert len(shown) == 5
    assert all(row["is_transitory"] for row in shown)
    assert max(row["margin_q"] for row in shown) <= min(others)
    split = detrimental.data.splits[TEST]
    images = dict(zip(split.image_ids_B.tolist(), split.images_BCHW, strict=True))
    for row in shown:
        pixels = np.array(Image.open(io.BytesIO(row["thumbnail"]), formats=["PNG"]))
        assert torch.from_numpy(pixels).permute(2, 0, 1).equal(images[row["image_id"]])


def test_there_are_no_more_thumbnails_than_transitory_points(robust: Subject, detrimental: Subject) -> None:
    rows = rows_with(1000, robust, detrimental)
    assert [row["thumbnail"] is not None for row in rows] == [row["is_transitory"] for row in rows]
    assert all(row["thumbnail"] is None for row in rows_with(0, robust, detrimental))


def test_large_images_shrink_to_thumbnails(easy_digits: ImageData, create_subject: Callable[..., Subject]) -> None:
    split = easy_digits.splits[TEST]
    few = replace(
        split,
        images_BCHW=split.images_BCHW[:8].repeat_interleave(5, 2).repeat_interleave(5, 3),
        labels_B=split.labels_B[:8],
        image_ids_B=split.image_ids_B[:8],
    )
    data = replace(easy_digits, splits={TEST: few})
    # Labels as the network answers to these crops, so that both are right.
    subject = create_subject(data=data)
    labelled = replace(few, labels_B=subject.full_precision(TEST).predictions_B)
    subject = create_subject(data=replace(data, splits={TEST: labelled}))
    thumbnails = [row["thumbnail"] for row in rows_with(8, subject, subject) if row["thumbnail"]]
    assert thumbnails
    assert {Image.open(io.BytesIO(thumbnail)).size for thumbnail in thumbnails} == {(128, 128)}
