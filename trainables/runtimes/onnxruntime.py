"""Runs an ONNX classifier by ONNX Runtime on the CPU, at full precision or at any bit-widths of its sites.

`OnnxNetwork` answers the calls of a `QuantizedStudent` but for gradients: attacks score options by measuring them.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, one_line
from trainables.quant.affine import check_bit_width_range
from trainables.quant.sites import Site
from trainables.runtimes.onnx_bits import Places, places_of_file
from trainables.runtimes.onnx_file import IMAGE_CHANNELS, OnnxFile, onnx_sha256, read_onnx
from trainables.runtimes.onnx_links import OnnxLink, find_onnx_links
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS, SITE_OUTPUT, plain_model, quantized_model
from trainables.runtimes.onnx_sites import find_onnx_sites, readers_behind
from trainables.runtimes.ort import onnxruntime

ERRORS_ONLY = 3
"""Log level of ONNX Runtime: its warnings are of its optimizer, not of the network."""

# B = images, K = classes, L = sites, C H W = image.


def open_session(model: onnx.ModelProto, *, name: str) -> onnxruntime.InferenceSession:
    """Loads a model into ONNX Runtime on the CPU, with as many threads as torch has.

    Args:
        model: Any that it has the operators for.
        name: Of the model, for errors.

    Raises:
        ConfigError: It cannot run the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class but Exception
        raise ConfigError(f"{name} cannot be run by ONNX Runtime: {one_line(error)}.") from error


class OnnxNetwork(nn.Module):
    """An image classifier that is only run, never trained."""

    def __init__(self, path: Path, *, weight_bit_width: int | None = 16) -> None:
        """Reads the file and finds its sites; nothing is run yet.

        Args:
            path: An .onnx file of a float classifier.
            weight_bit_width: Bits of the weights in quantized passes, in 2..16; None leaves them. Paper: 16.

        Raises:
            UnavailableError: The file, or a file that it names, is missing.
            ConfigError: It is no float classifier of images, or has no site.
        """
        super().__init__()
        self.file: OnnxFile = read_onnx(path)
        self.weight_bit_width = weight_bit_width
        self.pinned: Mapping[int, int] = {}
        """Sites with a bit-width of their own, whatever the allocation says; 0 is full precision."""
        self._sites = find_onnx_sites(self.file)
        self.sites: list[Site] = [each.site for each in self._sites]

    @property
    def places(self) -> Places:
        """The network at full precision as a graph, with its sites and weights, for an export."""
        return places_of_file(self.file, self._sites)

    @property
    def sha256(self) -> str:
        """Fingerprint of graph and weights, in hex, wherever the file keeps its weights."""
        return onnx_sha256(self.file.model)

    @property
    def num_sites(self) -> int:
        """Number of sites, L."""
        return len(self.sites)

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return self.file.num_classes

    def forward(self, images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        """Returns the logits, at full precision or at the given bit-widths; see `QuantizedStudent.forward`.

        Args:
            images: Normalized float32 images, [B, 3, H, W].
            bit_width_BL: Bits of every site of every image, integer in 0..16; 0 leaves a site at full precision.
                None runs the file as it is, weights included.

        Returns:
            Logits, [B, K], on the CPU.

        Raises:
            ConfigError: The bit-widths do not fit, or ONNX Runtime cannot run the file on these images.
        """
        if bit_width_BL is None:
            return self._run(self._plain, images, None)["logits"]
        return self._run(self._quantized, images, self._checked(images, bit_width_BL))["logits"]

    def observe(self, images: Tensor, bit_width_BL: Tensor | None, show: Callable[[int, Tensor], None]) -> Tensor:
        """Runs as `forward` does and shows the activation of every site; see `QuantizedStudent.observe`."""
        session = self._plain_shown if bit_width_BL is None else self._quantized_shown
        bits = None if bit_width_BL is None else self._checked(images, bit_width_BL)
        values = self._run(session, images, bits)
        for site in self.sites:
            show(site.index, values[SITE_OUTPUT.format(site.index)])
        return values["logits"]

    def links(self) -> list[OnnxLink]:
        """Lists the channel links, with the ranges that the weights tell of their channels."""
        return find_onnx_links(self.file, self._sites)

    def with_pinned(self, pinned: Mapping[int, int]) -> Self:
        """Returns the network with sites whose bit-width is fixed; both share the loaded file."""
        other = copy.copy(self)
        other.pinned = {**self.pinned, **pinned}
        return other

    def with_weights(self, weights: Mapping[str, np.ndarray]) -> Self:
        """Returns the network with other constants, by name; it is as if it came from another file."""
        model = onnx.ModelProto()
        model.CopyFrom(self.file.model)
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
        return self._without_sessions(file=replace(self.file, model=model))

    def with_weight_bit_width(self, weight_bit_width: int | None) -> Self:
        """Returns the network with weights of other bits in quantized passes; None leaves them."""
        return self._without_sessions(weight_bit_width=weight_bit_width)

    def _without_sessions(self, **changes: object) -> Self:
        other = copy.copy(self)
        for name in ("_plain", "_quantized", "_plain_shown", "_quantized_shown"):
            other.__dict__.pop(name, None)
        other.__dict__.update(changes)
        return other

    def readers(self, sites: Iterable[Site]) -> list[str]:
        """Lists the nodes that read some sites, as ONNX Runtime's tools call them; see `quant.readers`."""
        return readers_behind(self.file, [self._sites[site.index].tensor for site in sites])

    def count_macs(self, size: tuple[int, int]) -> int:
        """Returns the multiplications of the layers before the classifier for one image of some height and width."""
        numbers: dict[int, int] = {}
        images = torch.zeros(self.file.batch_size or 1, IMAGE_CHANNELS, *size)
        self.observe(images, None, lambda site, x: numbers.update({site: x[0].numel()}))
        return sum(numbers[each.site.index] * each.num_products for each in self._sites)

    @cached_property
    def _plain(self) -> onnxruntime.InferenceSession:
        return self._session(plain_model(self.file))

    @cached_property
    def _quantized(self) -> onnxruntime.InferenceSession:
        return self._session(quantized_model(self.file, self._sites, weight_bit_width=self.weight_bit_width))

    @cached_property
    def _plain_shown(self) -> onnxruntime.InferenceSession:
        return self._session(plain_model(self.file, self._sites))

    @cached_property
    def _quantized_shown(self) -> onnxruntime.InferenceSession:
        model = quantized_model(self.file, self._sites, weight_bit_width=self.weight_bit_width, shows_sites=True)
        return self._session(model)

    def _session(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        return open_session(model, name=f"onnx:{self.file.path}")

    def _run(
        self, session: onnxruntime.InferenceSession, images: Tensor, bit_width_BL: np.ndarray | None
    ) -> dict[str, Tensor]:
        """Returns all outputs, joined where the file takes fewer images at a time than were given."""
        images_BCHW = images.detach().cpu().numpy().astype(np.float32, copy=False)
        size = self.file.batch_size or len(images_BCHW)
        names = [output.name for output in session.get_outputs()]
        if len(images_BCHW) % max(size, 1):
            raise ConfigError(
                f"onnx:{self.file.path} takes {size} images at a time, and {len(images_BCHW)} are no multiple of it: "
                "export it with a dynamic batch dimension."
            )
        parts: list[list[np.ndarray]] = []
        for start in range(0, len(images_BCHW), size):
            part = slice(start, start + size)
            feeds = {self.file.images: images_BCHW[part]}
            if bit_width_BL is not None:
                feeds[BIT_WIDTHS] = bit_width_BL[part]
            parts.append(self._outputs(session, names, feeds))
        joined = (np.concatenate(values) for values in zip(*parts, strict=True))
        return {name: torch.from_numpy(values) for name, values in zip(names, joined, strict=True)}

    def _outputs(
        self, session: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, np.ndarray]
    ) -> list[np.ndarray]:
        try:
            values: list[np.ndarray] = session.run(names, feeds)
        except Exception as error:  # as of a session
            shape = list(feeds[self.file.images].shape)
            raise ConfigError(
                f"onnx:{self.file.path} does not run on images of shape {shape}: {one_line(error)}."
            ) from error
        return values

    def _checked(self, images: Tensor, bit_width_BL: Tensor) -> np.ndarray:
        expected = (images.shape[0], self.num_sites)
        if bit_width_BL.shape != expected or bit_width_BL.is_floating_point():
            raise ConfigError(
                f"bit-widths of shape {list(bit_width_BL.shape)} and dtype {bit_width_BL.dtype} do not fit "
                f"{expected[0]} images and the {self.num_sites} sites of onnx:{self.file.path}: give an integer per "
                f"image and site, shape {list(expected)}."
            )
        check_bit_width_range(bit_width_BL)
        array: np.ndarray = bit_width_BL.cpu().numpy().astype(np.int32)
        for site, bit_width in self.pinned.items():
            array[:, site] = bit_width
        return array
