"""Channel links of an ONNX file by its weights: the scan of `trainables.assessment.link_scan` without a torch module.

Found are links that begin at one layer, with the batch norm behind it, pass rectifiers and pooling, and end at layers.
Links through additions are not followed here.
"""

import numpy as np
import onnx
import pandas as pd
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
"""Standard deviations that the output of a batch norm reaches (Nagel et al. 2019): bias + 3 gain."""
COLUMNS = ("link", "kind", "site", "channel", "exponent", "next_exponent")


def scan_onnx_links(file: OnnxFile, sites: list[OnnxSite]) -> pd.DataFrame:
    """Measures by the weights how far the outermost channel of every link stands out.

    Args:
        file: The classifier.
        sites: Of the file.

    Returns:
        A row per link, as `link_scan.scan_links` gives them.
    """
    return pd.DataFrame(_Links(file, sites).rows(), columns=list(COLUMNS))


class _Links:
    def __init__(self, file: OnnxFile, sites: list[OnnxSite]) -> None:
        self._weights = {name: numpy_helper.to_array(tensor) for name, tensor in file.constants.items()}
        self._layers = {node.output[0]: node for node in layers_of(file)}
        self._readers = readers_of(file.model.graph)
        self._outputs = {each.name for each in file.model.graph.output} | {file.logits}
        self._site_of = {each.layer: each for each in sites}

    def rows(self) -> list[dict[str, object]]:
        found = ((layer, self._follow(layer)) for layer in self._layers.values())
        return [self._row(layer, *passed) for layer, passed in found if passed]

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
                    begin_C = np.maximum(begin_C * 0, NORM_DEVIATIONS * gain_C + bias_C)
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

    def _row(
        self, layer: onnx.NodeProto, begin_C: np.ndarray, ends: list[onnx.NodeProto], is_rectified: bool
    ) -> dict[str, object]:
        end_C = np.max([self._columns_of(end) for end in ends], axis=0)
        exponent_C = _exponents(begin_C, end_C)
        first, second = (*np.argsort(-exponent_C, kind="stable")[:2], 0)[:2]
        site = self._site_of.get(node_name(layer))
        more = f" (+{len(ends) - 1})" if len(ends) > 1 else ""
        return {
            "link": f"{node_name(layer)} -> {node_name(ends[0])}{more}",
            "kind": "relu" if is_rectified else "linear",
            "site": site.site.name if site else "",
            "channel": int(first),
            "exponent": int(exponent_C[first]),
            "next_exponent": int(exponent_C[second]),
        }


def _exponents(begin_C: np.ndarray, end_C: np.ndarray) -> np.ndarray:
    """Returns the power of two by which each channel stands out; see `equalization.channel_exponents`."""
    is_live_C = (begin_C > 0) & (end_C > 0)
    if not is_live_C.any():
        return np.zeros(len(begin_C), dtype=np.int64)
    log_C = np.zeros(len(begin_C))
    log_C[is_live_C] = (np.log2(begin_C[is_live_C]) - np.log2(end_C[is_live_C])) / 2
    return np.where(is_live_C, np.rint(log_C - np.median(log_C[is_live_C])), 0).astype(np.int64)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), default)
