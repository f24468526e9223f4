"""Image files to uint8 tensors of one size, or one error that names every file that is none.

PIL looks at the content, not at the name: Pets has GIF and PNG files that are called .jpg.
"""

import os
import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from search_spaces.errors import UnavailableError

# B = images, C H W = image.

NUM_NAMED = 5
"""Unreadable files that an error names; it counts the rest."""
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


def decode_files(paths: Sequence[Path], size: int) -> Tensor:
    """Decodes files on all cores, or on $OMP_NUM_THREADS of them; 1,280 images of 240 x 160 per second on one.

    Args:
        paths: At least one.
        size: Height and width to return: the middle square of each image, resized.

    Returns:
        uint8 images in the order of the paths.

    Raises:
        UnavailableError: Files are missing or damaged; names the first ones, counts all and says what to do.
    """
    images_BCHW = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    # The filter is the process's own, so it is set once around all threads. PIL warns of palettes with transparency,
    # damaged EXIF data and the like; what it can read all the same is used.
    with warnings.catch_warnings(), ThreadPoolExecutor(_num_threads()) as pool:
        warnings.simplefilter("ignore")
        # PIL frees the interpreter while it decodes.
        reasons = list(pool.map(partial(_decode_into, size=size), images_BCHW, paths))
    raise_unreadable({path: reason for path, reason in zip(paths, reasons, strict=True) if reason})
    return images_BCHW


def raise_unreadable(reasons: dict[Path, str]) -> None:
    """Raises `UnavailableError` unless there is no unreadable file."""
    if not reasons:
        return
    named = "; ".join(f"{path} ({reason})" for path, reason in list(reasons.items())[:NUM_NAMED])
    more = f"; and {len(reasons) - NUM_NAMED} more" if len(reasons) > NUM_NAMED else ""
    noun = "file cannot" if len(reasons) == 1 else "files cannot"
    raise UnavailableError(
        f"{len(reasons)} image {noun} be read: {named}{more}. Unpack the archive of the images again, or remove the "
        "lines of these images from the annotation lists."
    )


def decode(path: Path, size: int) -> Tensor:
    """Decodes the first frame of one file, upright, and resizes its middle square to (3, size, size) uint8."""
    with Image.open(path) as image:
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    square = rgb.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _decode_into(target_CHW: Tensor, path: Path, *, size: int) -> str | None:
    """Fills the target, or returns why not, in one line."""
    try:
        target_CHW.copy_(decode(path, size))
    except FileNotFoundError:
        return "missing"
    except UnidentifiedImageError:
        return "no image"
    except DECODER_ERRORS as error:
        return " ".join(str(error).split()) or type(error).__name__
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
