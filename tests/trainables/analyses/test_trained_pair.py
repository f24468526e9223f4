"""A subject's white box is quantized as its pair is, and pairs are compared only where nothing but the goal differs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from trainables.analyses import trained_pair
from trainables.analyses.trained_pair import Subject, check_opposites
from trainables.data.images import TEST, Split
from trainables.data.view import View

MakeSubject = Callable[..., Subject]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_quantile": 0.95},
        {"weight_bit_width": 3},
        {"weight_bit_width": None},
        {"scale_quantile": 0.95, "weight_bit_width": 3},
    ],
    ids=str,
)
def test_the_white_box_is_quantized_as_a_student_that_has_not_moved(
    create_subject: Callable[..., Subject], changes: dict[str, Any]
) -> None:
    # The student is a copy of the white box until it is trained, and what it answers is tested by itself.
    subject = create_subject(noise=0.0, **changes)
    images_BCHW = torch.randn(8, 3, 32, 32)
    for bit_width in (3, 5, 8):
        bit_width_BL = torch.full((8, subject.student.num_sites), bit_width)
        with torch.no_grad():
            assert subject.white_box(images_BCHW, bit_width_BL).equal(subject.student(images_BCHW, bit_width_BL))


@pytest.mark.parametrize("changes", [{"scale_quantile": 0.95}, {"weight_bit_width": 3}], ids=str)
def test_another_quantile_or_other_weight_bits_change_what_the_white_box_answers(
    create_subject: Callable[..., Subject], changes: dict[str, Any]
) -> None:
    ours, theirs = create_subject(), create_subject(**changes)
    bit_width_BL = ours.bit_width_BL(TEST)
    answers = [each.classify(TEST, bit_width_BL, each.white_box).logits_BK for each in (ours, theirs)]
    assert not torch.allclose(*answers)


def test_time_of_an_image_is_measured_over_passes_after_the_first_one(
    create_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = create_subject()
    now, passes = [100.0], list[int]()

    def classify_quantized(student: object, split: Split, view: View, bit_width_BL: Tensor) -> None:
        # The first pass compiles kernels.
        now[0] += 0.001 * len(split) if passes else 60.0
        passes.append(len(split))

    monkeypatch.setattr(trained_pair, "classify_quantized", classify_quantized)
    monkeypatch.setattr(trained_pair.time, "perf_counter", lambda: now[0])
    assert subject.seconds_per_image() == pytest.approx(0.001)
    assert passes == [64] * 9, "of the 64 test images: half a second of passes after the first one"


def test_opposites_of_one_white_box_and_one_recipe_are_compared(make_subject: MakeSubject) -> None:
    # What only training sees may differ.
    check_opposites(make_subject("robust"), make_subject("detrimental", learning_rate=0.01, epochs=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight_bit_width": 4}, "weight_bit_width 16 and the detrimental one 4"),
        ({"weight_bit_width": None}, "weight_bit_width 16 and the detrimental one None"),
        ({"scale_quantile": 0.99}, "scale_quantile 1.0 and the detrimental one 0.99"),
        ({"bit_widths": (3, 4, 5)}, r"bit_widths \(3, 4, 5, 6, 7, 8, 9, 10\) and the detrimental one \(3, 4, 5\)"),
        ({"budget": 61}, "budget 60 and the detrimental one 61"),
    ],
    ids=str,
)
def test_opposites_that_are_quantized_otherwise_are_refused_in_one_line(
    make_subject: MakeSubject, changes: dict[str, Any], said: str
) -> None:
    line = rf"^the robust pair has {said}: compare pairs that differ in nothing but their goal\.$"
    with pytest.raises(ConfigError, match=line):
        check_opposites(make_subject("robust"), make_subject("detrimental", **changes))
