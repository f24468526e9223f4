"""What measurements and attacks ask of a network: sites, and a forward pass at given bit-widths.

`QuantizedStudent` is one. A network that only runs forward, such as an ONNX file in a runtime, is `Quantizable` too;
`Differentiable` adds the gradient for every option.

Shape letters: B = examples, L = sites, O = bit-width options, K = classes, C H W = image.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from trainables.quant.sites import Site


class Quantizable(Protocol):
    """A classifier that runs at full precision or at bit-widths per image and site, in evaluation mode."""

    @property
    def sites(self) -> Sequence[Site]:
        """The quantized activations in the order of execution."""

    @property
    def num_sites(self) -> int:
        """Number of sites, L."""

    def __call__(self, images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        """Returns logits, [B, K].

        Args:
            images: Normalized images, [B, C, H, W].
            bit_width_BL: Bits of every site of every image, integer in 0..16, where 0 leaves that site of that image
                at full precision. None runs the network as it is.
        """

    def observe(self, images: Tensor, bit_width_BL: Tensor | None, show: Callable[[int, Tensor], None]) -> Tensor:
        """Returns logits, [B, K], and calls `show` with every site's index and activation on the way."""


class Differentiable(Quantizable, Protocol):
    """A quantizable network whose backward pass reaches every option of every site."""

    def forward_options(self, images: Tensor, selection_BLO: Tensor, bit_widths: Sequence[int]) -> Tensor:
        """Returns logits, [B, K], at the selected options; see `QuantizedStudent.forward_options`."""
