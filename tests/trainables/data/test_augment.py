"""Batched augmentation against torchvision's own, image by image, on the same parameters."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as oracle

from search_spaces.pixels import MEAN, STD
from trainables.data import augment, color, geometry
from trainables.data.rand_augment import OPERATIONS, apply_operations, rand_augment
from trainables.data.view import View

FACTORS = [0.0, 0.58, 0.97, 1.0, 1.42, 2.5]
TURNS = [-0.5, -0.1, -0.01, 0.0, 0.07, 0.5]
LEVELS = ["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip"]


@pytest.fixture
def images() -> Tensor:
    """Six images of 40 x 36: smooth with noise, one gray, one with few levels, one constant."""
    smooth = F.interpolate(torch.rand(6, 3, 5, 5) * 255, size=(40, 36), mode="bicubic")
    images = (smooth + 12 * torch.randn(6, 3, 40, 36)).clamp(0, 255).to(torch.uint8)
    images[3] = images[3, :1]
    images[4] = images[4] // 128 * 255
    images[5] = 77
    return images


def assert_levels_agree(actual: Tensor, expected: Tensor, *, share: float = 0.002) -> None:
    """Equal but for one level in a few values, where float32 rounds the other way."""
    assert actual.dtype == torch.uint8
    assert actual.shape == expected.shape
    distance = (actual.int() - expected.int()).abs()
    assert distance.max() <= 1
    assert (distance > 0).float().mean() <= share


@pytest.mark.parametrize(
    ("ours", "theirs", "strengths"),
    [
        (color.brightness, oracle.adjust_brightness, FACTORS),
        (color.contrast, oracle.adjust_contrast, FACTORS),
        (color.saturation, oracle.adjust_saturation, FACTORS),
        (color.sharpness, oracle.adjust_sharpness, FACTORS),
        (color.hue, oracle.adjust_hue, TURNS),
    ],
    ids=["brightness", "contrast", "saturation", "sharpness", "hue"],
)
def test_color_operations_equal_torchvisions_with_one_strength_per_image(
    images: Tensor,
    ours: Callable[[Tensor, Tensor], Tensor],
    theirs: Callable[[Tensor, float], Tensor],
    strengths: list[float],
) -> None:
    for shift in range(6):
        rolled = strengths[shift:] + strengths[:shift]
        expected = torch.stack([theirs(image, strength) for image, strength in zip(images, rolled, strict=True)])
        assert_levels_agree(ours(images, torch.tensor(rolled)), expected)


def test_hue_of_every_corner_and_edge_of_the_color_cube_equals_torchvisions() -> None:
    axis = torch.tensor([0, 1, 127, 128, 254, 255], dtype=torch.uint8)
    cube = torch.cartesian_prod(axis, axis, axis).T.reshape(1, 3, 12, 18)
    for turn in torch.linspace(-0.5, 0.5, 21).tolist():
        # Channels that lie just on a whole level may fall to either side.
        assert_levels_agree(color.hue(cube, torch.tensor([turn])), oracle.adjust_hue(cube, turn), share=0.02)


def torchvision_operation(name: str, image: Tensor, *, magnitude: int, is_negative: bool) -> Tensor:
    transform = v2.RandAugment()
    magnitudes, is_signed = transform._AUGMENTATION_SPACE[name]
    values = magnitudes(31, *image.shape[-2:])
    value = 0.0 if values is None else float(values[magnitude]) * (-1 if is_signed and is_negative else 1)
    return transform._apply_image_or_video_transform(image, name, value, "nearest", {torch.Tensor: None})


@pytest.mark.parametrize("magnitude", [0, 14, 30])
@pytest.mark.parametrize("is_negative", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_rand_augment_operations_equal_torchvisions(
    images: Tensor, name: str, is_negative: bool, magnitude: int
) -> None:
    expected = torch.stack(
        [torchvision_operation(name, image, magnitude=magnitude, is_negative=is_negative) for image in images]
    )
    kinds = torch.full((6,), OPERATIONS.index(name))
    apply_operations(images, kinds, torch.full((6,), is_negative), magnitude=magnitude)
    if name in ("ShearX", "ShearY", "Rotate"):
        # A nearest neighbor that lies halfway between two pixels may be either.
        assert (images != expected).float().mean() < 0.005
    else:
        # Mixing gray with its own gray gives whole levels, which float32 may miss from below: 2 of the 6 images.
        assert_levels_agree(images, expected, share=0.33 if name == "Color" else 0.002)


def test_rand_augment_knows_torchvisions_operations() -> None:
    assert set(OPERATIONS) == set(v2.RandAugment._AUGMENTATION_SPACE)


def test_operations_of_a_mixed_batch_fall_on_their_own_images() -> None:
    images = torch.randint(0, 256, (len(OPERATIONS) * 2, 3, 24, 24), dtype=torch.uint8)
    kinds = torch.arange(len(OPERATIONS)).repeat(2).flip(0)
    signs = torch.arange(len(images)) < len(OPERATIONS)
    expected = images.clone()
    for index in range(len(images)):
        alone = images[index : index + 1].clone()
        apply_operations(alone, kinds[index : index + 1], signs[index : index + 1], magnitude=14)
        expected[index] = alone[0]
    apply_operations(images, kinds, signs, magnitude=14)
    assert images.equal(expected)


def test_resized_crop_equals_torchvisions_and_its_filter_agrees(images: Tensor) -> None:
    crops = torch.tensor(
        [[0, 0, 40, 36], [3, 5, 20, 30], [10, 0, 7, 9], [0, 1, 40, 35], [39, 35, 1, 1], [8, 2, 32, 32]]
    )
    for size in (32, 16, 50):
        expected = torch.stack(
            [
                oracle.resized_crop(image, *crop, size=[size, size], antialias=True)
                for image, crop in zip(images, crops.tolist(), strict=True)
            ]
        )
        assert geometry.resized_crop(images, crops, (size, size)).equal(expected)
        filtered = geometry.filtered_crop(images, crops, (size, size))
        # The CPU's kernel rounds after either axis, and so is off by a level in a tenth of the values.
        assert_levels_agree(filtered, expected, share=0.2)
        in_float = torch.stack(
            [
                oracle.resized_crop(image.float(), *crop, size=[size, size], antialias=True)
                for image, crop in zip(images, crops.tolist(), strict=True)
            ]
        )
        assert_levels_agree(filtered, in_float.round().to(torch.uint8))


def test_crops_are_drawn_like_torchvisions() -> None:
    crops = geometry.draw_crops(4000, 256, 256).double()
    top, left, height, width = crops.unbind(1)
    assert (crops[:, :2] >= 0).all()
    assert (top + height).max() <= 256
    assert (left + width).max() <= 256
    theirs = v2.RandomResizedCrop(224)
    drawn = [theirs.make_params([torch.empty(3, 256, 256)]) for _ in range(4000)]
    for name, ours in (("top", top), ("left", left), ("height", height), ("width", width)):
        other = torch.tensor([float(each[name]) for each in drawn])
        assert abs(ours.mean() - other.mean()) < 6
        assert abs(ours.std() - other.std()) < 5


def test_crop_of_an_image_too_narrow_for_any_attempt_is_its_middle() -> None:
    assert geometry.draw_crops(3, 400, 10).tolist() == [[193, 0, 13, 10]] * 3
    assert geometry.draw_crops(3, 10, 400).tolist() == [[0, 193, 10, 13]] * 3


def test_color_jitter_is_torchvisions_of_the_drawn_order_and_factors() -> None:
    images = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8)
    torch.manual_seed(7)
    actual = color.color_jitter(images)
    torch.manual_seed(7)
    orders, uniform = torch.rand(5, 4).argsort(dim=1), torch.rand(4, 5) * 2 - 1
    theirs = (oracle.adjust_brightness, oracle.adjust_contrast, oracle.adjust_saturation, oracle.adjust_hue)
    for index, image in enumerate(images):
        for kind in orders[index].tolist():
            strength = 0.1 * uniform[kind, index] if kind == 3 else 1 + 0.4 * uniform[kind, index]
            image = theirs[kind](image, float(strength))
        # One level of an early operation may be up to two after the later ones.
        distance = (actual[index].int() - image.int()).abs()
        assert distance.max() <= 3
        assert (distance > 0).float().mean() < 0.01


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.arange(4, dtype=torch.uint8).expand(400, 3, 4, 4)
    flipped = geometry.horizontal_flip(images)
    is_flipped = flipped[:, 0, 0, 0] == 3
    assert 150 < is_flipped.sum() < 250
    assert flipped[is_flipped].equal(images[is_flipped].flip(-1))
    assert flipped[~is_flipped].equal(images[~is_flipped])


@pytest.mark.parametrize("name", LEVELS)
def test_every_image_has_its_own_draw(name: str) -> None:
    images = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8).repeat(64, 1, 1, 1)
    results = augment.training_batch(images, View(32, 32), [name])
    least = {"horizontal_flip": 2, "rand_augment": 30}.get(name, 60)
    assert len({tuple(result.flatten().tolist()[:500]) for result in results}) >= least


def test_rand_augment_draws_every_operation_and_sign_equally() -> None:
    images = torch.zeros(2000, 3, 4, 4, dtype=torch.uint8)
    images[:, :, 0, 0] = 100
    changed = (rand_augment(images, num_operations=1) != images).flatten(1).any(1).float().mean()
    same = [
        torchvision_operation(name, images[0], magnitude=14, is_negative=is_negative).equal(images[0])
        for name in OPERATIONS
        for is_negative in (False, True)
    ]
    assert changed.item() == pytest.approx(1 - sum(same) / len(same), abs=4 * math.sqrt(0.25 / 2000))


@pytest.mark.parametrize("num_images", [1, 2, 7])
def test_the_whole_list_is_reproducible_and_leaves_its_input_alone(num_images: int) -> None:
    images = torch.randint(0, 256, (num_images, 3, 37, 37), dtype=torch.uint8)
    before = images.clone()
    names = [*LEVELS, "padded_crop", "mixup"]
    batches = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        batches.append(augment.training_batch(images, View(32, 32), names))
    assert batches[0].equal(batches[1])
    assert not batches[0].equal(batches[2])
    assert images.equal(before)
    assert batches[0].shape == (num_images, 3, 32, 32)
    assert batches[0].dtype == torch.float32
    low, high = augment.evaluation_batch(
        torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1), View(1, 1)
    )
    assert (batches[0] >= low - 1e-5).all()
    assert (batches[0] <= high + 1e-5).all()


@pytest.mark.parametrize("size", [32, 48])
def test_padded_crop_and_mixup_are_what_they_were_bit_for_bit(size: int) -> None:
    images = torch.randint(0, 256, (9, 3, 48, 48), dtype=torch.uint8)
    torch.manual_seed(5)
    actual = augment.training_batch(images, View(size, size), ["padded_crop", "mixup"])
    torch.manual_seed(5)
    images = oracle.center_crop(images, [size, size])
    padding = round(size / 8)
    padded = F.pad(images, [padding] * 4)
    tops, lefts = torch.randint(0, 2 * padding + 1, (2, 9))
    rows, columns = tops[:, None] + torch.arange(size), lefts[:, None] + torch.arange(size)
    images = padded[
        torch.arange(9)[:, None, None, None],
        torch.arange(3)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (MEAN, STD))
    normalized = (images.float().contiguous(memory_format=torch.channels_last) - mean) / std
    expected = augment.mixup(normalized)
    assert actual.equal(expected)
    assert actual.stride() == expected.stride()
