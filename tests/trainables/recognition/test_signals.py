"""Signals against direct measurements, and what rescaling does to them; the penalty of attackers who hide."""

import pandas as pd
import pytest
import torch

from tests.trainables.models.networks import create, noise
from trainables.assessment.channel_scan import scan
from trainables.attacks.uniform import uniform
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent
from trainables.recognition.hiding import FREE_OVER_MEDIAN, FREE_OVER_SECOND, Hiding
from trainables.recognition.image_signals import IMAGE_SIGNALS, image_signals, median_ranges, ranges
from trainables.recognition.signals import NETWORK_SIGNALS, few_bits, network_signals, worst_allocation


def student(factor: float = 1.0, share: float = 0.0) -> QuantizedStudent:
    """A network in whose links a channel, or a share of them, is multiplied."""
    model = create("test_resnet")
    for link in find_links(model):
        for channel in range(max(1, round(share * link.num_channels))):
            rescale(model, link, channel, factor)
    return QuantizedStudent(model).eval().requires_grad_(False)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_rescaling_shows_in_allocations_and_one_channel_in_ratios_though_full_precision_is_the_same(
    share: float,
) -> None:
    plain, attacked, images = student(), student(2.0**12, share), noise(24)
    assert torch.equal(plain(images), attacked(images))
    before, after = (
        network_signals(network, images[1::2], worst_allocation(network, images[::2])) for network in (plain, attacked)
    )
    assert list(after) == list(NETWORK_SIGNALS)
    assert after["changed_uniform"] > before["changed_uniform"] + 0.3
    assert after["equalization_gain"] > 0.3
    # Where most channels are scaled, none is above the others.
    is_seen = after["second_ratio"] > before["second_ratio"] + 4
    assert is_seen == (share == 0)


def test_ranges_are_those_that_the_quantizer_has() -> None:
    network, images = student(), noise(5)
    bits_BL = torch.full((5, network.num_sites), 4)
    shown: dict[int, torch.Tensor] = {}
    network.observe(images, bits_BL, lambda site, x: shown.update({site: x.clone()}))
    found = ranges(network, images, bits_BL)
    for site, x in shown.items():
        for image in range(5):
            values = [0.0, *x[image].flatten().tolist()]
            assert found[image, site] == pytest.approx(max(values) - min(values))
    assert torch.equal(median_ranges(network, images, bits_BL), found.median(0).values)


def test_signals_of_images_are_those_of_the_two_passes() -> None:
    network, images = student(), noise(6)
    uniform_BL = uniform(6, few_bits(network))
    median_L = median_ranges(network, images, uniform_BL)
    same = image_signals(network, images, uniform_BL, median_L)
    assert set(IMAGE_SIGNALS) < set(same)
    assert (same["disagreement"] == 0).all()
    probs_BK = network(images, uniform_BL).softmax(1)
    top_B2 = probs_BK.sort(1, descending=True).values[:, :2]
    assert same["margin"].tolist() == pytest.approx((top_B2[:, 0] - top_B2[:, 1]).tolist())
    fine = image_signals(network, images, torch.full((6, network.num_sites), 16), median_L)
    expected = (network(images, torch.full((6, network.num_sites), 16)).softmax(1) - probs_BK).abs().sum(1) / 2
    assert fine["disagreement"].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    # An image that stretches a range is seen, whatever it is answered.
    loud = image_signals(network, 50 * images, uniform_BL, median_L)
    assert (loud["range_ratio"] > same["range_ratio"] + 2).all()


def test_the_penalty_is_what_the_scan_finds_beyond_what_is_free() -> None:
    network, images = student(2.0**6), noise(8)
    hiding = Hiding(network, 0.5)
    assert torch.equal(hiding.full_precision(images), network(images))
    ratios: pd.DataFrame = scan(network, [images])[["over_second", "over_median"]].map(torch.tensor).map(torch.log2)
    beyond = (ratios - [FREE_OVER_SECOND, FREE_OVER_MEDIAN]).map(float).clip(lower=0).sum(axis=1)
    assert hiding.losses["hide"].item() == pytest.approx(0.5 * beyond.mean(), rel=1e-4)
    assert beyond.mean() > 1


def test_a_step_along_the_penalty_makes_channels_more_alike() -> None:
    network, images = student(2.0**6), noise(8)
    network.requires_grad_(True)
    hiding = Hiding(network, 1.0)
    hiding.full_precision(images)
    before = hiding.losses["hide"]
    before.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 1e-2 * parameter.grad
    again = Hiding(network, 1.0)
    again.full_precision(images)
    assert again.losses["hide"] < before


def test_without_a_weight_nothing_is_paid() -> None:
    network, images = student(2.0**6), noise(2)
    hiding = Hiding(network, None)
    assert torch.equal(hiding.full_precision(images), network(images))
    assert hiding.losses == {}
