"""Writes the quantizer into an ONNX graph: bit-widths become an input, `bit_width_BL`, and every site obeys it.

The formula is that of `trainables.quant.affine`, value for value, with ranges per image. It is written in float
operators that every ONNX runtime has since opset 11, so the graph is an emulation: it answers as a quantized network
does, not as fast as one. Shape letters: B = images, L = sites, N = values of an activation of one image.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from search_spaces.errors import ConfigError
from trainables.quant.weights import fake_quantize_weights
from trainables.runtimes.onnx_file import OnnxFile
from trainables.runtimes.onnx_sites import OnnxSite, layers_of

BIT_WIDTHS = "bit_width_BL"
"""The added input: int32 bits of every image and site, 0 for full precision."""
SITE_OUTPUT = "dptq_site_{}"
"""Output that shows a site's activation as the rest of the graph reads it."""
PREFIX = "dptq_"
"""Of the names of all that is added to a graph."""
REDUCE_AXES_INPUT = 18
"""Opset from which reductions take their axes as an input."""


def quantized_model(
    file: OnnxFile, sites: Sequence[OnnxSite], *, weight_bit_width: int | None, shows_sites: bool = False
) -> onnx.ModelProto:
    """Returns a model with the inputs of the file and `bit_width_BL`, and the output `logits`.

    Args:
        file: The classifier; not changed.
        sites: Of the file.
        weight_bit_width: Bits of the weights of all layers, in 2..16, symmetric and per tensor; None leaves them.
        shows_sites: Whether every site's activation is an output, too.

    Raises:
        ConfigError: A name in the graph begins with `dptq_`: it was quantized by this function already.
    """
    model = _copy(file)
    graph = model.graph
    if weight_bit_width is not None:
        _quantize_weights(graph, {node.input[1] for node in layers_of(file)}, weight_bit_width)
    types = element_types(model)
    tensors = [each.tensor for each in sites]
    nodes = [
        *shared_nodes(file.images),
        *with_sites(
            graph.node,
            tensors,
            lambda index, name: _site_nodes(index, name, types.get(name, TensorProto.FLOAT), opset=file.opset),
        ),
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(shared_constants(len(sites)))
    graph.input.append(helper.make_tensor_value_info(BIT_WIDTHS, TensorProto.INT32, ["batch", len(sites)]))
    outputs = {"logits": file.logits}
    if shows_sites:
        outputs |= {SITE_OUTPUT.format(each.site.index): each.tensor for each in sites}
    _set_outputs(model, outputs, types)
    return model


def plain_model(file: OnnxFile, sites: Sequence[OnnxSite] = ()) -> onnx.ModelProto:
    """Returns the model at full precision with the output `logits`, and the activations of the sites given."""
    model = _copy(file)
    outputs = {"logits": file.logits} | {SITE_OUTPUT.format(each.site.index): each.tensor for each in sites}
    _set_outputs(model, outputs, element_types(model))
    return model


def _copy(file: OnnxFile) -> onnx.ModelProto:
    names = [name for node in file.model.graph.node for name in node.output]
    if any(name.startswith(PREFIX) for name in names):
        raise ConfigError(f"onnx:{file.path} has bit-widths as an input already: give the model that it was made from.")
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    return model


def _quantize_weights(graph: onnx.GraphProto, names: set[str], bit_width: int) -> None:
    for tensor in graph.initializer:
        if tensor.name not in names:
            continue
        weight = numpy_helper.to_array(tensor)
        (quantized,) = fake_quantize_weights([torch.from_numpy(weight.copy())], bit_width)
        tensor.CopyFrom(numpy_helper.from_array(quantized.numpy(), tensor.name))


def shared_constants(num_sites: int) -> list[onnx.TensorProto]:
    """Returns the numbers that the quantizers of all sites need."""
    values: dict[str, Any] = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "two": np.float32(2),
        "first": np.array([0], dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
        "rest": np.array([-1], dtype=np.int64),
    } | {f"column_{index}": np.array([index], dtype=np.int64) for index in range(num_sites)}
    return [numpy_helper.from_array(np.asarray(value), PREFIX + name) for name, value in values.items()]


def shared_nodes(images: str) -> list[onnx.NodeProto]:
    """Returns what all sites share: the largest level 2^b - 1 of every image and site, and the shape [B, N]."""
    return [
        _node("Cast", [BIT_WIDTHS], "bits", to=TensorProto.FLOAT),
        _node("Pow", [PREFIX + "two", PREFIX + "bits"], "powers"),
        _node("Sub", [PREFIX + "powers", PREFIX + "one"], "levels_BL"),
        _node("Shape", [images], "images_shape"),
        _node("Gather", [PREFIX + "images_shape", PREFIX + "first"], "num_images"),
        _node("Concat", [PREFIX + "num_images", PREFIX + "rest"], "flat_shape", axis=0),
    ]


def with_sites(
    nodes: Iterable[onnx.NodeProto], tensors: Sequence[str], quantizer: Callable[[int, str], list[onnx.NodeProto]]
) -> list[onnx.NodeProto]:
    """Returns nodes with a quantizer behind every site.

    Args:
        nodes: Of a graph, in the order of execution.
        tensors: The tensor of every site.
        quantizer: Returns the nodes from `dptq_full_<index>` to a tensor, given the index of its site and its name.
    """
    by_tensor = {tensor: index for index, tensor in enumerate(tensors)}
    quantized: list[onnx.NodeProto] = []
    for node in nodes:
        made = [name for name in node.output if name in by_tensor]
        if made:
            node = copy.deepcopy(node)
            for position, name in enumerate(node.output):
                if name in by_tensor:
                    # The node now makes the activation at full precision, and the quantizer what all others read.
                    node.output[position] = f"{PREFIX}full_{by_tensor[name]}"
        quantized.append(node)
        for name in made:
            quantized += quantizer(by_tensor[name], name)
    return quantized


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleNames:
    """Names of the tensors that the quantizer of a site is made of; all but the first two are [B, 1]."""

    shape: str
    """Shape of the activation."""
    x_BN: str
    """The activation in float32, one row per image."""
    levels: str
    """Largest level, 2^b - 1."""
    is_quantized: str
    """Whether the image has bits here, and a range."""
    scale: str
    zero_point: str


def scale_nodes(index: int, element_type: int, *, opset: int) -> tuple[list[onnx.NodeProto], ScaleNames]:
    """Returns the nodes that find scale and zero point of one site, from `dptq_full_<index>` on."""
    nodes: list[onnx.NodeProto] = []
    add = partial(_add, nodes, index)

    def reduce(op_type: str, result: str, source: str) -> str:
        if opset >= REDUCE_AXES_INPUT:
            return add(op_type, result, source, "second", keepdims=1)
        return add(op_type, result, source, axes=[1], keepdims=1)

    full = PREFIX + f"full_{index}"
    shape = add("Shape", "shape", full)
    is_half = element_type != TensorProto.FLOAT
    wide = add("Cast", "wide", full, to=TensorProto.FLOAT) if is_half else full
    # Flat, one row per image: it fits every rank, and windows that were folded into the batch.
    x_BN = add("Reshape", "flat", wide, "flat_shape")
    lo = add("Min", "lo", reduce("ReduceMin", "least", x_BN), "zero")
    hi = add("Max", "hi", reduce("ReduceMax", "largest", x_BN), "zero")
    levels = add("Gather", "levels", "levels_BL", f"column_{index}", axis=1)
    width = add("Sub", "width", hi, lo)
    has_bits = add("Greater", "has_bits", levels, "zero")
    # A range of 0 leaves the values as they are; a NaN is no 0, and goes on as NaN.
    is_zero = add("Equal", "is_zero", width, "zero")
    is_quantized = add("And", "is_quantized", has_bits, add("Not", "has_range", is_zero))
    divisor = add("Where", "divisor", is_quantized, levels, "one")
    scale = add("Where", "scale", is_quantized, add("Div", "step", width, divisor), "one")
    ratio = add("Div", "ratio", add("Neg", "minus", lo), scale)
    zero_point = add("Min", "zero_point", add("Round", "offset", ratio), levels)
    names = ScaleNames(
        shape=shape, x_BN=x_BN, levels=levels, is_quantized=is_quantized, scale=scale, zero_point=zero_point
    )
    return nodes, names


def _site_nodes(index: int, output: str, element_type: int, *, opset: int) -> list[onnx.NodeProto]:
    """Returns the quantizer of one site, from `dptq_full_<index>` to the tensor that the rest of the graph reads."""
    nodes, names = scale_nodes(index, element_type, opset=opset)
    add = partial(_add, nodes, index)
    level = add("Round", "level", add("Div", "scaled", names.x_BN, names.scale))
    least = add("Neg", "bottom", names.zero_point)
    clipped = add("Min", "upper", add("Max", "lower", level, least), add("Sub", "top", names.levels, names.zero_point))
    dequantized = add("Mul", "dequantized", clipped, names.scale)
    quantized = add("Where", "chosen", names.is_quantized, dequantized, names.x_BN)
    if element_type != TensorProto.FLOAT:
        quantized = add("Cast", "narrow", quantized, to=element_type)
    nodes.append(helper.make_node("Reshape", [quantized, names.shape], [output], name=f"{PREFIX}shaped_{index}"))
    return nodes


def _add(nodes: list[onnx.NodeProto], index: int, op_type: str, result: str, *inputs: str, **attributes: Any) -> str:
    """Adds a node of a site's quantizer and returns the name of what it makes."""
    shared = ("zero", "one", "levels_BL", "flat_shape", f"column_{index}", "second")
    sources = [PREFIX + each if each in shared else each for each in inputs]
    nodes.append(_node(op_type, sources, f"{result}_{index}", **attributes))
    return f"{PREFIX}{result}_{index}"


def _node(op_type: str, inputs: Sequence[str], result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, list(inputs), [PREFIX + result], name=PREFIX + result, **attributes)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Returns the element type of every tensor of which the model tells it."""
    graph = model.graph
    return {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.output, *graph.input)}


def _set_outputs(model: onnx.ModelProto, outputs: dict[str, str], types: dict[str, int]) -> None:
    """Makes tensors the only outputs, each under a name of its own."""
    graph = model.graph
    del graph.output[:]
    for name, tensor in outputs.items():
        graph.node.append(helper.make_node("Cast", [tensor], [name], name=f"{PREFIX}to_{name}", to=TensorProto.FLOAT))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
