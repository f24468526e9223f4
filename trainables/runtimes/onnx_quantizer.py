"""Writes the quantizer into an ONNX graph: bit-widths become an input, `bit_width_BL`, and every site obeys it.

The formula is that of `trainables.quant.affine`, value for value, with ranges per image. It is written in float
operators that every ONNX runtime has since opset 11, so the graph is an emulation: it answers as a quantized network
does, not as fast as one. Shape letters: B = images, L = sites, N = values of an activation of one image.
"""

import copy
from collections.abc import Sequence
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
_PREFIX = "dptq_"
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
    nodes = _levels_nodes(file)
    by_tensor = {each.tensor: each.site.index for each in sites}
    types = _element_types(model)
    for node in graph.node:
        made = [name for name in node.output if name in by_tensor]
        if not made:
            nodes.append(node)
            continue
        node = copy.deepcopy(node)
        for position, name in enumerate(node.output):
            if name in by_tensor:
                # The node now makes the activation at full precision, and the quantizer what all others read.
                node.output[position] = f"{_PREFIX}full_{by_tensor[name]}"
        nodes.append(node)
        for name in made:
            nodes += _site_nodes(by_tensor[name], name, types.get(name, TensorProto.FLOAT), opset=file.opset)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_constants(len(sites)))
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
    _set_outputs(model, outputs, _element_types(model))
    return model


def _copy(file: OnnxFile) -> onnx.ModelProto:
    names = [name for node in file.model.graph.node for name in node.output]
    if any(name.startswith(_PREFIX) for name in names):
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


def _constants(num_sites: int) -> list[onnx.TensorProto]:
    values: dict[str, Any] = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "two": np.float32(2),
        "first": np.array([0], dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
        "rest": np.array([-1], dtype=np.int64),
    } | {f"column_{index}": np.array([index], dtype=np.int64) for index in range(num_sites)}
    return [numpy_helper.from_array(np.asarray(value), _PREFIX + name) for name, value in values.items()]


def _levels_nodes(file: OnnxFile) -> list[onnx.NodeProto]:
    """Returns what all sites share: the largest level 2^b - 1 of every image and site, and the shape [B, N]."""
    return [
        _node("Cast", [BIT_WIDTHS], "bits", to=TensorProto.FLOAT),
        _node("Pow", [_PREFIX + "two", _PREFIX + "bits"], "powers"),
        _node("Sub", [_PREFIX + "powers", _PREFIX + "one"], "levels_BL"),
        _node("Shape", [file.images], "images_shape"),
        _node("Gather", [_PREFIX + "images_shape", _PREFIX + "first"], "num_images"),
        _node("Concat", [_PREFIX + "num_images", _PREFIX + "rest"], "flat_shape", axis=0),
    ]


def _site_nodes(index: int, output: str, element_type: int, *, opset: int) -> list[onnx.NodeProto]:
    """Returns the quantizer of one site, from `dptq_full_<index>` to the tensor that the rest of the graph reads."""
    nodes: list[onnx.NodeProto] = []

    def add(op_type: str, result: str, *inputs: str, **attributes: Any) -> str:
        name = f"{result}_{index}"
        shared = ("zero", "one", "levels_BL", "flat_shape", f"column_{index}", f"full_{index}", "second")
        sources = [_PREFIX + each if each in shared else each for each in inputs]
        nodes.append(_node(op_type, sources, name, **attributes))
        return _PREFIX + name

    def reduce(op_type: str, result: str, source: str) -> str:
        if opset >= REDUCE_AXES_INPUT:
            return add(op_type, result, source, "second", keepdims=1)
        return add(op_type, result, source, axes=[1], keepdims=1)

    full = _PREFIX + f"full_{index}"
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
    level = add("Round", "level", add("Div", "scaled", x_BN, scale))
    least = add("Neg", "bottom", zero_point)
    clipped = add("Min", "upper", add("Max", "lower", level, least), add("Sub", "top", levels, zero_point))
    quantized = add("Where", "chosen", is_quantized, add("Mul", "dequantized", clipped, scale), x_BN)
    if is_half:
        quantized = add("Cast", "narrow", quantized, to=element_type)
    nodes.append(helper.make_node("Reshape", [quantized, shape], [output], name=f"{_PREFIX}shaped_{index}"))
    return nodes


def _node(op_type: str, inputs: Sequence[str], result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, list(inputs), [_PREFIX + result], name=_PREFIX + result, **attributes)


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = model.graph
    return {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.output, *graph.input)}


def _set_outputs(model: onnx.ModelProto, outputs: dict[str, str], types: dict[str, int]) -> None:
    """Makes tensors the only outputs, each under a name of its own."""
    graph = model.graph
    del graph.output[:]
    for name, tensor in outputs.items():
        graph.node.append(helper.make_node("Cast", [tensor], [name], name=f"{_PREFIX}to_{name}", to=TensorProto.FLOAT))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
