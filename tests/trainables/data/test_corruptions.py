"""Corruptions against torchvision's own, and their draws: of every image alone, the same everywhere."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as oracle

from search_spaces.pixels import MEAN, STD
from trainables.data import corruptions
from trainables.data.augment import evaluation_batch
from trainables.data.corruptions import STRENGTHS, Corruption, corrupt, shift_normalization
from trainables.data.images import ImageData
from trainables.data.view import View

ON_LEVELS = [kind for kind in STRENGTHS if kind != "normalization_shift"]
NUM_IMAGES = 40


@pytest.fixture
def images(few_digits: ImageData) -> Tensor:
    return few_digits.splits["test"].images_BCHW[:NUM_IMAGES]


@pytest.fixture
def ids(few_digits: ImageData) -> Tensor:
    return few_digits.splits["test"].image_ids_B[:NUM_IMAGES]


def seen_by_network(images: Tensor, ids: Tensor, corruption: Corruption) -> Tensor:
    """What a network sees of a corrupted image, whether levels or statistics are corrupted."""
    return shift_normalization(evaluation_batch(corrupt(images, ids, corruption), View(32, 32)), ids, corruption)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_degree_zero_is_the_identity(images: Tensor, ids: Tensor, kind: str) -> None:
    corruption = Corruption(kind=kind, degree=0)
    assert corrupt(images, ids, corruption).equal(images)
    assert seen_by_network(images, ids, corruption).equal(evaluation_batch(images, View(32, 32)))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_digits_move_farther_from_the_original_with_every_degree(digits: ImageData, kind: str) -> None:
    split = digits.splits["test"]
    clean = evaluation_batch(split.images_BCHW, View(32, 32))
    seen = [
        seen_by_network(split.images_BCHW, split.image_ids_B, Corruption(kind=kind, degree=degree))
        for degree in range(6)
    ]
    distances = [(images - clean).square().mean().item() for images in seen]
    assert distances[0] == 0
    assert sorted(set(distances)) == distances


@pytest.mark.parametrize("kind", STRENGTHS)
def test_strength_is_monotone_and_the_table_in_the_documentation_is_true(kind: str) -> None:
    strengths = [Corruption(kind=kind, degree=degree).strength for degree in range(1, 31)]
    documented = re.search(rf"^ +{kind} +((?:[\d.]+ )+)", corruptions.__doc__ or "", flags=re.MULTILINE)
    assert documented
    assert strengths[:5] == pytest.approx([float(number) for number in documented[1].split()])
    ordered = sorted(strengths, reverse=kind == "jpeg")
    assert strengths == ordered
    assert len(set(strengths[:5])) == 5


@pytest.mark.parametrize("degree", [1, 40])
@pytest.mark.parametrize("kind", ON_LEVELS)
def test_corrupted_images_stay_levels_of_their_size(images: Tensor, ids: Tensor, kind: str, degree: int) -> None:
    for part in (images[:1], images[:3, :, :20, :28], images):
        before = part.clone()
        corrupted = corrupt(part, ids[: len(part)], Corruption(kind=kind, degree=degree))
        assert corrupted.dtype == torch.uint8
        assert corrupted.shape == part.shape
        assert part.equal(before)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_an_image_is_corrupted_alike_alone_and_in_any_batch(images: Tensor, ids: Tensor, kind: str) -> None:
    corruption = Corruption(kind=kind, degree=3, draw_seed=-7)
    together = seen_by_network(images, ids, corruption)
    assert seen_by_network(images, ids, corruption).equal(together)
    order = torch.randperm(NUM_IMAGES)
    assert seen_by_network(images[order], ids[order], corruption).equal(together[order])
    alone = [seen_by_network(images[at : at + 1], ids[at : at + 1], corruption) for at in range(NUM_IMAGES)]
    assert torch.cat(alone).equal(together)


@pytest.mark.parametrize("kind", [kind for kind in STRENGTHS if kind not in ("jpeg", "blur")])
def test_draws_differ_between_seeds_and_between_images(images: Tensor, ids: Tensor, kind: str) -> None:
    same_image = images[:1].expand(NUM_IMAGES, -1, -1, -1)
    corruption = Corruption(kind=kind, degree=3)
    seen = seen_by_network(same_image, ids, corruption)
    # Small angles and shears may fall on the same pixels.
    assert len(seen.flatten(1).unique(dim=0)) > NUM_IMAGES / 2
    assert not seen_by_network(same_image, ids, replace(corruption, draw_seed=1)).equal(seen)


# torchvision announces that its codecs will move to another package.
@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
@pytest.mark.parametrize("degree", [1, 3, 5])
def test_jpeg_equals_torchvisions_at_the_same_quality(images: Tensor, ids: Tensor, degree: int) -> None:
    corruption = Corruption(kind="jpeg", degree=degree)
    expected = torch.stack([oracle.jpeg(image, int(corruption.strength)) for image in images])
    assert corrupt(images, ids, corruption).equal(expected)


@pytest.mark.parametrize("size", [(32, 32), (20, 28), (64, 64)])
def test_blur_equals_torchvisions_and_grows_with_the_image(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    for degree in (1, 5):
        corruption = Corruption(kind="blur", degree=degree)
        sigma = corruption.strength * min(size)
        width = 2 * int(np.ceil(3 * sigma)) + 1
        expected = oracle.gaussian_blur(images, [width, width], [sigma, sigma])
        distance = (corrupt(images, torch.arange(3), corruption).int() - expected.int()).abs()
        assert distance.max() <= 1
        assert (distance > 0).float().mean() < 0.01


def test_blur_keeps_a_constant_image_and_may_be_wider_than_the_image() -> None:
    images = torch.full((1, 3, 9, 9), 131, dtype=torch.uint8)
    assert corrupt(images, torch.tensor([0]), Corruption(kind="blur", degree=1000)).equal(images)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("brightness", lambda image, number: oracle.adjust_brightness(image, 1 + number)),
        ("contrast", lambda image, number: oracle.adjust_contrast(image, 1 + number)),
        ("rotation", lambda image, number: oracle.rotate(image, number)),
        (
            "skew",
            lambda image, number: oracle.affine(image, 0.0, [0, 0], 1.0, [float(np.degrees(np.arctan(number))), 0.0]),
        ),
    ],
)
def test_one_strength_operations_equal_torchvisions_on_the_images_draw(kind: str, theirs: object) -> None:
    smooth = oracle.resize(torch.randint(0, 256, (12, 3, 6, 6), dtype=torch.uint8), [48, 48])
    ids = torch.arange(12)
    corruption = Corruption(kind=kind, degree=2)
    numbers = [corruption.strength * draw.uniform(-1, 1) for draw in corruption.draws(ids)]
    assert max(map(abs, numbers)) <= corruption.strength
    expected = torch.stack([theirs(image, number) for image, number in zip(smooth, numbers, strict=True)])  # type: ignore[operator]
    distance = (corrupt(smooth, ids, corruption).int() - expected.int()).abs()
    # Nearest neighbors halfway between two pixels, and levels that float32 rounds the other way.
    assert (distance > 1).float().mean() < 0.01


def test_erasing_fills_its_share_of_the_area_with_noise_that_normalizes_to_standard_normal() -> None:
    images = torch.full((60, 3, 64, 48), 1, dtype=torch.uint8)
    for degree in (1, 5):
        corruption = Corruption(kind="erasing", degree=degree)
        erased = corrupt(images, torch.arange(60), corruption)
        # A level of 1 is rare in the noise.
        is_erased = (erased != 1).all(dim=1)
        assert is_erased.float().mean().item() == pytest.approx(corruption.strength, rel=0.05)
        mean, std = (torch.tensor(values)[:, None] for values in (MEAN, STD))
        noise = (erased.permute(1, 0, 2, 3)[:, is_erased] / 255 - mean) / std
        # Levels end at two standard deviations.
        assert noise.mean(dim=1).abs().max() < 0.05
        assert ((noise.std(dim=1) > 0.9) & (noise.std(dim=1) < 1.02)).all()
        for image in is_erased[:10]:
            rows, columns = image.any(dim=1).nonzero(), image.any(dim=0).nonzero()
            box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.float().mean() > 0.95


def test_noise_has_its_standard_deviation() -> None:
    images = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    corruption = Corruption(kind="noise", degree=2)
    difference = corrupt(images, torch.arange(8), corruption).float() - 128
    assert difference.std().item() == pytest.approx(255 * corruption.strength, rel=0.02)
    assert abs(difference.mean().item()) < 0.5


def test_normalization_shift_is_normalizing_with_other_statistics(images: Tensor, ids: Tensor) -> None:
    corruption = Corruption(kind="normalization_shift", degree=4)
    actual = seen_by_network(images, ids, corruption)
    assert corrupt(images, ids, corruption).equal(images)
    for image, draw, seen in zip(images, corruption.draws(ids), actual, strict=True):
        shift, exponent = (torch.tensor(values)[:, None, None] for values in draw.uniform(-1, 1, (2, 3)))
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        other_mean = mean + corruption.strength * shift * std
        other_std = std * (1 + corruption.strength) ** exponent
        torch.testing.assert_close(seen, ((image / 255 - other_mean) / other_std).float(), rtol=1e-4, atol=1e-4)
