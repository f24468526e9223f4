"""Small networks that know the digits, trained once for all tests: a plain one, and one with depthwise layers."""

from collections.abc import Callable
from functools import cache

import timm
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from trainables.assessment.subject import Images

SIZE = 32
NUM_TRAINING = 1438
CPU = torch.device("cpu")


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Returns all digits, normalized at 32 px, and their classes."""
    loaded = load_digits()
    images = torch.tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    images = nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear")
    return (images.repeat(1, 3, 1, 1) - 0.5) / 0.25, torch.tensor(loaded.target)


def test_images() -> Images:
    """Returns the 359 digits that nothing was trained on."""
    images, labels = digits()
    return Images.of_tensors(images[NUM_TRAINING:], labels[NUM_TRAINING:], CPU)


test_images.__test__ = False  # type: ignore[attr-defined]


@cache
def plain_network() -> nn.Module:
    """Returns a trained timm test_resnet; copy it before you change it."""
    return _trained(lambda: timm.create_model("test_resnet", num_classes=10), epochs=5)


@cache
def depthwise_network() -> nn.Module:
    """Returns a trained network of two depthwise layers; copy it before you change it."""
    return _trained(lambda: nn.Sequential(*_stem(32), *_block(32, 64), *_block(64, 64), *_head(64)), epochs=8)


def _stem(width: int) -> list[nn.Module]:
    return [nn.Conv2d(3, width, 4, stride=4, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    wide = 2 * inputs
    return [
        *(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        *(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
    ]


def _head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]


def _trained(make: Callable[[], nn.Module], *, epochs: int) -> nn.Module:
    images, labels = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make().train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
        for _ in range(epochs):
            for batch in torch.randperm(NUM_TRAINING).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
                optimizer.step()
    return network.eval().requires_grad_(False)
