"""Every figure of a site against the definition, computed apart."""

import math

import numpy as np
import pytest
import torch

from tests.trainables.models.networks import create, noise
from trainables.assessment.sites import measure_sites
from trainables.quant.affine import fake_quantize
from trainables.quant.student import QuantizedStudent


@torch.no_grad()
def test_figures_of_sites_are_what_their_definitions_give() -> None:
    student, images = QuantizedStudent(create("test_resnet"), weight_bit_width=None).eval(), noise(40)
    labels = student(images).argmax(1)
    bits = torch.randint(2, 5, (40, student.num_sites), generator=torch.Generator().manual_seed(3))
    progress: list[tuple[int, int]] = []
    table = measure_sites(student, images, labels, bits, sites=[1, 4], on_progress=lambda *done: progress.append(done))
    assert table["name"].tolist() == [student.sites[site].name for site in (1, 4)]
    assert progress[-1] == (240, 240)

    def accuracy(bit_width_BL: torch.Tensor) -> float:
        return (student(images, bit_width_BL).argmax(1) == labels).double().mean().item()

    exact: dict[int, torch.Tensor] = {}
    student.observe(images, None, lambda site, x: exact.update({site: x.clone()}))
    for row in table.to_dict("records"):
        site = row["site"]
        mask = torch.arange(student.num_sites) == site
        assert row["given_back"] == pytest.approx(accuracy(bits * ~mask) - accuracy(bits))
        assert row["accuracy_alone"] == pytest.approx(accuracy(bits * mask))
        x = exact[site].double().numpy()
        quantized = fake_quantize(exact[site], bits[:, site]).double().numpy()
        assert row["sqnr_db"] == pytest.approx(10 * np.log10((x**2).sum() / ((x - quantized) ** 2).sum()), rel=1e-6)
        assert row["share_zeroed"] == pytest.approx(((quantized == 0) & (x != 0)).sum() / (x != 0).sum())


def test_a_site_at_full_precision_has_no_noise_and_gives_nothing_back() -> None:
    student, images = QuantizedStudent(create("test_resnet")).eval(), noise(3)
    bits = torch.full((3, student.num_sites), 4)
    bits[:, 2] = 0
    (row,) = measure_sites(student, images, torch.zeros(3, dtype=torch.int64), bits, sites=[2]).to_dict("records")
    assert (row["given_back"], row["sqnr_db"], row["share_zeroed"]) == (0.0, math.inf, 0.0)
