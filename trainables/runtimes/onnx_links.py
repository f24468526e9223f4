"""Channel links of an ONNX file: where channels can be scaled without a change, and the ranges that weights tell.

Found are links that begin at one layer, with the batch norm behind it, pass rectifiers and pooling, and end at layers.
Links through additions are not followed here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from trainables.quant.exponents import NORM_DEVIATIONS
from trainables.runtimes.onnx_file import OnnxFile
from trainables.runtimes.onnx_sites import OnnxSite, layers_of, node_name, readers_of

# C = channels of a link.

Weights = Mapping[str, np.ndarray]
"""Constants of a file, by name."""
HOMOGENEOUS = (
    *("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Dropout"),
    "Flatten",
)
"""Operators through which a positive factor of a channel passes unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxPart:
    """A constant that holds values of each channel of a link."""

    name: str
    axis: int
    """Dimension of the channels."""
    groups: int = 1
    """Of a convolution that reads them: its input channels are numbered within their group."""

    def maxima(self, weights: Weights) -> np.ndarray:
        """Returns the largest magnitude of every channel, [C]."""
        weight = np.abs(weights[self.name])
        if self.groups > 1:
            grouped = weight.reshape(self.groups, len(weight) // self.groups, weight.shape[1], -1)
            maxima: np.ndarray = grouped.max(axis=(1, 3)).reshape(-1)
        else:
            maxima = np.moveaxis(weight, self.axis, 0).reshape(weight.shape[self.axis], -1).max(axis=1)
        return maxima

    def scaled(self, weights: Weights, factor_C: np.ndarray) -> np.ndarray:
        """Returns the constant with every channel multiplied."""
        weight = weights[self.name]
        if self.groups > 1:
            # Row after row, each with the factors of its group.
            factor_GI = factor_C.reshape(self.groups, -1)
            factor = np.repeat(factor_GI, len(weight) // self.groups, axis=0)
            factor = factor.reshape(*factor.shape, *(1,) * (weight.ndim - 2))
        else:
            factor = factor_C.reshape([-1 if axis == self.axis % weight.ndim else 1 for axis in range(weight.ndim)])
        scaled: np.ndarray = (weight * factor).astype(weight.dtype)
        return scaled


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxLink:
    """Channels that can be scaled without a change of the network's function."""

    name: str
    """Layers where it begins and ends, for people."""
    kind: Literal["relu", "linear"]
    site: str
    """Name of the site that holds its channels; empty where the network does not quantize there."""
    gain: OnnxPart
    """Where it begins: rows of a layer, or the gain of the batch norm behind it."""
    shift: OnnxPart | None
    """Of that batch norm."""
    biases: tuple[OnnxPart, ...]
    """What is added to the channels on the way."""
    reading: tuple[OnnxPart, ...]
    """Columns of the layers where it ends."""
    is_scalable: bool
    """Whether every constant of it belongs to it alone, so that the file can be rewritten."""

    @property
    def multiplied(self) -> tuple[OnnxPart, ...]:
        """The constants that a factor of a channel multiplies."""
        return (self.gain, *((self.shift,) if self.shift else ()), *self.biases)

    def ranges(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """Returns the range of each channel where the link begins, and of the weights that read it, float64 [C]."""
        begin_C = self.gain.maxima(weights)
        if self.shift:
            begin_C = NORM_DEVIATIONS * begin_C + self.shift.maxima(weights)
        end_C = np.max([part.maxima(weights) for part in self.reading], axis=0)
        return torch.from_numpy(begin_C).double(), torch.from_numpy(end_C).double()


def find_onnx_links(file: OnnxFile, sites: list[OnnxSite]) -> list[OnnxLink]:
    """Lists the channel links of a classifier in the order of execution.

    Args:
        file: The classifier.
        sites: Of the file.
    """
    return _Links(file, sites).found()


def weights_of(file: OnnxFile) -> dict[str, np.ndarray]:
    """Returns the constants of a file as arrays, by name."""
    return {name: numpy_helper.to_array(tensor) for name, tensor in file.constants.items()}


class _Links:
    def __init__(self, file: OnnxFile, sites: list[OnnxSite]) -> None:
        self._shapes = {name: tuple(tensor.dims) for name, tensor in file.constants.items()}
        self._layers = {node.output[0]: node for node in layers_of(file)}
        self._readers = readers_of(file.model.graph)
        self._outputs = {each.name for each in file.model.graph.output} | {file.logits}
        self._site_of = {each.layer: each for each in sites}

    def found(self) -> list[OnnxLink]:
        followed = (self._follow(layer) for layer in self._layers.values() if self._has_channels(layer))
        return [link for link in followed if link]

    def _follow(self, layer: onnx.NodeProto) -> OnnxLink | None:
        """Returns the link that begins at a layer.

        None where something reads the channels through which no factor passes.
        """
        gain, shift, tensors = _rows(layer), None, [layer.output[0]]
        num_channels = self._shapes[gain.name][gain.axis]
        biases = [OnnxPart(name=name, axis=-1) for name in layer.input[2:3] if name]
        ends: list[onnx.NodeProto] = []
        is_rectified, is_scalable = False, True
        while tensors:
            tensor = tensors.pop()
            if tensor in self._outputs:
                return None
            for node in self._readers.get(tensor, []):
                if node.output[0] in self._layers and node.input[0] == tensor and self._has_channels(node):
                    ends.append(node)
                elif self._is_norm(node) and tensor == layer.output[0]:
                    # The norm takes every factor out of what comes before it: the link begins behind it.
                    gain, shift = (OnnxPart(name=name, axis=-1) for name in node.input[1:3])
                    biases = []
                    is_scalable &= len(self._readers[tensor]) == 1
                    tensors.append(node.output[0])
                elif bias := self._bias(node, num_channels):
                    biases.append(bias)
                    tensors.append(node.output[0])
                elif node.op_type in HOMOGENEOUS:
                    is_rectified |= node.op_type in ("Relu", "LeakyRelu")
                    tensors.append(node.output[0])
                else:
                    return None
        reading = tuple(_columns(end) for end in ends)
        if not ends or any(self._num_read(part) != num_channels for part in reading):
            return None
        site = self._site_of.get(node_name(layer))
        more = f" (+{len(ends) - 1})" if len(ends) > 1 else ""
        link = OnnxLink(
            name=f"{node_name(layer)} -> {node_name(ends[0])}{more}",
            kind="relu" if is_rectified else "linear",
            site=site.site.name if site else "",
            gain=gain,
            shift=shift,
            biases=tuple(biases),
            reading=reading,
            is_scalable=is_scalable,
        )
        return replace(link, is_scalable=is_scalable and self._is_alone(link))

    def _has_channels(self, layer: onnx.NodeProto) -> bool:
        return layer.op_type == "Conv" or len(self._shapes[layer.input[1]]) == 2

    def _is_norm(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "BatchNormalization" and all(name in self._shapes for name in node.input[1:3])

    def _is_alone(self, link: OnnxLink) -> bool:
        """Whether nothing else reads the constants of a link, and every one of them has a value per channel."""
        parts = (*link.multiplied, *link.reading)
        num_channels = self._num_read(link.reading[0])
        sizes = [self._shapes.get(part.name, ()) for part in link.multiplied]
        return (
            all(size and size[part.axis] == num_channels for size, part in zip(sizes, link.multiplied, strict=True))
            and all(len(self._readers[part.name]) == 1 for part in parts)
            and len({part.name for part in parts}) == len(parts)
        )

    def _num_read(self, part: OnnxPart) -> int:
        return self._shapes[part.name][part.axis] * part.groups

    def _bias(self, node: onnx.NodeProto, num_channels: int) -> OnnxPart | None:
        """Returns the constant that a node adds to the channels, if it does so."""
        names = [name for name in node.input if name in self._shapes]
        if node.op_type != "Add" or len(names) != 1:
            return None
        shape = self._shapes[names[0]]
        wide = [axis for axis, size in enumerate(shape) if size == num_channels]
        is_fitting = math.prod(shape) == num_channels and wide
        return OnnxPart(name=names[0], axis=wide[0]) if is_fitting else None


def _rows(layer: onnx.NodeProto) -> OnnxPart:
    """Returns the weights of a layer by output channel."""
    is_first = layer.op_type == "Conv" or _attribute(layer, "transB", 0)
    return OnnxPart(name=layer.input[1], axis=0 if is_first else 1)


def _columns(layer: onnx.NodeProto) -> OnnxPart:
    """Returns the weights of a layer by input channel."""
    if layer.op_type == "Conv":
        return OnnxPart(name=layer.input[1], axis=1, groups=_attribute(layer, "group", 1))
    return OnnxPart(name=layer.input[1], axis=1 if _attribute(layer, "transB", 0) else 0)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), default)
