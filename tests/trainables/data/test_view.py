"""What networks see of an image, against timm's and torchvision's own evaluation transforms."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as oracle

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import UnavailableError
from search_spaces.names import CROP_MODES, INTERPOLATIONS
from search_spaces.pixels import MEAN, image_size_of
from trainables.data import augment, geometry
from trainables.data.cache import cached, local_source
from trainables.data.decoding import decode_files, framed
from trainables.data.loading import load_dataset
from trainables.data.view import View, view_of

SIDES = st.integers(8, 60)
SPECS = st.builds(
    lambda kind, height, width, interpolation, crop, mode: DatasetSpec(
        name=kind,
        image_size=f"{height}x{width}",
        interpolation=interpolation,
        crop=None if mode == "pad" else crop,
        crop_mode=mode,
    ),
    st.sampled_from(["digits", "folder:/photographs"]),
    SIDES,
    SIDES,
    st.sampled_from(INTERPOLATIONS),
    st.none() | st.floats(0.2, 1),
    st.sampled_from(CROP_MODES),
)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Noise, in which every shift and every other filter shows."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def seen(image: Image.Image, spec: DatasetSpec) -> Tensor:
    """The evaluation picture of a stored image."""
    return augment.evaluation_batch(framed(image, spec, spec.stored_size)[None], view_of(spec))[0]


def assert_of_the_same_levels(actual: Tensor, expected: Tensor, spec: DatasetSpec) -> None:
    """Equal but for the rounding of float32: thousandths of a level of 255."""
    assert actual.shape == expected.shape
    std_C11 = torch.tensor(view_of(spec).std)[:, None, None]
    assert ((actual - expected) * std_C11 * 255).abs().max() < 0.001


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("crop", [0.8, 0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(224, 224), (48, 192), (61, 40), (33, 33)])
def test_networks_see_what_timm_shows_them(
    size: tuple[int, int], interpolation: str, crop: float, crop_mode: str
) -> None:
    spec = dataset_spec("folder:/a", image_size=image_size_of(size))
    statistics: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.2)}
    values = spec.model_dump() | statistics | {"interpolation": interpolation, "crop": crop, "crop_mode": crop_mode}
    spec = DatasetSpec.model_validate(values)
    theirs = create_transform((3, *size), interpolation=interpolation, crop_pct=crop, crop_mode=crop_mode, **statistics)
    for height, width in ((240, 160), (151, 307), (40, 333), (19, 23), size):
        image = picture(height, width)
        assert_of_the_same_levels(seen(image, spec), theirs(image), spec)


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, st.floats(0.3, 1), st.sampled_from(["bilinear", "bicubic"]))
def test_squares_are_what_torchvisions_resize_and_center_crop_show(
    height: int, width: int, size: int, crop: float, interpolation: str
) -> None:
    spec = DatasetSpec(name="digits", image_size=size, crop=crop, interpolation=interpolation)
    theirs = v2.Compose(
        [
            v2.Resize(int(size / crop), interpolation=v2.InterpolationMode(interpolation)),
            v2.CenterCrop(size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(view_of(spec).mean), list(view_of(spec).std)),
        ]
    )
    image = picture(height, width)
    assert_of_the_same_levels(seen(image, spec), theirs(image), spec)


@settings(max_examples=200, deadline=None)
@given(SPECS, st.integers(1, 90), st.integers(1, 90))
def test_every_image_becomes_a_picture_of_the_size_that_networks_see(
    spec: DatasetSpec, height: int, width: int
) -> None:
    stored = framed(picture(height, width), spec, spec.stored_size)
    assert stored.dtype == torch.uint8
    assert stored.shape == (3, *spec.stored_size)
    assert all(kept >= shown for kept, shown in zip(spec.stored_size, spec.seen_size, strict=True))
    batch = stored.repeat(2, 1, 1, 1)
    names = ["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup"]
    for seen_BCHW in (
        augment.evaluation_batch(batch, view_of(spec)),
        augment.training_batch(batch, view_of(spec), names),
        augment.training_batch(batch, view_of(spec), ["padded_crop"]),
    ):
        assert seen_BCHW.shape == (2, 3, *spec.seen_size)
        assert seen_BCHW.dtype == torch.float32


@settings(max_examples=100, deadline=None)
@given(SPECS, st.integers(1, 90), st.integers(1, 90))
def test_nothing_but_the_image_is_stored_where_nothing_is_padded(spec: DatasetSpec, height: int, width: int) -> None:
    spec = spec.model_copy(update={"crop_mode": None if spec.crop_mode == "pad" else spec.crop_mode})
    assert (framed(Image.new("RGB", (width, height), "white"), spec, spec.stored_size) == 255).all()


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, SIDES)
def test_the_middle_of_an_image_of_any_shape_keeps_its_aspect_ratio(height: int, width: int, size: int) -> None:
    """A ramp along either axis has one slope, whatever the shape of the image and of the picture."""
    spec = DatasetSpec(name="digits", image_size=f"{size}x{2 * size}", interpolation="nearest")
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    levels = framed(Image.fromarray(np.stack([rows, columns, rows], axis=-1)), spec, spec.stored_size)
    box_height, box_width = min(height, width / 2), min(width, height * 2)
    for channel, length, whole in ((0, box_height, height), (1, box_width, width)):
        low, high = levels[channel].min().item(), levels[channel].max().item()
        assert (whole - length) / 2 - 1 <= low
        assert high <= (whole + length) / 2
        assert high - low >= length - 1 - length / size - 1


def test_squash_shows_the_whole_image_and_pad_fills_up_with_the_mean() -> None:
    image = picture(30, 60)
    squashed = DatasetSpec(name="digits", image_size="16x96", crop_mode="squash")
    whole = torch.from_numpy(np.array(image.resize((96, 16), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert framed(image, squashed, squashed.stored_size).equal(whole)
    padded = DatasetSpec(name="digits", image_size="16x96", crop_mode="pad")
    stored = framed(image, padded, padded.stored_size)
    kept = torch.from_numpy(np.array(image.resize((32, 16), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert stored[..., :32].equal(kept)
    levels = torch.tensor([round(255 * level) for level in MEAN])[:, None, None]
    assert (stored[..., 32:] == levels).all()
    # Half a level from the mean at most.
    assert seen(image, padded)[..., 32:].abs().max() <= 0.5 / 255 / min(view_of(padded).std) + 1e-6


def test_an_image_that_is_too_long_to_be_padded_fills_the_width() -> None:
    spec = DatasetSpec(name="digits", image_size="16x32", crop_mode="pad")
    image = picture(10, 90)
    whole = torch.from_numpy(np.array(image.resize((32, 16), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert framed(image, spec, (16, 32)).equal(whole)


def test_an_image_that_would_fill_the_memory_when_resized_is_named(tmp_path: Any) -> None:
    picture(60_000, 1).save(tmp_path / "line.png")
    spec = DatasetSpec(name="digits", image_size=64, crop=0.9)
    with pytest.raises(UnavailableError, match=r"line\.png \(1 x 60000 pixels are too long and thin\)\. Leave it out"):
        decode_files([tmp_path / "line.png"], spec, hint="Leave it out.")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_interpolations_are_those_of_pil(interpolation: str) -> None:
    image = picture(50, 50)
    spec = DatasetSpec(name="digits", image_size=20, interpolation=interpolation)
    theirs = image.resize((20, 20), Image.Resampling[interpolation.upper()])
    assert framed(image, spec, (20, 20)).permute(1, 2, 0).numpy().tobytes() == np.array(theirs).tobytes()


def test_squares_of_todays_settings_are_decoded_as_ever() -> None:
    for height, width, size in ((240, 160, 256), (33, 77, 32), (9, 31, 37)):
        image, side = picture(height, width), min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        as_ever = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        spec = dataset_spec("folder:/a", image_size=28)
        assert framed(image, spec, (size, size)).permute(1, 2, 0).numpy().tobytes() == np.array(as_ever).tobytes()


def test_files_of_the_size_that_networks_see_are_stored_as_they_are(tmp_path: Any) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(24, 40, seed=number).save(path)
    spec = dataset_spec("folder:/a", image_size="24x40")
    assert spec.stored_size == (27, 46)
    decoded = decode_files(paths, spec, hint="")
    assert decoded.shape == (3, 3, 24, 40)
    assert decoded[2].permute(1, 2, 0).numpy().tobytes() == np.array(picture(24, 40, seed=2)).tobytes()
    with_margin = spec.model_copy(update={"crop": 0.8})
    assert decode_files(paths, with_margin, hint="").shape == (3, 3, *with_margin.stored_size) == (3, 3, 30, 50)


def test_a_cache_file_keeps_what_networks_see(tmp_path: Any) -> None:
    spec = dataset_spec("digits", image_size="16x24", train_images=40, test_images=20)
    spec = spec.model_copy(update={"mean": (0.5, 0.25, 0.125), "std": (0.5, 0.5, 0.25)})
    (tmp_path / "source").write_text("x")
    made, opened = (
        cached(spec, lambda: load_dataset(spec), sources=[local_source(tmp_path / "source")], folder=tmp_path)
        for _ in range(2)
    )
    assert made.view == opened.view == View(16, 24, mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
    assert opened.splits["test"].images_BCHW.shape[1:] == (3, 16, 24)


@pytest.mark.parametrize("size", [(16, 64), (50, 20)])
def test_crops_for_other_shapes_are_torchvisions_with_the_ratios_around_that_shape(size: tuple[int, int]) -> None:
    height, width = size
    crops = geometry.draw_crops(4000, 2 * height, 2 * width, wanted_ratio=width / height).double()
    assert (crops[:, 0] + crops[:, 2]).max() <= 2 * height
    assert (crops[:, 1] + crops[:, 3]).max() <= 2 * width
    theirs = v2.RandomResizedCrop(size, ratio=(3 / 4 * width / height, 4 / 3 * width / height))
    drawn = [theirs.make_params([torch.empty(3, 2 * height, 2 * width)]) for _ in range(4000)]
    for index, name in enumerate(("top", "left", "height", "width")):
        other = torch.tensor([float(each[name]) for each in drawn])
        assert abs(crops[:, index].mean() - other.mean()) < 0.05 * max(size)
        assert abs(crops[:, index].std() - other.std()) < 0.05 * max(size)


def test_resized_crops_of_other_shapes_equal_torchvisions() -> None:
    images = torch.from_numpy(np.array(picture(40, 90))).permute(2, 0, 1).repeat(2, 1, 1, 1)
    crops = torch.tensor([[3, 5, 20, 70], [0, 0, 40, 90]])
    expected = torch.stack(
        [
            oracle.resized_crop(image, *crop, size=[16, 64], antialias=True)
            for image, crop in zip(images, crops.tolist(), strict=True)
        ]
    )
    assert geometry.resized_crop(images, crops, (16, 64)).equal(expected)
    # The CPU's kernel rounds after either axis.
    assert (geometry.filtered_crop(images, crops, (16, 64)).int() - expected.int()).abs().max() <= 1


def test_padded_crop_shifts_by_a_share_of_either_side() -> None:
    images = torch.full((400, 3, 16, 64), 255, dtype=torch.uint8)
    shown = augment.training_batch(images, View(16, 64), ["padded_crop"])[:, 0] > 0
    rows, columns = shown.any(dim=2), shown.any(dim=1)
    for lines, most in ((rows, 2), (columns, 8)):
        empty = (~lines).sum(dim=1) * (1 - 2 * lines[:, 0].int())
        assert (empty.min(), empty.max()) == (-most, most)
