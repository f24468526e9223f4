"""Activation histograms against NumPy and SciPy on stored activations."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from search_spaces.analyses import Histograms
from search_spaces.errors import ConfigError
from search_spaces.model import vary
from tests.trainables.analyses.tables import rows_of
from trainables.analyses import histograms as module
from trainables.analyses.histograms import histograms
from trainables.analyses.trained_pair import Subject
from trainables.data.augment import evaluation_batch
from trainables.quant.affine import fake_quantize


@torch.no_grad()
def activations(subject: Subject, bit_width_BL: Tensor | None) -> dict[int, Tensor]:
    """Every site's activation of the whole test split."""
    images_BCHW = evaluation_batch(subject.data.splits["test"].images_BCHW, subject.data.view)
    kept: dict[int, Tensor] = {}
    subject.student.observe(images_BCHW, bit_width_BL, lambda site, x: kept.update({site: x.clone()}))
    return kept


@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_rows_are_numpys_and_scipys_statistics_of_the_activations(
    make_subject, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    # Not a divisor of the 64 images.
    monkeypatch.setattr(module, "BATCH", 24)
    subject = make_subject()
    bit_width_BL = subject.bit_width_BL("test")
    full, quantized = activations(subject, None), activations(subject, bit_width_BL)
    rows = rows_of(histograms(Histograms(low=-4, high=4, num_bins=800), subject))
    assert [(row["site"], row["site_name"]) for row in rows] == list(enumerate(subject.site_names))
    for row in rows:
        site = row["site"]
        alone = fake_quantize(full[site], bit_width_BL[:, site])
        arrays = {"fp": full[site], "q": quantized[site], "local": alone}
        x = {name: tensor.double().numpy().ravel() for name, tensor in arrays.items()}
        for name in ("fp", "q"):
            counts, _ = np.histogram(x[name], bins=800, range=(-4, 4))
            # A batch of another size rounds otherwise, which moves a value on the edge of a bin.
            assert np.abs(np.array(row[f"counts_{name}"]) - counts).sum() <= 1e-3 * x[name].size
            expected = {
                "zero": counts[400] / x[name].size,
                "outside": (np.abs(x[name]) > 4).mean(),
                "min": x[name].min(),
                "max": x[name].max(),
                "mean": x[name].mean(),
                "std": x[name].std(),
                "skewness": stats.skew(x[name]),
                "kurtosis": stats.kurtosis(x[name]),
            }
            for column, value in expected.items():
                assert row[f"{column}_{name}"] == pytest.approx(value, rel=1e-3, abs=1e-3), (site, column)
        for suffix, other in (("", "q"), ("_local", "local")):
            error = np.sum((x["fp"] - x[other]) ** 2)
            assert row[f"sqnr_db{suffix}"] == pytest.approx(10 * np.log10(np.sum(x["fp"] ** 2) / error), abs=1e-2)
            cosine = x["fp"] @ x[other] / np.linalg.norm(x["fp"]) / np.linalg.norm(x[other])
            assert row[f"cosine{suffix}"] == pytest.approx(cosine, abs=1e-4)


def test_quantization_at_the_first_site_is_local_and_later_it_accumulates(make_subject) -> None:
    rows = rows_of(histograms(Histograms(), make_subject(weight_bit_width=None)))
    assert rows[0]["sqnr_db"] == pytest.approx(rows[0]["sqnr_db_local"], abs=1e-6)
    assert all(row["sqnr_db"] < row["sqnr_db_local"] for row in rows[1:])


def test_a_quantized_activation_has_at_most_the_levels_of_its_bits(make_subject) -> None:
    subject = make_subject()
    bit_width_BL = subject.bit_width_BL("test")
    for site, x in activations(subject, bit_width_BL).items():
        for example, bit_width in zip(x, bit_width_BL[:, site].tolist(), strict=True):
            assert len(example.unique()) <= 2**bit_width
    assert all(len(example.unique()) > 2**10 for example in activations(subject, None)[0])


def test_units_hold_a_few_sites_each_and_do_not_need_each_other(make_subject) -> None:
    units = histograms(Histograms(), make_subject())
    assert [unit.key for unit in units] == ["0-7", "8-14"]
    assert [unit.num_images for unit in units] == [128, 128]
    whole = [unit.rows() for unit in units]
    assert histograms(Histograms(), make_subject())[1].rows() == whole[1]


@pytest.mark.parametrize(("low", "high"), [(1.0, 8.0), (-8.0, -1.0), (0.0, 0.0), (3.0, -3.0)])
def test_bins_without_0_are_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="leave out 0"):
        vary(Histograms(), low=low, high=high)
