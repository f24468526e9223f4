"""A network without its pinned sites, as an attack sees it that knows of them: bits spent there would change nothing.

Shape letters: B = images, A = all sites, L = free sites, O = options, K = classes, C H W = image.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from trainables.quant.quantizable import Differentiable, Quantizable
from trainables.quant.sites import Site


class FreeSites:
    """A quantizable network whose sites are those of another that are not pinned."""

    def __init__(self, network: Quantizable, pinned: Collection[int]) -> None:
        """Finds the free sites.

        Args:
            network: Whoever pinned the sites: it ignores their bits.
            pinned: Positions of these sites; at least one other is left.
        """
        self._network = network
        self._free_L = torch.tensor([site for site in range(network.num_sites) if site not in pinned])
        self.sites: Sequence[Site] = [network.sites[site] for site in self._free_L.tolist()]

    @property
    def num_sites(self) -> int:
        """Number of free sites, L."""
        return len(self._free_L)

    def __call__(self, images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        """Returns logits_BK; see `Quantizable`."""
        return self._network(images, self._all_sites(bit_width_BL))

    def observe(self, images: Tensor, bit_width_BL: Tensor | None, show: Callable[[int, Tensor], None]) -> Tensor:
        """Shows the free sites, numbered among themselves; see `Quantizable`."""
        numbers = {site: number for number, site in enumerate(self._free_L.tolist())}

        def show_free(site: int, x: Tensor) -> None:
            if site in numbers:
                show(numbers[site], x)

        return self._network.observe(images, self._all_sites(bit_width_BL), show_free)

    def _all_sites(self, bit_width_BL: Tensor | None) -> Tensor | None:
        if bit_width_BL is None:
            return None
        bit_width_BA = bit_width_BL.new_zeros(len(bit_width_BL), self._network.num_sites)
        bit_width_BA[:, self._free_L] = bit_width_BL
        return bit_width_BA


class DifferentiableFreeSites(FreeSites):
    """The same of a network that has gradients."""

    def __init__(self, network: Differentiable, pinned: Collection[int]) -> None:
        """See `FreeSites`."""
        super().__init__(network, pinned)
        self._differentiable = network

    def forward_options(self, images: Tensor, selection_BLO: Tensor, bit_widths: Sequence[int]) -> Tensor:
        """Returns logits_BK with gradients for the options of the free sites; see `Differentiable`."""
        num_images, _, num_options = selection_BLO.shape
        nothing_BAO = selection_BLO.new_zeros(num_images, self._network.num_sites, num_options)
        # A pinned site reads none of its options.
        selection_BAO = nothing_BAO.index_copy(1, self._free_L.to(selection_BLO.device), selection_BLO)
        return self._differentiable.forward_options(images, selection_BAO, bit_widths)
