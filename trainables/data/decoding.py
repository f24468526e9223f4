"""Encoded images to uint8 tensors of one size, or one error that names those that are none.

PIL looks at the content, not at the name: Pets has GIF and PNG files that are called .jpg.
"""

import io
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from search_spaces.dataset_kinds import STORED_PER_SEEN
from search_spaces.errors import UnavailableError, one_line

# B = images, C H W = image.

Encoded = tuple[str, Path | bytes | None]
"""Name of an image for messages, and its file or content; None where a table has a hole."""
NUM_NAMED = 5
"""Number of unreadable images that an error names; it counts the rest."""
NUM_AT_A_TIME = 1024
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


def decode_images(
    images: Callable[[], Iterable[Encoded]], num_images: int, image_size: int, *, has_margin: bool = True, hint: str
) -> Tensor:
    """Decodes images on all cores, or on $OMP_NUM_THREADS of them; 1,280 images of 240 x 160 per second on one.

    Args:
        images: Gives all images in order, again at every call.
        num_images: How many; at least one.
        image_size: Height and width that networks see.
        has_margin: Store them larger than that, since training crops need a margin around what evaluation sees: 256
            pixels for 224, as is usual. Images that all have `image_size` already are stored as they are.
        hint: What to do about images that cannot be read, for the error.

    Returns:
        uint8 images in the same order: the middle square of each, resized.

    Raises:
        UnavailableError: Images are missing or damaged; names the first ones, counts all and says what to do.
    """
    # The filter is the process's own, so it is set once around all threads. PIL warns of palettes with transparency,
    # damaged EXIF data and the like; what it can read all the same is used.
    with warnings.catch_warnings(), ThreadPoolExecutor(_num_threads()) as pool:
        warnings.simplefilter("ignore")
        has_margin = has_margin and not all(_has_size(image, image_size) for _, image in images())
        size = round(image_size * STORED_PER_SEEN) if has_margin else image_size
        images_BCHW = torch.empty(num_images, 3, size, size, dtype=torch.uint8)
        reasons: dict[str, str] = {}
        rest, start = iter(images()), 0
        # Some at a time: a pool asks for all of its input at once, and encoded images may be more than memory holds.
        while some := list(islice(rest, NUM_AT_A_TIME)):
            names, contents = zip(*some, strict=True)
            # PIL frees the interpreter while it decodes.
            outcomes = pool.map(_decode_into, images_BCHW[start : start + len(some)], contents)
            reasons |= {name: reason for name, reason in zip(names, outcomes, strict=True) if reason}
            start += len(some)
    assert start == num_images, f"{start} of {num_images} images came"
    raise_unreadable(reasons, hint)
    return images_BCHW


def decode_files(paths: Sequence[Path], image_size: int, *, hint: str) -> Tensor:
    """Decodes files; see `decode_images`."""
    return decode_images(lambda: ((str(path), path) for path in paths), len(paths), image_size, hint=hint)


def raise_unreadable(reasons: Mapping[str, str], hint: str) -> None:
    """Raises `UnavailableError`, which ends with the hint, unless there is no unreadable image."""
    if not reasons:
        return
    named = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:NUM_NAMED])
    more = f"; and {len(reasons) - NUM_NAMED} more" if len(reasons) > NUM_NAMED else ""
    noun = "image cannot" if len(reasons) == 1 else "images cannot"
    raise UnavailableError(f"{len(reasons)} {noun} be read: {named}{more}. {hint}")


def decode(content: Path | bytes, size: int) -> Tensor:
    """Decodes the first frame of one image, upright, and resizes its middle square to (3, size, size) uint8."""
    with _open(content) as image:
        return to_square(_to_rgb(ImageOps.exif_transpose(image)), size)


def to_square(rgb: Image.Image, size: int) -> Tensor:
    """Resizes the middle square of an RGB image to (3, size, size) uint8."""
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    square = rgb.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _open(content: Path | bytes) -> Image.Image:
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def _has_size(content: Path | bytes | None, size: int) -> bool:
    """Tells whether an image has a size, from its header; one without a header does not count against it."""
    if content is None:
        return True
    try:
        with _open(content) as image:
            return image.size == (size, size)
    except DECODER_ERRORS:
        return True


def _decode_into(target_CHW: Tensor, content: Path | bytes | None) -> str | None:
    """Fills the target, or returns why not, in one line."""
    if content is None:
        return "no bytes"
    try:
        target_CHW.copy_(decode(content, target_CHW.shape[-1]))
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
