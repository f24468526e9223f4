"""Repairs: each is what a network built with that setting does, and the row says what it is worth."""

from collections.abc import Callable

import pytest
import torch

from search_spaces.analyses import Repairs
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.mitigation import worst_sites
from trainables.analyses.repairs import repairs
from trainables.analyses.trained_pair import Subject
from trainables.assessment.paired import drop_interval
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION
from trainables.models.equalization import equalize
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent

SETTINGS = Repairs(quantiles=(0.9,), num_sites=(2,), least_bits=(4,))


def found(subject: Subject) -> dict[tuple[str, str], dict]:
    rows = rows_of(repairs(SETTINGS, subject))
    assert len(rows) == 14
    return {(row["repair"], row["allocation"]): row for row in rows}


@pytest.fixture
def subject(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.02, seed=3)


def test_every_repair_is_measured_as_a_network_with_that_setting_answers(subject: Subject) -> None:
    rows, split = found(subject), subject.split(TEST)
    images, bits_BL = evaluation_batch(split.images_BCHW, subject.data.view), subject.bit_width_BL(TEST)
    seen = evaluation_batch(subject.split(VALIDATION).images_BCHW, subject.data.view)
    maxima: dict[int, torch.Tensor] = {}

    def show(site: int, x: torch.Tensor) -> None:
        maxima[site] = x.abs().amax((0, 2, 3))

    subject.student.observe(seen, None, show)
    model, spared = subject.student.model, sorted(worst_sites(subject)[:2])
    networks = {
        "plain": QuantizedStudent(model),
        "channel_ranges": QuantizedStudent(model, range_scope="channel"),
        "quantile_ranges": QuantizedStudent(model, scale_quantile=0.9),
        "equalization": QuantizedStudent(equalize(model, images[:8]).model),
        "data_equalization": QuantizedStudent(equalize(model, images[:8], channel_maxima=maxima).model),
        "spared_sites": QuantizedStudent(model, pinned=dict.fromkeys(spared, 0)),
        "least_bits": QuantizedStudent(model),
    }
    for name, network in networks.items():
        network.eval()
        asked_BL = bits_BL.clamp(min=4) if name == "least_bits" else bits_BL
        with torch.inference_mode():
            full_B, quantized_B = (network(images, bits).argmax(1) == split.labels_B for bits in (None, asked_BL))
        row = rows[name, "policy"]
        assert row["accuracy_fp"] == full_B.double().mean().item(), name
        assert row["accuracy_q"] == quantized_B.double().mean().item(), name
        assert row["mean_bits"] == asked_BL.sum(1).double().mean().item(), name
        lost, gained = int((full_B & ~quantized_B).sum()), int((~full_B & quantized_B).sum())
        both, neither = int((full_B & quantized_B).sum()), int((~full_B & ~quantized_B).sum())
        assert (row["num_lost"], row["num_gained"]) == (lost, gained)
        assert row["drop"] == pytest.approx((lost - gained) / len(full_B))
        assert (row["drop_low"], row["drop_high"]) == drop_interval(both, lost, gained, neither)
    assert len({row["accuracy_q"] for row in rows.values()}) > 2


def test_the_gap_is_that_to_the_white_box_whatever_the_allocation(subject: Subject) -> None:
    white_box = subject.full_precision(TEST, subject.white_box)
    for row in found(subject).values():
        assert row["accuracy_white_box"] == white_box.accuracy
        assert row["parity_gap"] == pytest.approx(white_box.accuracy - row["accuracy_fp"])
        assert row["gap_low"] <= row["parity_gap"] <= row["gap_high"]


def test_uniform_bits_spend_the_budget_but_for_what_a_site_gets_at_least(subject: Subject) -> None:
    rows = found(subject)
    assert rows["plain", "uniform"]["mean_bits"] == subject.recipe.budget
    # 52 bits for 15 sites: 7 sites of 4 bits, 8 of 3.
    assert rows["least_bits", "uniform"]["mean_bits"] == 60


def test_equalization_gives_back_what_a_rescaled_channel_costs(subject: Subject) -> None:
    for link in find_links(subject.student.model)[:2]:
        rescale(subject.student.model, link, 1, 2.0**12)
    rows = found(subject)
    broken, repaired, whole = (rows[name, "uniform"] for name in ("plain", "equalization", "channel_ranges"))
    assert broken["accuracy_fp"] == repaired["accuracy_fp"]
    assert broken["accuracy_q"] < min(repaired["accuracy_q"], whole["accuracy_q"])
    assert broken["accuracy_q"] < rows["data_equalization", "uniform"]["accuracy_q"]


def test_a_pair_that_was_trained_with_a_repair_is_measured_without_it_too(create_subject) -> None:
    plain, trained = (create_subject(noise=0.02, seed=3, **changes) for changes in ({}, {"range_scope": "channel"}))
    rows, others = found(plain), found(trained)
    assert rows["plain", "policy"]["trained_against"] == "nothing"
    assert others["plain", "policy"]["trained_against"] == "ranges per channel"
    for name in ("plain", "channel_ranges", "quantile_ranges"):
        assert others[name, "uniform"]["accuracy_q"] == rows[name, "uniform"]["accuracy_q"], name
    assert others["channel_ranges", "policy"]["accuracy_q"] == trained.quantized(TEST).accuracy


def test_ranges_over_a_batch_are_repaired_but_for_quantiles(create_subject) -> None:
    keys = {unit.key for unit in repairs(SETTINGS, create_subject(range_scope="batch"))}
    assert keys == {"plain", "channel_ranges", "equalization", "data_equalization", "spared_sites/2", "least_bits/4"}
