"""Sizes and statistics as people write them: one form each, so that what is the same has one uid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.model import parse, vary
from search_spaces.pixels import MEAN, STD, height_width, image_size_of, parse_image_size

SIDES = st.integers(8, 4096)


@given(SIDES, SIDES)
def test_an_image_size_is_read_as_it_is_written(height: int, width: int) -> None:
    written = image_size_of((height, width))
    assert height_width(written) == (height, width)
    assert parse_image_size(written) == parse_image_size(str(written)) == parse_image_size(f"{height}x{width}")
    assert isinstance(written, int) == (height == width)
    spec = DatasetSpec(name="digits", image_size=f"{height}x{width}")
    assert spec.seen_size == spec.stored_size == (height, width)
    assert spec.num_bytes == 1797 * 3 * height * width
    assert DatasetSpec.model_validate_json(spec.model_dump_json()) == spec


@given(SIDES)
def test_a_square_is_a_number_in_json_however_it_is_written(size: int) -> None:
    expected = {"image_size": size, "name": "digits", "split_seed": 0, "test_fraction": 0.2, "validation_fraction": 0.1}
    for written in (size, str(size), f"{size}x{size}"):
        assert DatasetSpec(name="digits", image_size=written).model_dump(mode="json") == expected


@pytest.mark.parametrize(
    "value",
    ["0x32", "48x", "x48", "48x192x3", "48 x 192", "7", 7, 0, -8, "-8x32", 32.5, True, None, "", "٤٨", [48, 192]],
)
def test_what_is_no_image_size_is_refused_with_the_rule(value: object) -> None:
    rule = "is no image size: write pixels as in 224, or height x width as in 48x192, each at least 8"
    with pytest.raises(ConfigError, match=rule) as caught:
        parse(DatasetSpec, {"name": "digits", "image_size": value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"std": (0.5, 0, 0.5)}, "0.5,0,0.5 is no std: write three numbers above 0 and up to 1, for red, green and"),
        ({"std": (58.4, 57.1, 57.4)}, "is no std: write three numbers above 0 and up to 1"),
        ({"mean": (0.1, 0.2, 0.3, 0.4)}, "0.1,0.2,0.3,0.4 is no mean: write three numbers from 0 to 1, for red, green"),
        ({"mean": (123.7, 116.3, 103.5)}, "as shares of 255, as in 0.485,0.456,0.406"),
        ({"mean": "0.5,0.5,x"}, "'0.5,0.5,x' is no mean"),
        ({"mean": "nan,0.5,0.5"}, "'nan,0.5,0.5' is no mean"),
        ({"mean": 0.5}, "0.5 is no mean"),
        ({"crop": 0}, "DatasetSpec crop: Input should be greater than 0"),
        ({"crop": 1.2}, "DatasetSpec crop: Input should be less than or equal to 1"),
        ({"crop": float("nan")}, "DatasetSpec crop: "),
        ({"interpolation": "cubic"}, "Input should be 'bilinear', 'bicubic', 'nearest' or 'lanczos'"),
        ({"crop_mode": "border"}, "Input should be 'center', 'squash' or 'pad'"),
        ({"crop_mode": "pad", "crop": 0.9}, "crop_mode=pad shows all of it, so leave crop out"),
    ],
)
def test_what_networks_cannot_see_is_refused_in_one_line(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse(DatasetSpec, {"name": "digits", "image_size": 32} | changes)
    assert "\n" not in str(caught.value)


def test_a_default_that_is_spelled_out_is_the_same_dataset() -> None:
    spelled = {"mean": MEAN, "std": list(STD), "interpolation": "bilinear", "crop_mode": "center"}
    assert vary(dataset_spec("digits"), **spelled) == dataset_spec("digits")
    own = vary(dataset_spec("digits"), mean="0.5,0.5,0.5", crop=1)
    assert own.model_dump(mode="json", include={"mean", "crop"}) == {"mean": [0.5, 0.5, 0.5], "crop": 1.0}


@given(SIDES, st.floats(0.01, 1))
def test_a_crop_leaves_an_even_margin_below_the_resized_size(size: int, crop: float) -> None:
    stored, _ = DatasetSpec(name="digits", image_size=size, crop=crop).stored_size
    assert (stored - size) % 2 == 0
    assert int(size / crop) - 1 <= stored <= int(size / crop)


def test_options_and_files_say_what_networks_see() -> None:
    overrides = ("dataset.image_size=16x40", "dataset.std=[0.5, 0.5, 0.25]")
    choices = Choices(image_size=64, interpolation="bicubic", crop=0.9, overrides=overrides)
    dataset = build_grid("digits", choices, lambda _: 15).dataset
    assert dataset == DatasetSpec(
        name="digits", image_size="16x40", std=(0.5, 0.5, 0.25), interpolation="bicubic", crop=0.9
    )
    assert dataset.title == "digits at 16x40 px"


def test_a_hexadecimal_number_is_no_image_size() -> None:
    # YAML alone would read 50 pixels.
    with pytest.raises(ConfigError, match=r"--set dataset\.image_size: '0x32' is no image size"):
        build_grid("quick", Choices(overrides=("dataset.image_size=0x32",)), lambda _: 15)
