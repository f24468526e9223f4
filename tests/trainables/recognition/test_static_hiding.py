"""The penalty of attackers who hide from the worst static allocation: what it costs, and how it looks for one."""

import pytest
import torch

from tests.trainables.models.networks import noise
from tests.trainables.recognition.test_signals import student
from trainables.attacks.uniform import uniform
from trainables.losses import hinge_robust
from trainables.recognition.signals import few_bits
from trainables.recognition.static_hiding import MARGIN, StaticHiding


def test_the_penalty_begins_as_the_robust_hinge_at_even_bits() -> None:
    network, images = student(2.0**6), noise(4)
    white_box_BK = network(images)
    harm = hinge_robust(network(images, uniform(4, few_bits(network))).softmax(1), white_box_BK, margin=MARGIN)
    assert harm > 0
    found = StaticHiding(network, 3.0).losses(network, images, white_box_BK)
    assert found["hide_static"].item() == pytest.approx(3 * harm.item(), rel=1e-5)


def test_its_backward_pass_moves_the_allocation_to_one_that_does_more_harm() -> None:
    network, images = student(2.0**4), noise(8)
    white_box_BK, hiding = network(images), StaticHiding(network, 1.0)
    harms = []
    for _ in range(12):
        loss = hiding.losses(network, images, white_box_BK)["hide_static"]
        loss.backward()
        harms.append(loss.item())
    assert max(harms[1:]) > harms[0] + 0.05
    (selection_LO,) = hiding._selection()
    widths = torch.tensor(few_bits(network).bit_widths, dtype=selection_LO.dtype)
    assert (selection_LO @ widths).sum() == few_bits(network).budget
    # What it knows is kept with the pair, so that a resumed training goes on with it.
    assert hiding.state_dict()["slope_LO"].abs().sum() > 0
