"""Encoded images to uint8 tensors of one size, or one error that names those that are none.

PIL looks at the content, not at the name: Pets has GIF and PNG files that are called .jpg.
"""

import io
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import UnavailableError, one_line
from search_spaces.names import INTERPOLATIONS, Interpolation
from search_spaces.pixels import MEAN

# B = images, C H W = image.

Encoded = tuple[str, Path | bytes | None]
"""Name of an image for messages, and its file or content; None where a table has a hole."""
NUM_NAMED = 5
"""Number of unreadable images that an error names; it counts the rest."""
NUM_AT_A_TIME = 1024
MAX_RESIZED = 2**27
"""Pixels of a resized image before its middle is cut out: 400 MB."""
RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
_NEED_OTHERS = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")
# What PIL's decoders raise at damaged content, besides OSError: none of these is a mistake of ours.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
)


def decode_images(images: Callable[[], Iterable[Encoded]], num_images: int, spec: DatasetSpec, *, hint: str) -> Tensor:
    """Decodes images on all cores, or on $OMP_NUM_THREADS of them; 1,280 images of 240 x 160 per second on one.

    Args:
        images: Gives all images in order, again at every call.
        num_images: How many; at least one.
        spec: What networks see, and the margin around it. Images that all have the size that networks see are stored
            as they are, unless the specification says which share of them is seen.
        hint: What to do about images that cannot be read, for the error.

    Returns:
        uint8 images in the same order, as `framed` makes them.

    Raises:
        UnavailableError: Images are missing or damaged; names the first ones, counts all and says what to do.
    """
    # The filter is the process's own, so it is set once around all threads. PIL warns of palettes with transparency,
    # damaged EXIF data and the like; what it can read all the same is used.
    with warnings.catch_warnings(), ThreadPoolExecutor(_num_threads()) as pool:
        warnings.simplefilter("ignore")
        size, seen_size = spec.stored_size, spec.seen_size
        if size != seen_size and spec.crop is None and all(_has_size(image, seen_size) for _, image in images()):
            size = seen_size
        images_BCHW = torch.empty(num_images, 3, *size, dtype=torch.uint8)
        reasons: dict[str, str] = {}
        rest, start = iter(images()), 0
        # Some at a time: a pool asks for all of its input at once, and encoded images may be more than memory holds.
        while some := list(islice(rest, NUM_AT_A_TIME)):
            names, contents = zip(*some, strict=True)
            # PIL frees the interpreter while it decodes.
            outcomes = pool.map(partial(_decode_into, spec), images_BCHW[start : start + len(some)], contents)
            reasons |= {name: reason for name, reason in zip(names, outcomes, strict=True) if reason}
            start += len(some)
    assert start == num_images, f"{start} of {num_images} images came"
    raise_unreadable(reasons, hint)
    return images_BCHW


def decode_files(paths: Sequence[Path], spec: DatasetSpec, *, hint: str) -> Tensor:
    """Decodes files; see `decode_images`."""
    return decode_images(lambda: ((str(path), path) for path in paths), len(paths), spec, hint=hint)


def raise_unreadable(reasons: Mapping[str, str], hint: str) -> None:
    """Raises `UnavailableError`, which ends with the hint, unless there is no unreadable image."""
    if not reasons:
        return
    named = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:NUM_NAMED])
    more = f"; and {len(reasons) - NUM_NAMED} more" if len(reasons) > NUM_NAMED else ""
    noun = "image cannot" if len(reasons) == 1 else "images cannot"
    raise UnavailableError(f"{len(reasons)} {noun} be read: {named}{more}. {hint}")


def decode(content: Path | bytes, spec: DatasetSpec, size: tuple[int, int]) -> Tensor:
    """Decodes the first frame of one image, upright; see `framed`."""
    with _open(content) as image:
        return framed(_to_rgb(ImageOps.exif_transpose(image)), spec, size)


def framed(rgb: Image.Image, spec: DatasetSpec, size: tuple[int, int]) -> Tensor:
    """Fits an image into the height and width in which images are stored.

    Where the specification says a `crop`, the middle is to the last bit what timm's evaluation transforms show.

    Args:
        rgb: Any size.
        spec: How.
        size: Height and width to return.

    Returns:
        uint8 of shape (3, height, width).
    """
    method = RESAMPLING[spec.interpolation or INTERPOLATIONS[0]]
    if spec.crop_mode == "pad":
        picture = _padded(rgb, spec, size, method)
    elif spec.crop is not None:
        picture = _as_timm(rgb, spec, spec.crop, size, method)
    else:
        box = (0, 0, *rgb.size) if spec.crop_mode == "squash" else _middle(rgb, size)
        picture = rgb.resize(size[::-1], method, box=box)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _middle(rgb: Image.Image, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns the largest rectangle around the middle with the aspect ratio of a size: left, top, right and bottom."""
    height, width = size
    kept_width, kept_height = min(rgb.width, rgb.height * width / height), min(rgb.height, rgb.width * height / width)
    left, top = (rgb.width - kept_width) / 2, (rgb.height - kept_height) / 2
    return left, top, left + kept_width, top + kept_height


def _padded(rgb: Image.Image, spec: DatasetSpec, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    height, width = size
    picture = Image.new("RGB", (width, height), tuple(round(255 * level) for level in spec.mean or MEAN))
    picture.paste(rgb.resize((min(width, math.ceil(height * rgb.width / rgb.height)), height), method))
    return picture


def _as_timm(
    rgb: Image.Image, spec: DatasetSpec, crop: float, size: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """Resizes the whole image and cuts the middle out, which a `box` would not do to the last bit."""
    resized = _resized_by_timm(rgb, spec, crop)
    if math.prod(resized) > MAX_RESIZED:
        raise ValueError(f"{rgb.width} x {rgb.height} pixels are too long and thin")
    # timm rounds to the middle of what it resized, and what networks see is the middle of what is stored.
    top, left = (
        round((whole - seen) / 2) - (stored - seen) // 2
        for whole, stored, seen in zip(resized, size, spec.seen_size, strict=True)
    )
    return rgb.resize(resized[::-1], method).crop((left, top, left + size[1], top + size[0]))


def _resized_by_timm(rgb: Image.Image, spec: DatasetSpec, crop: float) -> tuple[int, int]:
    """Returns the height and width to which timm resizes a whole image."""
    height, width = (math.floor(seen / crop) for seen in spec.seen_size)
    if spec.crop_mode == "squash":
        return height, width
    if height == width:
        # torchvision's Resize, which rounds down.
        return max(height, height * rgb.height // rgb.width), max(width, width * rgb.width // rgb.height)
    ratio = min(rgb.height / height, rgb.width / width)
    return round(rgb.height / ratio), round(rgb.width / ratio)


def is_image(path: Path) -> bool:
    """Tells from a file's content whether the installed Pillow decodes it."""
    try:
        with Image.open(path, formats=_formats()):
            return True
    except DECODER_ERRORS:
        return False


@cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that are told by how they begin, and decoded without another program."""
    Image.init()
    return tuple(name for name, (_, begins) in Image.OPEN.items() if begins and name not in _NEED_OTHERS)


def _open(content: Path | bytes) -> Image.Image:
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def _has_size(content: Path | bytes | None, size: tuple[int, int]) -> bool:
    """Tells whether an image has a size, from its header; one without a header does not count against it."""
    if content is None:
        return True
    try:
        with _open(content) as image:
            return (image.height, image.width) == size
    except DECODER_ERRORS:
        return True


def _decode_into(spec: DatasetSpec, target_CHW: Tensor, content: Path | bytes | None) -> str | None:
    """Fills the target, or returns why not, in one line."""
    if content is None:
        return "no bytes"
    try:
        _, height, width = target_CHW.shape
        target_CHW.copy_(decode(content, spec, (height, width)))
    except FileNotFoundError:
        return "missing"
    except UnidentifiedImageError:
        return "no image"
    except DECODER_ERRORS as error:
        return one_line(error)
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # PIL would cut 16-bit gray off at 255: all white.
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32-bit values of unknown range")
    if image.has_transparency_data:
        # On white, as viewers show it: the color below transparent pixels means nothing.
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _num_threads() -> int:
    cores = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit))) if limit.isdecimal() else cores
