"""Signals of the full-precision network that may tell its drop beforehand (paper section 4.3)."""

import torch
from torch import Tensor

from search_spaces.analyses import Indicators
from trainables.analyses.corruptions import classify_corrupted
from trainables.analyses.trained_pair import Row, Subject, Unit
from trainables.data.corruptions import STRENGTHS, Corruption
from trainables.data.images import VALIDATION
from trainables.evaluation import Classified, classify
from trainables.quant.sites import LAYER_KINDS
from trainables.quant.student import QuantizedStudent

# B = images, C H W = image, L = sites, N = its values.

SIGNALS: dict[str, str] = {
    "margin_mean": "mean margin",
    "margin_low": "5 % quantile of the margins",
    "corruption_loss": "mean over the corruptions of the accuracy lost to them",
    **{f"corruption_loss_{kind}": f"accuracy lost to {kind.replace('_', ' ')}" for kind in STRENGTHS},
    "kurtosis_max": "largest excess kurtosis of a site's activations",
    "kurtosis_mean": "mean over sites of the excess kurtosis of the activations",
    "zero_share_mean": "mean over sites of the share of zeros among the activations",
    "outlier_max": "largest ratio of a site's largest activation to their standard deviation",
    "weight_norm_mean": "mean over layers of the L2 norm of the weights",
    "weight_outlier_max": "largest ratio of a layer's largest weight to their standard deviation",
}
"""What every column means. All are of the validation split and of full precision. Statistics of activations are taken
per image, because dynamic quantization looks at one image, and averaged over images before sites are compared. Weights
are those of every Conv2d and Linear, the classifier included."""
LOW_QUANTILE = 0.05
IMAGES_AT_ONCE = 16
"""Bounds the memory of float64 copies: ResNet18's first activation takes 6 MB per image and copy."""


def indicators(settings: Indicators, subject: Subject) -> list[Unit]:
    """Computes the signals of a pair's network; no quantized pass is ever made.

    Args:
        settings: The degree of the corruptions and the seed of their draws.
        subject: The pair.

    Returns:
        One unit of one row, with the columns of SIGNALS.
    """
    num_images = (2 + len(STRENGTHS)) * subject.num_images(VALIDATION)
    return [Unit(key=VALIDATION, num_images=num_images, rows=lambda: [_row(settings, subject)])]


def _row(settings: Indicators, subject: Subject) -> Row:
    clean = subject.full_precision(VALIDATION)
    margins_B = clean.margins_B.double()
    row = {
        "margin_mean": margins_B.mean().item(),
        "margin_low": margins_B.quantile(LOW_QUANTILE).item(),
        **_corruption_losses(settings, subject, clean),
        **_activation_signals(subject),
        **_weight_signals(subject.student),
    }
    return {name: row[name] for name in SIGNALS}


def _corruption_losses(settings: Indicators, subject: Subject, clean: Classified) -> Row:
    losses = {}
    for kind in STRENGTHS:
        corruption = Corruption(kind=kind, degree=settings.corruption_degree, draw_seed=settings.draw_seed)
        (corrupted,) = classify_corrupted(
            [subject.student], subject.data.splits[VALIDATION], subject.data.view, corruption
        )
        losses[f"corruption_loss_{kind}"] = clean.accuracy - corrupted.accuracy
    return losses | {"corruption_loss": sum(losses.values()) / len(losses)}


def _activation_signals(subject: Subject) -> Row:
    parts: list[list[Tensor]] = [[] for _ in subject.site_names]

    def show(index: int, activation: Tensor) -> None:
        parts[index].append(activation_statistics(activation))

    split, view = subject.data.splits[VALIDATION], subject.data.view
    classify(lambda images_BCHW: subject.student.observe(images_BCHW, None, show), split, view)
    kurtosis_L, zero_share_L, outlier_L = torch.stack([torch.cat(part).mean(dim=0) for part in parts]).unbind(1)
    return {
        "kurtosis_max": kurtosis_L.max().item(),
        "kurtosis_mean": kurtosis_L.mean().item(),
        "zero_share_mean": zero_share_L.mean().item(),
        "outlier_max": outlier_L.max().item(),
    }


def activation_statistics(activation: Tensor) -> Tensor:
    """Describes the values of every image's activation.

    Args:
        activation: Images along dimension 0.

    Returns:
        float64 of shape (B, 3) on the CPU: excess kurtosis (0 for a normal distribution), share of zeros, and largest
        magnitude over standard deviation. A constant activation has no outliers: kurtosis and ratio are 0.
    """
    return torch.cat([_statistics(part) for part in activation.split(IMAGES_AT_ONCE)]).cpu()


def _statistics(activation: Tensor) -> Tensor:
    values_BN = activation.flatten(1).double()
    centered_BN = values_BN - values_BN.mean(dim=1, keepdim=True)
    variance_B = centered_BN.square().mean(dim=1)
    kurtosis_B = centered_BN.pow(4).mean(dim=1) / variance_B.square() - 3
    outlier_B = values_BN.abs().amax(dim=1) / variance_B.sqrt()
    is_constant_B = values_BN.amax(dim=1) == values_BN.amin(dim=1)
    zero_share_B = (values_BN == 0).double().mean(dim=1)
    return torch.stack(
        [kurtosis_B.masked_fill(is_constant_B, 0), zero_share_B, outlier_B.masked_fill(is_constant_B, 0)], dim=1
    )


def _weight_signals(student: QuantizedStudent) -> Row:
    weights = [layer.weight.double() for layer in student.model.modules() if isinstance(layer, LAYER_KINDS)]
    # A layer of equal weights has no outliers, as a constant activation has none.
    outliers = [weight.abs().max() / weight.std(correction=0) for weight in weights if weight.unique().numel() > 1]
    return {
        "weight_norm_mean": sum(weight.norm().item() for weight in weights) / len(weights),
        "weight_outlier_max": max((outlier.item() for outlier in outliers), default=0.0),
    }
