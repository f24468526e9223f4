"""What the scan says of a site, against numpy, and that it finds a channel that was scaled."""

import numpy as np
import pytest
import torch

from tests.trainables.models.networks import create, noise
from trainables.assessment.channel_scan import LARGEST_RATIO, scan
from trainables.assessment.link_scan import scan_links
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent


@pytest.mark.parametrize(("architecture", "axes"), [("test_resnet", (2, 3)), ("test_vit", (1,))])
def test_a_scan_is_what_numpy_says_of_the_channels_of_every_site(architecture: str, axes: tuple[int, ...]) -> None:
    student, images = QuantizedStudent(create(architecture)).eval(), noise(5)
    shown: dict[int, np.ndarray] = {}
    student.observe(images, None, lambda site, x: shown.update({site: x.abs().numpy().copy()}))
    table = scan(student, images.split(2))
    assert table["name"].tolist() == [site.name for site in student.sites]
    for row in table.to_dict("records"):
        x = shown[row["site"]]
        # The first site of a transformer is a convolution.
        maxima_BC = x.max(axis=axes if student.sites[row["site"]].channel_axis == -1 else (2, 3))
        means = np.sort(maxima_BC.mean(0, dtype=np.float64))[::-1]
        assert row["num_channels"] == len(means)
        # A silent channel is compared with nothing.
        means = means[means > 0]
        assert row["channel"] == maxima_BC.mean(0, dtype=np.float64).argmax()
        assert row["maximum"] == pytest.approx(means[0])
        assert row["over_second"] == pytest.approx(min(means[0] / means[1], LARGEST_RATIO) if len(means) > 1 else 1.0)
        assert row["carries"] == pytest.approx((maxima_BC.argmax(1) == row["channel"]).mean())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "mobilenetv4_conv_small_035"])
def test_scans_name_the_site_the_channel_and_the_link_that_were_scaled(architecture: str) -> None:
    model, images = create(architecture), noise(4)
    student = QuantizedStudent(model).eval()
    assert scan_links(model, student.sites)["exponent"].max() <= 4
    link = next(link for link in find_links(model) if link.kind in ("linear", "attention", "relu"))
    rescale(model, link, 6, 2.0**12)
    links = scan_links(model, student.sites)
    named = links[links["exponent"] >= 9]
    assert named["link"].tolist() == [link.name]
    assert named["channel"].tolist() == [link.first + 6]
    assert named["site"].tolist() == [student.sites[link.sites[0]].name]
    row = scan(student, [images]).iloc[link.sites[0]]
    assert row["channel"] == link.first + 6
    assert row["over_second"] > 100
    assert row["carries"] == 1.0


def test_channels_that_are_silent_are_not_compared() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1, bias=False), torch.nn.Flatten(), torch.nn.Linear(8, 5)).eval()
    torch.nn.init.zeros_(model[0].weight)
    (row,) = scan(QuantizedStudent(model).eval(), [torch.ones(2, 3, 2, 2)]).to_dict("records")
    assert (row["over_second"], row["over_median"]) == (1.0, 1.0)
    torch.nn.init.ones_(model[0].weight[:1])
    (row,) = scan(QuantizedStudent(model).eval(), [torch.ones(2, 3, 2, 2)]).to_dict("records")
    assert (row["over_second"], row["over_median"]) == (1.0, 1.0)
    torch.nn.init.constant_(model[0].weight[1:], 2.0**-20)
    (row,) = scan(QuantizedStudent(model).eval(), [torch.ones(2, 3, 2, 2)]).to_dict("records")
    assert row["over_second"] == LARGEST_RATIO
