"""What is assessed: a network with the images that allocations are chosen on, and those that they are measured on.

Shape letters: B = images, K = classes, L = sites, C H W = image.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from search_spaces.budgets import check_as_it_is
from search_spaces.errors import ConfigError
from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import BATCH
from trainables.assessment.figures import Reference
from trainables.attacks.pixels import Pixels
from trainables.data.augment import evaluation_batch
from trainables.data.images import Split
from trainables.data.view import View
from trainables.losses import leads
from trainables.models.equalization import equalize
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_equalization import equalize_onnx
from trainables.runtimes.onnxruntime import OnnxNetwork

PIXELS = 8 * 224**2
"""Of a batch at most, unless it is asked for: with 128 images of 224 pixels two parts took 7 GB side by side."""
Network = QuantizedStudent | OnnxNetwork
"""What can be assessed: a module with gradients, or a file that only runs forward."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Labelled images, read batch by batch as a network sees them."""

    labels_B: Tensor
    """What counts as right, int64 on the CPU."""
    read: Callable[[int, int], Tensor]
    """Returns the images from one position to another, normalized, [b, C, H, W], on the network's device."""

    def __len__(self) -> int:
        return len(self.labels_B)

    def batches(self, size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yields the positions of every batch and its images: so many, or as many as fit into little memory."""
        if not len(self):
            return
        if size is None:
            height, width = self.read(0, 1).shape[-2:]
            size = max(1, min(BATCH, PIXELS // (height * width)))
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            yield place, self.read(place.start, place.stop)

    def first(self, count: int) -> "Images":
        """Returns the first images, at most so many."""
        return Images(labels_B=self.labels_B[:count], read=self.read)

    def spread(self, count: int) -> "Images":
        """Returns at most so many images, evenly spaced: datasets are often in the order of their classes."""
        if count >= len(self):
            return self
        places = torch.linspace(0, len(self) - 1, count).round().long()

        def read(start: int, stop: int) -> Tensor:
            return torch.cat([self.read(place, place + 1) for place in places[start:stop].tolist()])

        return Images(labels_B=self.labels_B[places], read=read)

    def all(self) -> Tensor:
        """Returns all images at once."""
        return self.read(0, len(self))

    @staticmethod
    def of_tensors(images_BCHW: Tensor, labels_B: Tensor, device: torch.device) -> "Images":
        """Returns images that are normalized already."""
        return Images(
            labels_B=labels_B.cpu().long(), read=lambda start, stop: images_BCHW[start:stop].float().to(device)
        )

    @staticmethod
    def of_split(split: Split, view: View, index_C: Tensor) -> "Images":
        """Returns the stored images of a split, normalized when they are read, with index_C[c] for the label c."""
        return Images(
            labels_B=index_C[split.labels_B.cpu()],
            read=lambda start, stop: evaluation_batch(split.images_BCHW[start:stop], view),
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network about to be assessed."""

    network: Network
    selection: Images
    """What static allocations are chosen on."""
    test: Images
    """What everything is measured on."""
    class_names: tuple[str, ...]
    valid_pixels: Pixels | None = None
    """What normalized pixels can be; None where the normalization is not known."""

    @property
    def pixels(self) -> Pixels:
        """What normalized pixels can be: as far as known, or else what those of the selection are."""
        return self.valid_pixels or Pixels.seen_in(self.selection.all())

    @cached_property
    def reference(self) -> Reference:
        """The test images as the network sees them at full precision, in one pass."""
        logits_BK = logits(self.network, self.test)
        top_B2 = logits_BK.softmax(dim=-1).topk(2, dim=-1).values
        return Reference(
            labels_B=self.test.labels_B.numpy(),
            predictions_B=logits_BK.argmax(dim=-1).numpy(),
            margins_B=(top_B2[:, 0] - top_B2[:, 1]).numpy(),
            num_classes=len(self.class_names),
        )


@torch.inference_mode()
def logits(network: Network, images: Images, bit_width_BL: Tensor | None = None) -> Tensor:
    """Returns logits_BK of all images on the CPU, at full precision or at bit-widths for every image."""
    parts = []
    # Where images share their ranges, the batch is part of what is measured.
    has_shared_ranges = isinstance(network, QuantizedStudent) and network.range_scope == "batch"
    for place, images_BCHW in images.batches(BATCH if has_shared_ranges else None):
        bits = None if bit_width_BL is None else bit_width_BL[place]
        parts.append(network(images_BCHW, bits).float().cpu())
    return torch.cat(parts)


def leads_of(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Returns the probability of the label minus that of the best other class, negative where the answer is wrong."""
    return leads(logits_BK.softmax(dim=-1), labels_B)


def quantizable(
    module: nn.Module,
    *,
    weight_bit_width: int | None,
    device: torch.device,
    sites: SitePlacement = "outputs",
    range_scope: RangeScope = "example",
) -> Network:
    """Returns a network that runs quantized, in evaluation mode and frozen; an ONNX file always runs on the CPU.

    Raises:
        ConfigError: It cannot be traced, or has no site; or it is an ONNX file, and `sites` or `range_scope` is no
            default.
    """
    if isinstance(module, OnnxNetwork):
        check_as_it_is(f"onnx:{module.file.path}", sites, range_scope)
        return module.with_weight_bit_width(weight_bit_width)
    frozen = module.eval().requires_grad_(False)
    network = QuantizedStudent(frozen, weight_bit_width=weight_bit_width, sites=sites, range_scope=range_scope)
    return network.eval().to(device)


def equalized(module: nn.Module, images_BCHW: Tensor) -> nn.Module:
    """Returns a copy of a network with equalized links.

    Args:
        module: A module, or an ONNX file.
        images_BCHW: A few normalized images, on which full precision is compared.

    Raises:
        ConfigError: It is an ONNX file whose answers at full precision do not stay the same to the last bit.
    """
    if not isinstance(module, OnnxNetwork):
        return equalize(module, images_BCHW).model
    found = equalize_onnx(module, images_BCHW)
    if not found.is_exact:
        raise ConfigError(
            f"onnx:{module.file.path} answers differently at full precision once its links are equalized (by up to "
            f"{found.largest_difference:.3g}): assess it as it is."
        )
    return found.network


def with_own_answers(network: Network, images: Images) -> Images:
    """Returns images whose labels are the answers of the network at full precision: for data without labels."""
    return Images(labels_B=logits(network, images).argmax(dim=-1), read=images.read)
