"""The cross-policy table against passes made by hand."""

import pytest
import torch
from torch import Tensor

from search_spaces.analyses import CrossPolicy
from search_spaces.errors import ConfigError
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.cross_policy import cross_policy
from trainables.analyses.trained_pair import Subject
from trainables.data.augment import evaluation_batch
from trainables.quant.random_allocation import random_allocations

SETTINGS = CrossPolicy(num_draws=3, draw_seed=5)


@pytest.fixture
def robust(make_subject) -> Subject:
    return make_subject("robust")


@pytest.fixture
def detrimental(make_subject) -> Subject:
    return make_subject("detrimental")


def right(logits_BK: Tensor, subject: Subject) -> Tensor:
    return logits_BK.argmax(1) == subject.data.splits["test"].labels_B


@torch.no_grad()
def test_every_network_meets_every_policy(robust: Subject, detrimental: Subject) -> None:
    images_BCHW = evaluation_batch(robust.data.splits["test"].images_BCHW, robust.data.view)
    networks = {"white_box": robust.white_box, "robust": robust.student, "detrimental": detrimental.student}
    bits = {
        ("robust", 0): robust.pair.bit_widths(images_BCHW),
        ("detrimental", 0): detrimental.pair.bit_widths(images_BCHW),
    } | {("random", draw): random_allocations(64, 15, range(3, 11), 60, seed=(5, draw)) for draw in range(3)}
    rows = rows_of(cross_policy(SETTINGS, robust, detrimental))
    assert [(row["network"], row["policy"], row["draw"]) for row in rows] == [
        (network, policy, draw) for network in networks for policy, draw in bits
    ]
    for row in rows:
        network, bit_width_BL = networks[row["network"]], bits[row["policy"], row["draw"]]
        assert bit_width_BL.sum(1).tolist() == [60] * 64
        full_B, quantized_B = right(network(images_BCHW), robust), right(network(images_BCHW, bit_width_BL), robust)
        assert row["accuracy_fp"] == full_B.double().mean().item()
        assert row["accuracy_q"] == quantized_B.double().mean().item()
        assert row["accuracy_delta"] == row["accuracy_q"] - row["accuracy_fp"]
        assert (row["num_images"], row["num_lost"]) == (64, int((full_B & ~quantized_B).sum()))
        assert row["num_gained"] == int((~full_B & quantized_B).sum())
    # A table of equal numbers would hold for any mix-up of networks and policies.
    assert len({(row["accuracy_fp"], row["accuracy_q"], row["num_lost"]) for row in rows}) > 8


def test_a_unit_alone_gives_the_rows_that_it_gives_among_others(make_subject) -> None:
    whole = cross_policy(SETTINGS, make_subject("robust"), make_subject("detrimental"))
    expected = {unit.key: unit.rows() for unit in whole}
    assert len(expected) == 3 * (2 + SETTINGS.num_draws) == len(whole)
    assert sum(unit.num_images for unit in whole) == 64 * (3 * 5 + 3)
    alone = cross_policy(SETTINGS, make_subject("robust"), make_subject("detrimental"))
    for unit in reversed(alone):
        assert unit.rows() == expected[unit.key]


def test_pairs_that_are_no_opposites_are_refused(make_subject, robust: Subject, detrimental: Subject) -> None:
    with pytest.raises(ConfigError, match="goals detrimental and robust"):
        cross_policy(SETTINGS, detrimental, robust)
    with pytest.raises(ConfigError, match="budget 60 and the detrimental one 61"):
        cross_policy(SETTINGS, robust, make_subject("detrimental", budget=61))
    with pytest.raises(ConfigError, match="different white boxes"):
        cross_policy(SETTINGS, robust, make_subject("detrimental", white_box_seed=2))
