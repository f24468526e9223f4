"""The bit-width policy: a small CNN from images to a score for every option at every site (paper section 3.2)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

# B = examples, L = sites, O = bit-width options, C H W = image.

WIDTHS = (16, 32, 64, 128)


class Policy(nn.Module):
    """Four strided convolutions, a global average and one linear layer.

    Group normalization keeps the bits of one image independent of the batch it comes in: with batch statistics the
    same image would get other bits in training than alone.
    """

    def __init__(self, *, num_sites: int, num_options: int) -> None:
        """Builds a policy with random weights."""
        super().__init__()
        self.num_sites, self.num_options = num_sites, num_options
        layers: list[nn.Module] = []
        for channels, width in pairwise((3, *WIDTHS)):
            layers += [
                nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1, bias=False),
                nn.GroupNorm(num_groups=8, num_channels=width),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTHS[-1], num_sites * num_options)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits_BLO, unbounded."""
        pooled_BC = self.features(images_BCHW).mean(dim=(2, 3))
        return self.head(pooled_BC).view(-1, self.num_sites, self.num_options)


def profits_of(logits_BLO: Tensor, profits: str) -> Tensor:
    """Returns what the knapsack maximizes: the logits themselves or their softmax over the options (section 3.4)."""
    return torch.softmax(logits_BLO, dim=-1) if profits == "softmax" else logits_BLO
