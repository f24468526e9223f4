"""Accuracy of a network over a split, with what is kept of every image."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.augment import evaluation_batch
from trainables.data.images import ImageData, Split
from trainables.data.view import View
from trainables.losses import leads

# B = images, K = classes.

EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Classified:
    """A split as a network sees it."""

    labels_B: Tensor
    image_ids_B: Tensor
    logits_BK: Tensor

    @property
    def predictions_B(self) -> Tensor:
        """The arg-max class of every image."""
        return self.logits_BK.argmax(dim=-1)

    @property
    def is_right_B(self) -> Tensor:
        """Whether each image is classified as labelled."""
        return self.predictions_B == self.labels_B

    @property
    def accuracy(self) -> float:
        """Share of images classified as labelled, in [0, 1]."""
        return self.is_right_B.double().mean().item()

    @property
    def margins_B(self) -> Tensor:
        """Probability of the label minus that of the best other class, in [-1, 1]; negative where wrong."""
        return leads(self.logits_BK.softmax(dim=-1), self.labels_B)


@torch.inference_mode()
def outputs(network: Callable[[Tensor], Tensor], split: Split, view: View) -> Tensor:
    """Returns on the CPU what a network computes of every image of a split; see `classify`."""
    parts = split.images_BCHW.split(EVALUATION_BATCH)
    return torch.cat([network(evaluation_batch(images_BCHW, view)) for images_BCHW in parts]).cpu()


def classify(network: Callable[[Tensor], Tensor], split: Split, view: View) -> Classified:
    """Runs a network over a split.

    Args:
        network: Maps normalized images to logits, deterministic; the caller puts it into evaluation mode.
        split: uint8 images on the network's device.
        view: What the network sees of every image.
    """
    logits_BK = outputs(network, split, view).float()
    return Classified(labels_B=split.labels_B.cpu(), image_ids_B=split.image_ids_B, logits_BK=logits_BK)


def classify_quantized(
    network: Callable[[Tensor, Tensor], Tensor], split: Split, view: View, bit_width_BL: Tensor
) -> Classified:
    """Runs a network over a split, with bit-widths for every image.

    Args:
        network: Maps normalized images and their bit_width_BL to logits.
        split: uint8 images on the network's device.
        view: What the network sees of every image.
        bit_width_BL: Bits of every image of the split at every site; 0 leaves a site at full precision.
    """
    rows = iter(bit_width_BL.split(EVALUATION_BATCH))
    return classify(lambda images_BCHW: network(images_BCHW, next(rows)), split, view)


def classifier_outcome(
    network: Callable[[Tensor], Tensor], data: ImageData, splits: Sequence[str]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Measures a plain classifier.

    Returns:
        `<split>/accuracy` of every split, and the columns of `prediction_columns`, prediction and margin.
    """
    seen = {name: classify(network, data.splits[name], data.view) for name in splits}
    metrics = {f"{name}/accuracy": classified.accuracy for name, classified in seen.items()}
    own = ({"prediction": each.predictions_B, "margin": each.margins_B} for each in seen.values())
    return metrics, prediction_columns(seen.values(), own)


def prediction_columns(seen: Iterable[Classified], own: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Joins the rows of splits: split (0 for the first, ...), image_id and label, and what each has of its own."""
    parts = [
        {"split": torch.full_like(each.labels_B, number), "image_id": each.image_ids_B, "label": each.labels_B}
        | columns
        for number, (each, columns) in enumerate(zip(seen, own, strict=True))
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
