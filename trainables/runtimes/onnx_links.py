"""Channel links of an ONNX file, with the ranges that its weights tell of their channels.

Found are links that begin at one layer, with the batch norm behind it, pass rectifiers and pooling, and end at layers.
Links through additions are not followed here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper

from trainables.runtimes.onnx_file import OnnxFile
from trainables.runtimes.onnx_sites import OnnxSite, layers_of, node_name, readers_of

# C = channels of a link.

HOMOGENEOUS = (
    *("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Dropout"),
    "Flatten",
)
"""Operators through which a positive factor of a channel passes unchanged."""
NORM_DEVIATIONS = 3
"""Standard deviations that the output of a norm reaches, as Nagel et al. (2019) take it: bias + 3 gain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxLink:
    """Channels that can be scaled without a change of the network's function."""

    name: str
    """Layers where it begins and ends, for people."""
    kind: Literal["relu", "linear"]
    site: str
    """Name of the site that holds its channels; empty where the network does not quantize there."""
    begin_C: np.ndarray
    """Range of each channel where the link begins."""
    end_C: np.ndarray
    """Largest magnitude of the weights that read each channel."""


def find_onnx_links(file: OnnxFile, sites: list[OnnxSite]) -> list[OnnxLink]:
    """Lists the channel links of a classifier in the order of execution.

    Args:
        file: The classifier.
        sites: Of the file.
    """
    return _Links(file, sites).found()


class _Links:
    def __init__(self, file: OnnxFile, sites: list[OnnxSite]) -> None:
        self._weights = {name: numpy_helper.to_array(tensor) for name, tensor in file.constants.items()}
        self._layers = {node.output[0]: node for node in layers_of(file)}
        self._readers = readers_of(file.model.graph)
        self._outputs = {each.name for each in file.model.graph.output} | {file.logits}
        self._site_of = {each.layer: each for each in sites}

    def found(self) -> list[OnnxLink]:
        followed = ((layer, self._follow(layer)) for layer in self._layers.values())
        return [self._link(layer, *passed) for layer, passed in followed if passed]

    def _follow(self, layer: onnx.NodeProto) -> tuple[np.ndarray, list[onnx.NodeProto], bool] | None:
        """Returns the range of every channel where a link begins, the layers where it ends, and if it is rectified.

        None where something reads the channels through which no factor passes.
        """
        begin_C, tensors = self._rows_of(layer), [layer.output[0]]
        ends: list[onnx.NodeProto] = []
        is_rectified = False
        while tensors:
            tensor = tensors.pop()
            if tensor in self._outputs:
                return None
            for node in self._readers.get(tensor, []):
                if node.output[0] in self._layers and node.input[0] == tensor:
                    ends.append(node)
                elif node.op_type == "BatchNormalization" and tensor == layer.output[0]:
                    gain_C, bias_C = (np.abs(self._weights[name]) for name in node.input[1:3])
                    begin_C = NORM_DEVIATIONS * gain_C + bias_C
                    tensors.append(node.output[0])
                elif self._is_bias(node, len(begin_C)):
                    tensors.append(node.output[0])
                elif node.op_type in HOMOGENEOUS:
                    is_rectified |= node.op_type in ("Relu", "LeakyRelu")
                    tensors.append(node.output[0])
                else:
                    return None
        fitting = bool(ends) and all(len(self._columns_of(end)) == len(begin_C) for end in ends)
        return (begin_C, ends, is_rectified) if fitting else None

    def _is_bias(self, node: onnx.NodeProto, num_channels: int) -> bool:
        constants = [self._weights[name] for name in node.input if name in self._weights]
        return node.op_type == "Add" and len(constants) == 1 and constants[0].size == num_channels

    def _rows_of(self, layer: onnx.NodeProto) -> np.ndarray:
        """Returns the largest magnitude of the weights of every output channel."""
        weight = np.abs(self._weights[layer.input[1]])
        if layer.op_type != "Conv" and not _attribute(layer, "transB", 0):
            weight = weight.T
        return weight.reshape(len(weight), -1).max(axis=1)

    def _columns_of(self, layer: onnx.NodeProto) -> np.ndarray:
        """Returns the largest magnitude of the weights of every input channel."""
        weight = np.abs(self._weights[layer.input[1]])
        if layer.op_type != "Conv":
            return weight.max(axis=0 if _attribute(layer, "transB", 0) else 1)
        groups = _attribute(layer, "group", 1)
        grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return grouped.max(axis=(1, 3)).reshape(-1)

    def _link(
        self, layer: onnx.NodeProto, begin_C: np.ndarray, ends: list[onnx.NodeProto], is_rectified: bool
    ) -> OnnxLink:
        site = self._site_of.get(node_name(layer))
        more = f" (+{len(ends) - 1})" if len(ends) > 1 else ""
        return OnnxLink(
            name=f"{node_name(layer)} -> {node_name(ends[0])}{more}",
            kind="relu" if is_rectified else "linear",
            site=site.site.name if site else "",
            begin_C=begin_C,
            end_C=np.max([self._columns_of(end) for end in ends], axis=0),
        )


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), default)
