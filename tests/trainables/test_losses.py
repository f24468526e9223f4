"""The losses, against torch's own and against hand-computed cases."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from search_spaces.recipes import PairLossName
from trainables.losses import PAIR_LOSSES, hinge_detrimental, hinge_robust, kd_loss


def test_kd_equals_torchs_kl_div_of_softened_softmaxes() -> None:
    student, teacher = torch.randn(7, 5), torch.randn(7, 5)
    expected = F.kl_div((student / 5).log_softmax(-1), (teacher / 5).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(kd_loss(student, teacher, temperature=5.0, scaled=False), expected)
    torch.testing.assert_close(kd_loss(student, teacher, temperature=5.0, scaled=True), 25 * expected)


def test_kd_equals_equation_3_summed_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    p_t, p_s = teacher.softmax(-1)[0], student.softmax(-1)[0]
    expected = sum(p_t[i] * p_t[i].log() - p_t[i] * p_s[i].log() for i in range(2))
    torch.testing.assert_close(kd_loss(student, teacher, temperature=1.0, scaled=True), expected)


def test_kd_gives_the_teacher_no_gradient() -> None:
    student, teacher = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    kd_loss(student, teacher, temperature=5.0, scaled=True).backward()
    assert student.grad is not None
    assert teacher.grad is None


# Teacher's order of classes: 1, 2, 0. delta = 0.01.
TEACHER = torch.tensor([[0.0, 3.0, 1.0]])


@pytest.mark.parametrize(
    ("probs", "robust", "detrimental"),
    [
        # Eq. 7: p_2 - p_1 + 0.01. Eq. 8: p_1 - max(p_0, p_2) + 0.01.
        ([0.1, 0.7, 0.2], 0.0, 0.51),
        ([0.1, 0.2, 0.7], 0.51, 0.0),
        ([0.6, 0.3, 0.1], 0.0, 0.0),  # class 0 leads: robust looks at class 2 only
        ([0.3, 0.4, 0.3], 0.0, 0.11),
        ([0.2, 0.4, 0.4], 0.01, 0.01),
        ([0.0, 0.5025, 0.4975], 0.005, 0.015),
    ],
)
def test_hinges_equal_equations_7_and_8_by_hand(probs: list[float], robust: float, detrimental: float) -> None:
    probs_BK = torch.tensor([probs])
    assert hinge_robust(probs_BK, TEACHER, margin=0.01).item() == pytest.approx(robust, abs=1e-6)
    assert hinge_detrimental(probs_BK, TEACHER, margin=0.01).item() == pytest.approx(detrimental, abs=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=12, max_size=12), st.floats(0, 0.9))
def test_hinges_stay_within_their_range(values: list[float], margin: float) -> None:
    student, teacher = torch.tensor(values).view(2, 2, 3)
    for hinge in (hinge_robust, hinge_detrimental):
        loss = hinge(student.softmax(-1), teacher, margin=margin).item()
        assert 0 <= loss <= 1 + margin + 1e-6


def test_hinge_of_a_batch_is_the_mean_of_its_examples() -> None:
    probs, teacher = torch.randn(6, 4).softmax(-1), torch.randn(6, 4)
    for hinge in (hinge_robust, hinge_detrimental):
        each = [hinge(probs[i : i + 1], teacher[i : i + 1], margin=0.05) for i in range(6)]
        torch.testing.assert_close(hinge(probs, teacher, margin=0.05), torch.stack(each).mean())


def test_every_loss_that_a_recipe_may_name_is_there() -> None:
    assert list(PAIR_LOSSES) == list(get_args(PairLossName))
