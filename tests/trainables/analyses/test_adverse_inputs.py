"""Adverse inputs: bounds hold, counts are forward passes, and the attack finds what brute force finds."""

import itertools
from collections.abc import Callable

import pytest
import torch

from search_spaces.analyses import AdverseInputs
from search_spaces.errors import UnknownNameError
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.adverse_inputs import adverse_inputs
from trainables.analyses.trained_pair import Subject
from trainables.attacks.pixels import Pixels, adverse
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST
from trainables.data.view import View
from trainables.quant.affine import fake_quantize

SETTINGS = AdverseInputs(radii=(1, 6), num_steps=6, corruptions=("noise",), max_passes=8, max_images=24)
LEVELS = Pixels(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 255.0))
"""Pixels whose normalized values are their levels."""


@pytest.fixture
def subject(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.01)


@pytest.fixture
def table(subject: Subject) -> list[dict[str, object]]:
    return rows_of(adverse_inputs(SETTINGS, subject))


def test_there_is_a_row_per_network_aim_radius_and_kind_of_image(table: list[dict[str, object]]) -> None:
    assert [(row["network"], row["aim"], row["radius"], row["images"]) for row in table] == [
        (network, *rest)
        for network in ("student", "white_box")
        for rest in (
            ("quantized", 0, "clean"),
            *((aim, radius, "adverse") for radius, aim in itertools.product((1, 6), ("quantized", "full_precision"))),
            ("allocation", 0, "clean"),
            ("allocation", 0, "noise"),
        )
    ]
    assert all(row["num_images"] == 24 for row in table)
    for row in table:
        drop = (row["num_lost"] - row["num_gained"]) / row["num_images"]  # type: ignore[operator]  # numbers
        assert row["accuracy_fp"] - row["accuracy_q"] == pytest.approx(drop)  # type: ignore[operator]  # numbers


def test_unchanged_images_are_answered_as_the_pair_answers_them(
    subject: Subject, table: list[dict[str, object]]
) -> None:
    some = subject.with_at_most(24, [TEST])
    assert table[0]["accuracy_fp"] == some.full_precision(TEST).accuracy
    assert table[0]["accuracy_q"] == some.quantized(TEST).accuracy


def test_attacks_break_more_images_than_break_by_themselves(table: list[dict[str, object]]) -> None:
    for clean, _, _, six, fooled, worst, _ in (table[:7], table[7:]):
        assert six["num_lost"] > clean["num_lost"]  # type: ignore[operator]  # numbers
        assert worst["accuracy_q"] < clean["accuracy_q"]  # type: ignore[operator]  # numbers
        assert fooled["accuracy_fp"] < clean["accuracy_fp"]  # type: ignore[operator]  # numbers
        # The usual adversarial example is not hidden at full precision, this one is.
        assert six["accuracy_fp"] > fooled["accuracy_fp"]  # type: ignore[operator]  # numbers


def test_a_corruption_without_a_name_is_refused_with_the_known_ones(subject: Subject) -> None:
    with pytest.raises(UnknownNameError, match=r"fog.*blur"):
        adverse_inputs(AdverseInputs(corruptions=("fog",)), subject)


def test_changed_pictures_are_whole_levels_within_the_bound(subject: Subject) -> None:
    split, view = subject.split(TEST).take(torch.arange(16)), subject.data.view
    pixels, images = Pixels.of_view(view), evaluation_batch(split.images_BCHW, view)
    even_L = torch.full((subject.student.num_sites,), 4)
    student = subject.student

    def quantized(x: torch.Tensor) -> torch.Tensor:
        return student(x, even_L.expand(len(x), -1))

    found = adverse(student, quantized, images, split.labels_B, pixels, radius=3, steps=5)
    change = (found.images - images) / pixels.level
    torch.testing.assert_close(change, change.round(), atol=1e-3, rtol=0)
    assert change.abs().max() <= 3.001
    assert change.abs().max() > 0.9
    levels = (found.images - pixels.lowest) / pixels.level
    assert levels.min() > -1e-3
    assert levels.max() < 255 + 1e-3
    torch.testing.assert_close(found.quantized_BK, quantized(found.images))
    torch.testing.assert_close(found.full_BK, student(found.images))


def test_black_and_white_are_what_the_view_makes_of_them() -> None:
    view = View(8, 8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    ends = evaluation_batch(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 8, 8), view)
    pixels = Pixels.of_view(view)
    torch.testing.assert_close(pixels.lowest.expand(3, 8, 8), ends[0])
    torch.testing.assert_close(pixels.highest.expand(3, 8, 8), ends[1])


def test_it_finds_nearly_all_hidden_failures_that_trying_all_changes_finds_and_claims_no_other() -> None:
    # Two pixels at 2 bits: class 0 while the first is larger. Quantization ties or swaps them near a boundary.
    def full(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2]

    def quantized(images: torch.Tensor) -> torch.Tensor:
        bits_B = torch.full((len(images),), 2)
        shift = torch.tensor([0.0, 1e-3])
        return fake_quantize(images, bits_B, range_gradient=True).flatten(1)[:, :2] + shift

    generator = torch.Generator().manual_seed(0)
    low = torch.randint(60, 200, (40,), generator=generator)
    images = torch.stack([low + torch.randint(1, 40, (40,), generator=generator), low], 1).float()
    images = torch.cat([images, torch.full((40, 1), 255.0)], 1)[:, None, None, :]
    labels_B = torch.zeros(40, dtype=torch.int64)
    radius = 4
    changes = torch.tensor(list(itertools.product(range(-radius, radius + 1), repeat=3))).float()
    exists = []
    for image in images:
        tried = LEVELS.clip(image + changes[:, None, None, :])
        is_hidden = (full(tried).argmax(1) == 0) & (quantized(tried).argmax(1) == 1)
        exists.append(bool(is_hidden.any()))
    found = adverse(full, quantized, images, labels_B, LEVELS, radius=radius, steps=40)
    is_found = (found.full_BK.argmax(1) == 0) & (found.quantized_BK.argmax(1) == 1)
    assert 5 < sum(exists) < 40
    assert not any(found and not there for found, there in zip(is_found.tolist(), exists, strict=True))
    assert is_found.sum() >= 0.9 * sum(exists)
