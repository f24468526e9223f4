"""Sizes of images and statistics of their channels, as people write them; needs no library, so that help is quick."""

import math
import re
from collections.abc import Callable

from search_spaces.errors import ConfigError

LEAST_PIXELS = 8
"""Smallest height and width of the images that networks see."""
Channels = tuple[float, float, float]
"""A number each for red, green and blue."""
# ImageNet's statistics: what timm's pretrained weights expect; harmless for networks trained from scratch.
MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)


def parse_image_size(value: object) -> int | str:
    """Reads an image size; a square has one form only, so that one size has one uid.

    Args:
        value: A number of pixels, or text: a number, or height and width with an x between them.

    Returns:
        The number of a square, or else text such as `48x192`.

    Raises:
        ConfigError: It is neither, or a side has fewer than LEAST_PIXELS pixels.

    Examples:
        >>> parse_image_size("48x192"), parse_image_size("48x48"), parse_image_size(224)
        ('48x192', 48, 224)
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    sides = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    height, width = (int(side or sides[1]) for side in sides.groups()) if sides else (0, 0)
    if min(height, width) < LEAST_PIXELS:
        raise ConfigError(
            f"{value!r} is no image size: write pixels as in 224, or height x width as in 48x192, each at least "
            f"{LEAST_PIXELS}."
        )
    return image_size_of((height, width))


def image_size_of(size: tuple[int, int]) -> int | str:
    """Returns how a height and width in pixels are written."""
    height, width = size
    return height if height == width else f"{height}x{width}"


def height_width(image_size: int | str) -> tuple[int, int]:
    """Returns the height and width in pixels of what `parse_image_size` returned.

    Examples:
        >>> height_width(224), height_width("48x192")
        ((224, 224), (48, 192))
    """
    height, _, width = str(image_size).partition("x")
    return int(height), int(width or height)


def parse_mean(value: object) -> Channels:
    """Reads the values that are subtracted from the channels, as shares of the largest level.

    Raises:
        ConfigError: They are not three numbers from 0 to 1.

    Examples:
        >>> parse_mean("0.5,0.5,0.5"), parse_mean([0, 0.1, 1])
        ((0.5, 0.5, 0.5), (0.0, 0.1, 1.0))
    """
    return _parse_channels("mean", value, is_allowed=lambda number: 0 <= number <= 1, rule="from 0 to 1")


def parse_std(value: object) -> Channels:
    """Reads the values that the channels are divided by, as shares of the largest level.

    Raises:
        ConfigError: They are not three numbers above 0 and up to 1.
    """
    return _parse_channels("std", value, is_allowed=lambda number: 0 < number <= 1, rule="above 0 and up to 1")


def _parse_channels(name: str, value: object, *, is_allowed: Callable[[float], bool], rule: str) -> Channels:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        red, green, blue = map(float, parts if isinstance(parts, list | tuple) else ())
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(map(is_allowed, (red, green, blue))):
        raise ConfigError(
            f"{_shown(value)} is no {name}: write three numbers {rule}, for red, green and blue as shares of 255, as "
            f"in {channels_text(MEAN if name == 'mean' else STD)}."
        )
    return red, green, blue


def channels_text(channels: Channels) -> str:
    """Returns how statistics of channels are written on a command line.

    Examples:
        >>> channels_text((0.5, 0.5, 0.25))
        '0.5,0.5,0.25'
    """
    return ",".join(map(str, channels))


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)
