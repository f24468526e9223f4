"""ONNX files for tests: exported networks, graphs written by hand, and a real classifier that a package ships."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def export(model: nn.Module, path: Path, *, size: int = 32, dynamo: bool = False, opset: int = 17) -> Path:
    """Exports a network with any number of images per run, by either of torch's exporters."""
    images = torch.randn(2, 3, size, size)
    with warnings.catch_warnings():
        # Of the exporters about themselves: one is deprecated, the other warns of the tools that it is made of.
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim("batch", min=1, max=4096)
            shapes = ({0: batch},)
            torch.onnx.export(model, (images,), path, dynamic_shapes=shapes, input_names=["images"], verbose=False)
        else:
            torch.onnx.export(
                model,
                (images,),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=["images"],
                dynamic_axes={"images": {0: "batch"}},
            )
    return path


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    shape: Sequence[int | str | None] = ("batch", 3, 8, 8),
    output: Sequence[int | str | None] = ("batch", 5),
    opset: int = 17,
    element_type: int = TensorProto.FLOAT,
) -> Path:
    """Writes a graph from `images` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [helper.make_tensor_value_info("images", element_type, shape)],
        [helper.make_tensor_value_info("y", element_type, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("my.library", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def random_weights(channels: int = 4, num_classes: int = 5) -> dict[str, np.ndarray]:
    """Returns the weights of a 3 x 3 convolution and of a classifier behind its global average."""
    draw = np.random.default_rng(0)
    return {
        "w": draw.normal(size=(channels, 3, 3, 3)).astype(np.float32),
        "b": draw.normal(size=channels).astype(np.float32),
        "v": draw.normal(size=(num_classes, channels)).astype(np.float32),
    }


def head(source: str) -> list[onnx.NodeProto]:
    """Returns the nodes from an activation to `y`: global average, flatten, classifier `v`."""
    return [
        helper.make_node("GlobalAveragePool", [source], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["y"], transB=1),
    ]


def shipped_classifier() -> Path:
    """Returns the text-direction classifier in the wheel of rapidocr-onnxruntime: 53 convolutions, two classes."""
    package = importlib.util.find_spec("rapidocr_onnxruntime")
    if package is None or not package.submodule_search_locations:
        pytest.skip("rapidocr-onnxruntime is not installed, whose wheel has the classifier")
    return Path(package.submodule_search_locations[0], "models", "ch_ppocr_mobile_v2.0_cls_infer.onnx")


def rescaled(path: Path, to: Path, *, norm: str, layer: str, channel: int, factor: float) -> Path:
    """Writes a copy in which a channel of a batch norm is multiplied and what reads it in a convolution divided."""
    model = onnx.load(path)
    nodes = {node.name: node for node in model.graph.node if node.name}
    gain, bias = nodes[norm].input[1:3]
    column = (slice(None), channel)
    for name, part, by in (
        (gain, channel, factor),
        (bias, channel, factor),
        (nodes[layer].input[1], column, 1 / factor),
    ):
        tensor = _weight(model, name)
        values = numpy_helper.to_array(tensor).copy()
        values[part] *= by
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, to)
    return to


def _weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """Returns a weight where the file keeps it: among the initializers, or in a node."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor
    return next(node.attribute[0].t for node in model.graph.node if node.output[0] == name)
