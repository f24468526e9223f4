"""Pictures of words, upright and upside down: what a text-direction classifier tells apart."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, WIDTH = 48, 192
CLASSES = ("0", "180")
"""Degrees of rotation, in the order of the classifier's classes."""
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def write_text_images(folder: Path, num_images: int, *, seed: int = 0) -> Path:
    """Writes half of the images upright and half upside down, in a folder per class."""
    draw = np.random.default_rng(seed)
    font_file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    for number in range(num_images):
        word = "".join(draw.choice(list(_LETTERS), size=int(draw.integers(5, 10))))
        picture = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(level) for level in draw.integers(190, 256, size=3)))
        ink = tuple(int(level) for level in draw.integers(0, 90, size=3))
        font = ImageFont.truetype(font_file, int(draw.integers(22, 32)))
        ImageDraw.Draw(picture).text((int(draw.integers(2, 20)), 4), word, fill=ink, font=font)
        name = CLASSES[number % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.rotate(int(name)).save(folder / name / f"{number:04}.png")
    return folder
