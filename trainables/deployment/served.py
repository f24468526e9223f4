"""An exported network, or a pair, that answers images: ONNX files, and between policy and network the exact knapsack.

Models in MLflow's registry import `ServedNetwork` by its name here, and hold folders of this form, so both stay as they
are: another form gets another number.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from search_spaces.budgets import MAX_BIT_WIDTH
from search_spaces.errors import ConfigError, StorageError, UnavailableError
from trainables.quant.knapsack import bit_widths_of, select
from trainables.runtimes.onnx_bits import IMAGES
from trainables.runtimes.onnx_file import IMAGE_CHANNELS
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS
from trainables.runtimes.onnxruntime import open_session

# B = images, K = classes, L = sites, C H W = image.

FACTS, NETWORK, POLICY = "served.json", "network.onnx", "policy.onnx"
"""Files of a folder that is served; only a pair has a policy."""
FORM = 1
"""Number of this form of a folder."""
BATCH = 32
"""Images of a run, where the network takes any number; ranges are per image, so that it changes no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a network answers to some images."""

    probabilities_BK: np.ndarray
    """float32, rows sum to 1."""
    bit_width_BL: np.ndarray
    """int64, in 0..16; 0 is full precision."""
    predicted_B: np.ndarray
    """int64, the class of the largest logit."""


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes what is known of the ONNX files of a folder, with their checksums; then it can be served."""
    files = {path.name: _sha256(path.read_bytes()) for path in sorted(folder.glob("*.onnx"))}
    (folder / FACTS).write_text(json.dumps({"form": FORM, **facts, "files": files}, indent=2))


class ServedNetwork:
    """A folder that `seal` finished, loaded into ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        """Loads the network, and the policy of a pair.

        Raises:
            UnavailableError: A file is missing.
            StorageError: A file is not what it was, or the folder is of another form.
        """
        self.facts: dict[str, Any] = json.loads(_read(folder / FACTS))
        """What the folder says of the network: `sites`, `image_size`, `class_names` and others."""
        if self.facts["form"] != FORM:
            raise StorageError(
                f"{folder} is of form {self.facts['form']}, and this version serves form {FORM}: use the version of "
                "dptq-sweep that exported it."
            )
        self._network = self._open(folder / NETWORK)
        self._policy = self._open(folder / POLICY) if POLICY in self.facts["files"] else None

    def answer(self, images_BCHW: np.ndarray, *, bit_width: int | None = None) -> Served:
        """Runs the network on images.

        Args:
            images_BCHW: Normalized float32 images, of the size in the facts.
            bit_width: Bits of every site of every image, in 0..16, where 0 is full precision, weights included. None
                leaves them to the policy, whose choices sum to the budget; without a policy it is full precision.

        Raises:
            ConfigError: There is no image, one has another shape or a value that is not finite, or the bits are out of
                range.
        """
        self._check(images_BCHW, bit_width)
        parts = [self._run(batch_BCHW, count, bit_width) for batch_BCHW, count in self._batches(images_BCHW)]
        logits_BK, bit_width_BL = (np.concatenate(each) for each in zip(*parts, strict=True))
        exponentials_BK = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
        return Served(
            probabilities_BK=exponentials_BK / exponentials_BK.sum(axis=1, keepdims=True),
            bit_width_BL=bit_width_BL,
            predicted_B=logits_BK.argmax(axis=1),
        )

    def _run(self, batch_BCHW: np.ndarray, count: int, bit_width: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits and bits of the first images of a batch."""
        bit_width_BL = self._bits(batch_BCHW, bit_width)
        feeds = {IMAGES: batch_BCHW, BIT_WIDTHS: bit_width_BL.astype(np.int32)}
        (logits_BK,) = self._network.run(None, feeds)
        return logits_BK[:count], bit_width_BL[:count]

    def _bits(self, batch_BCHW: np.ndarray, bit_width: int | None) -> np.ndarray:
        if self._policy is None or bit_width is not None:
            return np.full((len(batch_BCHW), len(self.facts["sites"])), bit_width or 0)
        (profits_BLO,) = self._policy.run(None, {IMAGES: batch_BCHW})
        options = self.facts["bit_widths"]
        option_index_BL = select(torch.from_numpy(profits_BLO), options, self.facts["budget"])
        bits: np.ndarray = bit_widths_of(option_index_BL, options).numpy()
        return bits

    def _batches(self, images_BCHW: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Yields batches that the network takes, and how many images of each are meant."""
        fixed: int | None = self.facts["batch_size"]
        size = fixed or BATCH
        for start in range(0, len(images_BCHW), size):
            batch_BCHW = images_BCHW[start : start + size]
            count = len(batch_BCHW)
            # A network that takes a fixed number gets the last image again: it changes nobody's answer.
            missing = [(0, size - count if fixed else 0), *[(0, 0)] * 3]
            yield np.pad(batch_BCHW, missing, mode="edge"), count

    def _check(self, images_BCHW: np.ndarray, bit_width: int | None) -> None:
        height, width = self.facts["image_size"]
        if images_BCHW.shape[1:] != (IMAGE_CHANNELS, height, width) or not len(images_BCHW):
            raise ConfigError(
                f"images of shape {list(images_BCHW.shape)} do not fit: give one image at least, normalized, as "
                f"[images, {IMAGE_CHANNELS}, {height}, {width}]."
            )
        if not np.isfinite(images_BCHW).all():
            raise ConfigError("the images hold a value that is NaN or infinite: only finite ones can be quantized.")
        if bit_width is not None and not 0 <= bit_width <= MAX_BIT_WIDTH:
            raise ConfigError(
                f"bit_width {bit_width} is out of range: it is in 0..{MAX_BIT_WIDTH}, 0 is full precision."
            )

    def _open(self, path: Path) -> Any:
        content = _read(path)
        if _sha256(content) != self.facts["files"].get(path.name):
            raise StorageError(f"{path} is damaged (its checksum differs): export the network again.")
        return open_session(onnx.load_model_from_string(content), name=str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read ({error.strerror}): export the network again.") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
