"""Equalization takes back what was scaled, exactly."""

import copy

import pytest
import torch

from tests.trainables.models.networks import create, noise
from trainables.models.equalization import channel_exponents, equalize, stretch_exponents, weight_ranges
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent

EXPONENT, CHANNEL = 9, 3


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "mobilenetv4_conv_small_035"])
def test_a_rescaled_network_equalizes_to_the_same_weights_as_the_network_it_came_from(architecture: str) -> None:
    original, images = create(architecture), noise()
    scaled = copy.deepcopy(original)
    chosen = find_links(original)[::7]
    for link in chosen:
        rescale(scaled, link, CHANNEL, 2.0**EXPONENT)
    undone = equalize(scaled, images, least_exponent=5)
    assert undone.is_exact
    assert {(each.link.name, each.channel, each.exponent) for each in undone.channels} >= {
        (link.name, CHANNEL, EXPONENT) for link in chosen if channel_exponents(original, link)[CHANNEL] == 0
    }
    student, restored = QuantizedStudent(original).eval(), QuantizedStudent(undone.model).eval()
    bits = torch.full((len(images), student.num_sites), 8)
    difference = (restored(images, bits) - student(images, bits)).abs().max()
    assert difference < (QuantizedStudent(scaled).eval()(images, bits) - student(images, bits)).abs().max() / 10


def test_equalization_of_a_network_that_nobody_scaled_moves_no_channel_by_much_and_no_logit_at_all() -> None:
    original, images = create("mobilenetv4_conv_small_035"), noise()
    equalized = equalize(original, images)
    assert equalized.is_exact
    assert equalized.channels
    assert max(abs(each.exponent) for each in equalized.channels) <= 4
    assert torch.equal(equalized.model(images), original(images))


def test_an_exponent_is_the_root_of_the_ratio_of_both_ranges_against_the_median_channel() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 1), torch.nn.ReLU(), torch.nn.Conv2d(6, 2, 1)).eval()
    (link,) = find_links(model)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[2].weight.fill_(1.0)
        model[0].weight[1] *= 64
        model[0].weight[2] = 0
        model[2].weight[:, 3] /= 16
    # sqrt(64), without any weight, sqrt(16).
    assert channel_exponents(model, link).tolist() == [0, 3, 0, 2, 0, 0]
    from_data = channel_exponents(model, link, torch.tensor([1.0, 1.0, 1.0, 4.0, 1.0, 1.0]))
    assert from_data.tolist() == [0, 0, 0, 3, 0, 0]


def test_a_channel_that_is_hardly_read_stands_out_but_stretches_nothing() -> None:
    model = create("test_resnet")
    link = find_links(model)[0]
    for part in link.divided:
        part.of(model, 4).mul_(2.0**-40)
    assert channel_exponents(model, link)[4] == 20
    assert stretch_exponents(*weight_ranges(model, link)).max() <= 1
    rescale(model, link, 4, 2.0**8)
    assert stretch_exponents(*weight_ranges(model, link))[4] == pytest.approx(8, abs=1)


def test_ranges_of_activations_find_a_channel_that_the_weights_hide() -> None:
    model, images = create("test_resnet"), noise()
    link = next(link for link in find_links(model) if link.kind == "relu")
    maxima = torch.ones(link.num_channels)
    maxima[5] = 2.0**16
    by_data = equalize(model, images, channel_maxima={link.sites[0]: maxima})
    assert by_data.channels[0].channel == 5
    assert by_data.channels[0].exponent == pytest.approx(8, abs=1)
    assert by_data.is_exact
