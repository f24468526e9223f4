"""What shares a batch with an image: with ranges over a batch, a loud companion leaves the others few levels.

ONNX Runtime takes the range of an activation over all images that it is given, so an image's answer depends on its
batch. A *companion* is whatever else is in it: other requests of a server, padding, or an image that somebody made for
the purpose. All images of a batch have the same allocation. Every claim is a forward pass.

Shape letters: B = images, N = companions, L = sites, K = classes, C H W = image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.attacks.pixels import Pixels
from trainables.quant.student import QuantizedStudent

PASS = 128
"""Images of a pass."""
OPTIMIZED_ON = 32
"""Images that one step of an optimization looks at."""
FIRST_STEP, LAST_STEP = 0.2, 0.01
"""Of the optimization, as shares of the pixel range."""


@torch.inference_mode()
def predict(network: QuantizedStudent, images: Tensor, bit_width_L: Tensor, *, batch_size: int = 1) -> Tensor:
    """Returns the classes_B of images in batches of one size, side by side; of 1, every image is alone."""
    size = max(1, PASS // batch_size) * batch_size
    batched = network.in_batches_of(batch_size)
    parts = [batched(part, bit_width_L.expand(len(part), -1)).argmax(1).cpu() for part in images.split(size)]
    return torch.cat(parts)


def predict_in_batches(
    network: QuantizedStudent, images: Tensor, bit_width_L: Tensor, *, batch_size: int, generator: torch.Generator
) -> Tensor:
    """Returns the classes_B of images that are dealt into batches at random.

    The last batch is filled up with other images, whose answers there do not count.
    """
    order_B = torch.randperm(len(images), generator=generator)
    filled = torch.cat([order_B, order_B[: -len(order_B) % batch_size]])
    answers = predict(network, images[filled.to(images.device)], bit_width_L, batch_size=batch_size)
    classes_B = torch.empty(len(images), dtype=torch.int64)
    classes_B[order_B] = answers[: len(images)]
    return classes_B


def predict_beside(network: QuantizedStudent, images: Tensor, companion: Tensor, bit_width_L: Tensor) -> Tensor:
    """Returns the classes_B of images that each share a batch of two with a companion, [C, H, W]."""
    return predict(network, _in_pairs(images, companion), bit_width_L, batch_size=2)[::2]


@torch.inference_mode()
def loudness(network: QuantizedStudent, images: Tensor) -> Tensor:
    """Returns by how much every image stretches ranges: its range over the median image's, at its loudest site, [B]."""
    ranges: list[list[Tensor]] = [[] for _ in range(network.num_sites)]

    def show(site: int, x: Tensor) -> None:
        values = x.reshape(len(part), -1)
        ranges[site].append((values.amax(1).clamp(min=0) - values.amin(1).clamp(max=0)).cpu())

    for part in images.split(PASS):
        network.observe(part, None, show)
    range_LB = torch.stack([torch.cat(each) for each in ranges])
    median_L1 = range_LB.median(1, keepdim=True).values.clamp(min=torch.finfo(torch.float32).tiny)
    return (range_LB / median_L1).amax(0)


def loudest_and_others(network: QuantizedStudent, images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Returns the positions of candidates for companions: half the loudest images, half drawn from the others."""
    order = loudness(network, images).argsort(descending=True)
    loud, others = order[: count // 2], order[count // 2 :]
    return torch.cat([loud, others[torch.randperm(len(others), generator=generator)[: count - len(loud)]]])


def optimize(
    network: QuantizedStudent,
    images: Tensor,
    start: Tensor,
    bit_width_L: Tensor,
    pixels: Pixels,
    *,
    steps: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Makes companions of valid pixels that are to hurt any image beside them.

    The first stretches ranges: signed gradient ascent on the sum of the logarithms of the largest magnitude of every
    site, at full precision. The second goes on from there with the loss of the images beside it, against what they
    answer alone; the gradient reaches it through the range that it shares with them. The third does so from the start.

    Args:
        network: In evaluation mode, frozen.
        images: That it is to hurt, [B, C, H, W].
        start: Image to begin with, [C, H, W].
        bit_width_L: The allocation of all images.
        pixels: Valid values.
        steps: Of each of the three.
        generator: Of the images that a step looks at.

    Returns:
        The three companions.
    """
    alone_B = predict(network, images, bit_width_L)
    paired = network.in_batches_of(2)

    def range_sum(companion: Tensor) -> Tensor:
        terms: list[Tensor] = []

        def show(site: int, x: Tensor) -> None:
            # What follows may work in place, and the gradient needs the values.
            terms.append(x.clone().abs().amax().clamp(min=1e-12).log())

        network.observe(companion[None], None, show)
        return torch.stack(terms).sum()

    def loss_beside(companion: Tensor) -> Tensor:
        some = torch.randperm(len(images), generator=generator)[:OPTIMIZED_ON]
        pairs = _in_pairs(images[some.to(images.device)], companion)
        logits_BK = paired(pairs, bit_width_L.expand(len(pairs), -1))[::2]
        return F.cross_entropy(logits_BK.float(), alone_B[some].to(logits_BK.device))

    def ascend(companion: Tensor, value: str) -> Tensor:
        width = pixels.highest - pixels.lowest
        for step in range(steps):
            companion = companion.detach().requires_grad_()
            with torch.enable_grad():
                reached = range_sum(companion) if value == "range" else loss_beside(companion)
                (gradient,) = torch.autograd.grad(reached, companion)
            share = FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (step / max(1, steps - 1))
            companion = pixels.clip(companion.detach() + share * width * gradient.sign())
        return companion.detach()

    start = pixels.clip(start)
    loud = ascend(start, "range")
    return [loud, ascend(loud, "loss"), ascend(start, "loss")]


def _in_pairs(images: Tensor, companion: Tensor) -> Tensor:
    return torch.stack([images, companion.expand_as(images)], dim=1).flatten(0, 1)
