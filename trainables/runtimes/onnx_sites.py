"""Finds the sites of an ONNX classifier, by the rule of `trainables.quant.sites`: after the layer's activation.

Exporters spell an activation as one node or as several (`x * clip(x + 3, 0, 6) / 6`), so followers are not told by
their names. A site is the last tensor that is computed value by value from the layer's output alone, and that all
of the rest of the graph reads in its place.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from search_spaces.errors import ConfigError
from trainables.quant.readers import layers_behind
from trainables.quant.sites import Site
from trainables.runtimes.onnx_file import OnnxFile

LAYERS = ("Conv", "Gemm", "MatMul")
NORMALIZATIONS = ("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LRN")
ELEMENTWISE = (
    *("Abs", "Cast", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity"),
    *("LeakyRelu", "Max", "Min", "Mish", "Neg", "PRelu", "Pow", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus"),
    *("Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
)
"""Operators that keep values in their places."""
SCALINGS = ("Mul", "Div", "Sub")
"""Elementwise too; by a constant that differs between channels they are no activation but a layer of its own."""
TAIL = (
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean", "Flatten", "Reshape", "Squeeze"),
    *("Softmax", "LogSoftmax", "Transpose", "Unsqueeze"),
)
"""Operators that may stand between the classifier and the logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxSite:
    """A site with the places of the graph that it stands for."""

    site: Site
    layer: str
    """Name of the node of the layer; its first output where the node has no name."""
    weight: str
    """Name of the layer's weight."""
    tensor: str
    """Name of the tensor that is quantized."""
    num_products: int
    """Multiplications that the layer takes for one value of its output."""


def find_onnx_sites(file: OnnxFile) -> list[OnnxSite]:
    """Lists the sites in the order of execution.

    Raises:
        ConfigError: There is none.
    """
    graph = file.model.graph
    constants = file.constants
    readers = readers_of(graph)
    classifier = _classifier(file)
    sites: list[OnnxSite] = []
    for node in layers_of(file):
        if node.output[0] == classifier:
            continue
        tensor = _last_of_activation(node.output[0], readers, constants, outputs=[file.logits])
        name = node_name(node)
        axis = -3 if node.op_type == "Conv" else -1
        site = Site(index=len(sites), name=name, node=tensor, channel_axis=axis)
        num_products = _num_products(node, constants[node.input[1]])
        sites.append(OnnxSite(site=site, layer=name, weight=node.input[1], tensor=tensor, num_products=num_products))
    if not sites:
        raise ConfigError(
            f"onnx:{file.path} has no site to quantize: it needs at least one Conv, Gemm or MatMul with constant "
            "weights besides its classifier."
        )
    return sites


def readers_behind(file: OnnxFile, tensors: Iterable[str]) -> list[str]:
    """Lists the layers that read any of some tensors, by name of their nodes, in the order of execution."""
    readers, layers = readers_of(file.model.graph), {node.output[0] for node in layers_of(file)}
    additions = {node.output[0] for node in file.model.graph.node if node.op_type == "Add"}
    found = layers_behind(
        tensors,
        lambda tensor: (node.output[0] for node in readers.get(tensor, [])),
        is_layer=layers.__contains__,
        is_addition=additions.__contains__,
    )
    return [node_name(node) for node in layers_of(file) if node.output[0] in found]


def layers_of(file: OnnxFile) -> list[onnx.NodeProto]:
    """Returns the Conv, Gemm and MatMul nodes whose weights are constants, in the order of execution."""
    constants = file.constants
    return [node for node in file.model.graph.node if node.op_type in LAYERS and node.input[1] in constants]


def node_name(node: onnx.NodeProto) -> str:
    """Returns what a node is called: by its own name, as ONNX Runtime's tools do, else by its first output."""
    return node.name or node.output[0]


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Returns the nodes that read each tensor."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _classifier(file: OnnxFile) -> str | None:
    """Returns the output of the layer whose values are the logits; None where something else makes them."""
    constants = file.constants
    made_by = {output: node for node in file.model.graph.node for output in node.output}
    layers = {node.output[0] for node in layers_of(file)}
    tensor = file.logits
    while tensor in made_by:
        if tensor in layers:
            return tensor
        node = made_by[tensor]
        sources = [name for name in node.input if name and name not in constants]
        is_passed = node.op_type in TAIL or node.op_type in (*ELEMENTWISE, *SCALINGS, "Add")
        # A reshape reads its shape from another tensor.
        if not is_passed or (len(sources) != 1 and node.op_type != "Reshape"):
            return None
        tensor = sources[0]
    return None


def _last_of_activation(
    start: str,
    readers: dict[str, list[onnx.NodeProto]],
    constants: dict[str, onnx.TensorProto],
    outputs: Iterable[str],
) -> str:
    """Returns the last tensor that the graph behind a layer reads in place of the layer's output."""
    last = start
    # Tensors computed from the start alone, and those of them that something is still to read.
    inside, unread = {start}, {start}
    while True:
        ready = _next_inside(inside, readers, constants)
        if ready is None:
            return last
        inside.add(ready.output[0])
        unread.add(ready.output[0])
        read = {
            name
            for name in unread
            if name not in outputs and all(reader.output[0] in inside for reader in readers.get(name, []))
        }
        unread -= read - {ready.output[0]}
        if unread == {ready.output[0]}:
            last = ready.output[0]


def _next_inside(
    inside: set[str], readers: dict[str, list[onnx.NodeProto]], constants: dict[str, onnx.TensorProto]
) -> onnx.NodeProto | None:
    """Returns a node outside whose inputs are inside or constants, and that keeps values in their places."""
    for name in sorted(inside):
        for node in readers.get(name, []):
            sources = [each for each in node.input if each and each not in constants]
            if node.output[0] not in inside and set(sources) <= inside and _keeps_places(node, constants):
                return node
    return None


def _keeps_places(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type in (*ELEMENTWISE, *NORMALIZATIONS, "Add"):
        return True
    sizes = [math.prod(constants[name].dims) for name in node.input if name in constants]
    return node.op_type in SCALINGS and all(size == 1 for size in sizes)


def _num_products(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    if node.op_type == "Conv":
        return math.prod(weight.dims[1:])
    is_transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return int(weight.dims[1 if is_transposed else 0])
