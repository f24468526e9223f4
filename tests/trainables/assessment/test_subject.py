"""Images run in batches that fit into memory, and where they share their ranges in batches of a fixed size."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces.names import RangeScope
from search_spaces.stages.assessment import BATCH
from trainables.assessment.subject import PIXELS, Images, logits
from trainables.quant.student import QuantizedStudent


class Counting(nn.Module):
    """A small classifier of any images that notes how many it sees at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


def sizes(images: Images) -> list[int]:
    return [len(images_BCHW) for _, images_BCHW in images.batches()]


@pytest.mark.parametrize(("side", "largest"), [(8, BATCH), (448, 2), (2000, 1)])
def test_large_images_run_in_small_batches(side: int, largest: int) -> None:
    images = Images(
        labels_B=torch.zeros(130).long(), read=lambda start, stop: torch.zeros(1).expand(stop - start, 3, side, side)
    )
    assert max(sizes(images)) == largest
    assert sum(sizes(images)) == 130
    assert largest == 1 or largest * side**2 <= PIXELS


@pytest.mark.parametrize(("scope", "largest"), [("example", 8), ("batch", 20)])
def test_images_that_share_their_ranges_run_together_however_large(scope: RangeScope, largest: int) -> None:
    seen: list[int] = []
    network = QuantizedStudent(Counting().eval(), range_scope=scope).eval()
    images_BCHW = torch.rand(1, 3, 224, 224).expand(20, -1, -1, -1)

    def read(start: int, stop: int) -> Tensor:
        seen.append(stop - start)
        return images_BCHW[start:stop]

    bit_width_BL = torch.full((20, network.num_sites), 8)
    logits(network, Images(labels_B=torch.zeros(20).long(), read=read), bit_width_BL)
    assert max(seen) == largest
