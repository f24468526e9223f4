"""A file that somebody quantized, run by ONNX Runtime as it is and with nodes put back to full precision."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from search_spaces.errors import ConfigError, one_line
from trainables.runtimes.onnx_blocks import QuantizedGraph
from trainables.runtimes.onnx_file import OnnxFile, onnx_sha256, read_onnx
from trainables.runtimes.onnx_revert import reverted_model
from trainables.runtimes.onnxruntime import open_session
from trainables.runtimes.ort import onnxruntime

# B = images, K = classes, C H W = image.

Kind = Literal["dynamic", "QDQ", "QOperator"]
"""By ranges found when it runs, by pairs of QuantizeLinear and DequantizeLinear, or by operators on codes."""


class QuantizedFile:
    """A quantized classifier beside the float file that it was made from."""

    def __init__(self, path: Path, reference: OnnxFile) -> None:
        """Reads the file.

        Args:
            path: An .onnx file.
            reference: The float file.

        Raises:
            UnavailableError: The file, or one that it names, is missing.
            ConfigError: It is no quantized classifier of images, or has other classes or images than the reference.
        """
        self.file = read_onnx(path, is_quantized=True)
        self.graph = QuantizedGraph(self.file, reference)
        if self.file.num_classes != reference.num_classes:
            raise ConfigError(
                f"onnx:{path} has {self.file.num_classes} classes and the reference onnx:{reference.path} "
                f"{reference.num_classes}: give the float model that it was made from."
            )
        sizes = [each.image_size for each in (self.file, reference)]
        if None not in sizes and sizes[0] != sizes[1]:
            own, other = ("x".join(map(str, size or ())) for size in sizes)
            raise ConfigError(
                f"onnx:{path} takes images of {own} and the reference onnx:{reference.path} of {other}: give the float "
                "model that it was made from."
            )

    @property
    def sha256(self) -> str:
        """Fingerprint of graph and weights, in hex."""
        return onnx_sha256(self.file.model)

    @property
    def kind(self) -> Kind:
        """How it is quantized."""
        if self.graph.is_dynamic:
            return "dynamic"
        return "QOperator" if self.graph.is_on_codes else "QDQ"

    @property
    def images_per_run(self) -> int:
        """How many images share a run, and so a dynamic range: as many as the file demands, or else one."""
        return self.file.batch_size or 1

    def runner(self, reverted: Collection[int] = ()) -> Callable[[Tensor], Tensor]:
        """Loads the file into ONNX Runtime, and returns what answers images [B, 3, H, W] with logits [B, K].

        Args:
            reverted: Blocks of the graph, by position, that are at full precision.

        Raises:
            ConfigError: ONNX Runtime cannot run it, now or on images of some size.
        """
        model = reverted_model(self.graph, reverted) if reverted else self.file.model
        session = open_session(model, name=f"onnx:{self.file.path}")
        return lambda images_BCHW: self._run(session, images_BCHW)

    def _run(self, session: onnxruntime.InferenceSession, images_BCHW: Tensor) -> Tensor:
        size = self.images_per_run
        parts: list[np.ndarray] = []
        for start in range(0, len(images_BCHW), size):
            part = images_BCHW[start : start + size].cpu().float()
            # Repeating the last image changes no range.
            padded = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            try:
                (values,) = session.run([self.file.output], {self.file.images: padded.numpy()})
            except Exception as error:  # as of a session
                shape = list(padded.shape)
                raise ConfigError(
                    f"onnx:{self.file.path} does not run on images of shape {shape}: {one_line(error)}. Give "
                    "the size that it takes as --image-size."
                ) from error
            parts.append(np.asarray(values)[: len(part)])
        return torch.from_numpy(np.concatenate(parts)).float()
