"""Distributions of the activations, before and after quantization (paper section 4.2, Figure 3)."""

from functools import partial

import torch
from torch import Tensor

from search_spaces.analyses import Histograms
from trainables.analyses.streaming_statistics import Agreement, Distribution
from trainables.analyses.trained_pair import Row, Subject, Unit
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST

# B = images, L = sites, N = values, C H W = image.

SITES_PER_UNIT = 8
"""Every unit passes over all images, so more sites per unit save passes; but the activations of a unit's sites are
kept from the full-precision pass of a batch to its quantized pass, and what is interrupted is measured again."""
BATCH = 64
"""Images whose activations are kept at a time: eight early sites of ResNet50 at 224 px are about 1 GB."""
PIECE = 1 << 20
"""Values that are counted at a time: 8 MB in float64, and as much for each intermediate result."""


def histograms(settings: Histograms, subject: Subject) -> list[Unit]:
    """Measures the activations of every site in the full-precision and in the quantized pass of the test split.

    Args:
        settings: The bins.
        subject: The pair.

    Returns:
        A unit for every few sites, each two passes over the test split; rows of one unit are whole, since a row needs
        all images. Columns: site (from 0), site_name; with `_fp` for the full-precision pass and `_q` for the pass
        that the pair's policy quantizes: counts, zero (the paper's sparsity measure), outside, min, max, mean, std,
        skewness, kurtosis, q01, q25, q50, q75, q99 (see `Distribution.columns`); sqnr_db and cosine between these
        two, that is with the errors of all earlier sites and of the weights; sqnr_db_local and cosine_local between
        the full-precision activation and itself quantized with the policy's bits.
    """
    sites = range(subject.student.num_sites)
    groups = [sites[start : start + SITES_PER_UNIT] for start in sites[::SITES_PER_UNIT]]
    return [
        Unit(
            key=f"{group.start}-{group.stop - 1}",
            num_images=2 * subject.num_images(TEST),
            rows=partial(_rows, settings, subject, group),
        )
        for group in groups
    ]


class _Site:
    """Everything that is measured at a site."""

    def __init__(self, settings: Histograms, device: torch.device) -> None:
        self.full, self.quantized = (
            Distribution(low=settings.low, high=settings.high, num_bins=settings.num_bins, device=device)
            for _ in range(2)
        )
        self.accumulated, self.local = Agreement(device), Agreement(device)

    def add(self, full: Tensor, quantized: Tensor, alone: Tensor) -> None:
        """Takes in a batch: the activation of both passes, and that of the first one quantized alone."""
        self.full.add_sample(full)
        self.quantized.add_sample(quantized)
        pieces = (tensor.flatten().split(PIECE) for tensor in (full, quantized, alone))
        for full_N, quantized_N, alone_N in zip(*pieces, strict=True):
            full_N, quantized_N = full_N.double(), quantized_N.double()
            self.full.add(full_N)
            self.quantized.add(quantized_N)
            self.accumulated.add(full_N, quantized_N)
            self.local.add(full_N, alone_N.double())

    def columns(self) -> Row:
        both = self.full.columns("fp") | self.quantized.columns("q")
        return both | self.accumulated.columns() | self.local.columns("_local")


@torch.inference_mode()
def _rows(settings: Histograms, subject: Subject, group: range) -> list[Row]:
    images_BCHW = subject.split(TEST).images_BCHW
    bit_width_BL = subject.bit_width_BL(TEST).to(images_BCHW.device)
    measured = {site: _Site(settings, images_BCHW.device) for site in group}
    for batch in zip(images_BCHW.split(BATCH), bit_width_BL.split(BATCH), strict=True):
        _add_batch(measured, subject, *batch)
    return [{"site": site, "site_name": subject.site_names[site]} | measured[site].columns() for site in group]


def _add_batch(measured: dict[int, _Site], subject: Subject, stored_BCHW: Tensor, bit_width_BL: Tensor) -> None:
    student = subject.student
    images_BCHW = evaluation_batch(stored_BCHW, subject.data.view)
    full: dict[int, Tensor] = {}

    def keep(site: int, x: Tensor) -> None:
        if site in measured:
            full[site] = x.clone()

    def compare(site: int, x: Tensor) -> None:
        if site in measured:
            before = full.pop(site)
            alone = student.quantize_site(before, bit_width_BL[:, site], site)
            measured[site].add(before, x, alone)

    student.observe(images_BCHW, None, keep)
    student.observe(images_BCHW, bit_width_BL, compare)
