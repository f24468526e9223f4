"""A network as one ONNX graph that takes its bit-widths as an input, with integer codes: what `export` writes.

Every site is quantized to uint8 codes up to 8 bits, clipped to 2^b - 1, and to uint16 codes from 9 bits on, by the
operators QuantizeLinear and DequantizeLinear with a scale and a zero point per image that the graph computes when it
runs. The values are those of `trainables.quant.affine`, bit for bit. Weights are stored once, at full precision; the
graph quantizes them (`trainables.quant.weights`), which a runtime does once, when it loads the file.

A batch whose bit-widths are all 0 takes the other branch of an `If`: the network as it is, weights included. In all
other batches 0 leaves a site of an image at full precision, and weights are quantized, as in the simulation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from search_spaces.errors import ConfigError, one_line
from trainables.runtimes.onnx_file import OnnxFile, shape_of
from trainables.runtimes.onnx_quantizer import (
    BIT_WIDTHS,
    PREFIX,
    ScaleNames,
    element_types,
    scale_nodes,
    shared_constants,
    shared_nodes,
    with_sites,
)
from trainables.runtimes.onnx_sites import OnnxSite, layers_of

# B = images, K = classes, L = sites.

OPSET = 21
"""Operator set of the files: the first with uint16 codes."""
IR_VERSION = 10
"""Of the file format, with operator set 21."""
MARK_DOMAIN = "dptq"
"""Domain of the operator that marks sites while a network is exported; no file holds it."""
IMAGES, LOGITS = "images", "logits"
"""Names of the input and the output."""
MOST_SMALL_BITS = 8
"""Bits up to which codes are uint8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """A network at full precision as a graph, and what of it is quantized."""

    model: onnx.ModelProto
    """One input of images and one output of logits, under any names."""
    tensors: tuple[str, ...]
    """The tensor of every site, in the order of the sites."""
    weights: frozenset[str]
    """Initializers that are weights of layers."""

    @property
    def images(self) -> onnx.ValueInfoProto:
        """The input."""
        constants = {each.name for each in self.model.graph.initializer}
        return next(each for each in self.model.graph.input if each.name not in constants)


def places_of_file(file: OnnxFile, sites: Sequence[OnnxSite]) -> Places:
    """Returns the places of a file that was given, its answers being the logits.

    Raises:
        ConfigError: It is of an older operator set, and cannot be converted.
    """
    model = _with_opset(file)
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(file.logits, TensorProto.FLOAT, ["batch", file.num_classes])
    )
    return Places(
        model=model,
        tensors=tuple(each.tensor for each in sites),
        weights=frozenset(node.input[1] for node in layers_of(file)),
    )


def _with_opset(file: OnnxFile) -> onnx.ModelProto:
    """Returns a copy of a file's model, of operator set 21 at least."""
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    if file.opset >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise ConfigError(
            f"onnx:{file.path} of opset {file.opset} cannot be brought to opset {OPSET}, the first with uint16 codes: "
            f"{one_line(error)}. Export it with a newer opset."
        ) from error


def bits_model(places: Places, *, weight_bit_width: int | None) -> onnx.ModelProto:
    """Returns a model with the inputs `images` and `bit_width_BL`, and the output `logits`.

    Args:
        places: The network, of operator set 21 or newer; not changed.
        weight_bit_width: Bits of the weights, in 2..16, symmetric and per tensor; None leaves them.
    """
    graph, constants = places.model.graph, {each.name for each in places.model.graph.initializer}
    names = {places.images.name: IMAGES}
    nodes = [_renamed(node, names) for node in graph.node]
    weights = sorted(places.weights & constants) if weight_bit_width else []
    quantized_names = {name: f"{PREFIX}weight_{number}" for number, name in enumerate(weights)}
    types = element_types(places.model)
    quantized_nodes = [
        *shared_nodes(IMAGES),
        *with_sites(
            (_renamed(node, quantized_names) for node in nodes),
            places.tensors,
            lambda index, name: _site_nodes(index, name, types.get(name, TensorProto.FLOAT)),
        ),
    ]
    logits, num_classes = graph.output[0].name, shape_of(graph.output[0])[-1]
    branches = {
        "then_branch": _branch("quantized", quantized_nodes, logits, num_classes),
        "else_branch": _branch("full_precision", nodes, logits, num_classes),
    }
    outer = [node for number, name in enumerate(weights) for node in _weight_nodes(name, number)]
    outer += [
        _node("ReduceMax", [BIT_WIDTHS], "most_bits", keepdims=0),
        _node("Greater", [PREFIX + "most_bits", PREFIX + "no_bits"], "any_bits"),
        helper.make_node("If", [PREFIX + "any_bits"], [LOGITS], name=f"{PREFIX}if", **branches),
    ]
    num_images, _, height, width = shape_of(places.images)
    batch = num_images or "batch"
    made = helper.make_graph(
        outer,
        "dptq_sweep",
        [
            helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [batch, 3, height or "height", width or "width"]),
            helper.make_tensor_value_info(BIT_WIDTHS, TensorProto.INT32, [batch, len(places.tensors)]),
        ],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [batch, num_classes])],
        [*graph.initializer, *_constants(len(places.tensors), weight_bit_width)],
    )
    opsets = [each for each in places.model.opset_import if each.domain != MARK_DOMAIN]
    ir_version = max(IR_VERSION, places.model.ir_version)
    return helper.make_model(made, opset_imports=opsets, ir_version=ir_version, producer_name="dptq-sweep")


def with_input(model: onnx.ModelProto, name: str, new_name: str) -> onnx.ModelProto:
    """Renames an input of a model, in place, and returns the model."""
    for value in model.graph.input:
        value.name = new_name if value.name == name else value.name
    nodes = [_renamed(node, {name: new_name}) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _branch(name: str, nodes: Iterable[onnx.NodeProto], made: str, num_classes: int | None) -> onnx.GraphProto:
    """Returns a graph that makes the logits under a name of its own."""
    output = f"{PREFIX}{name}_logits"
    last = helper.make_node("Cast", [made], [output], name=f"{PREFIX}to_{name}_logits", to=TensorProto.FLOAT)
    logits = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", num_classes])
    return helper.make_graph([*nodes, last], name, [], [logits])


def _constants(num_sites: int, weight_bit_width: int | None) -> list[onnx.TensorProto]:
    values = {"no_bits": np.int32(0), "small_levels": np.float32(2**MOST_SMALL_BITS - 1)}
    if weight_bit_width:
        values |= {"weight_levels": np.float32(2 ** (weight_bit_width - 1) - 1)}
        values |= {"least_level": np.float32(1 - 2 ** (weight_bit_width - 1))}
    made = [numpy_helper.from_array(np.asarray(value), PREFIX + name) for name, value in values.items()]
    return [*shared_constants(num_sites), *made]


def _weight_nodes(weight: str, number: int) -> list[onnx.NodeProto]:
    """Returns the symmetric quantizer of one weight, from its initializer to `dptq_weight_<number>`."""
    nodes: list[onnx.NodeProto] = []

    def add(op_type: str, result: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(_node(op_type, list(inputs), f"{result}_{number}", **attributes))
        return f"{PREFIX}{result}_{number}"

    zero, levels = PREFIX + "zero", PREFIX + "weight_levels"
    largest = add("ReduceMax", "weight_largest", add("Abs", "weight_abs", weight), keepdims=0)
    scale = add("Div", "weight_scale", largest, levels)
    level = add("Round", "weight_level", add("Div", "weight_ratio", weight, scale))
    lower = add("Max", "weight_lower", level, PREFIX + "least_level")
    clipped = add("Min", "weight_clipped", lower, levels)
    # A weight that is all zero has a scale of 0, and stays as it is.
    add(
        "Where",
        "weight",
        add("Equal", "weight_is_zero", scale, zero),
        weight,
        add("Mul", "weight_made", clipped, scale),
    )
    return nodes


def _site_nodes(index: int, output: str, element_type: int) -> list[onnx.NodeProto]:
    """Returns the quantizer of one site, from `dptq_full_<index>` to the tensor that the rest of the graph reads."""
    nodes, names = scale_nodes(index, element_type, opset=OPSET)

    def add(op_type: str, result: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(_node(op_type, list(inputs), f"{result}_{index}", **attributes))
        return f"{PREFIX}{result}_{index}"

    is_small = add("LessOrEqual", "is_small", names.levels, PREFIX + "small_levels")
    scale_B = add("Squeeze", "scale_B", names.scale, PREFIX + "second")
    small = _coded(add, names, scale_B, is_small, "uint8", TensorProto.UINT8)
    is_large = add("Not", "is_large", is_small)
    large = _coded(add, names, scale_B, is_large, "uint16", TensorProto.UINT16)
    coded = add("Where", "coded", is_small, small, large)
    chosen = add("Where", "chosen", names.is_quantized, coded, names.x_BN)
    if element_type != TensorProto.FLOAT:
        chosen = add("Cast", "narrow", chosen, to=element_type)
    nodes.append(helper.make_node("Reshape", [chosen, names.shape], [output], name=f"{PREFIX}shaped_{index}"))
    return nodes


def _coded(add: Any, names: ScaleNames, scale_B: str, is_here: str, kind: str, element_type: int) -> str:
    """Adds the codes of one integer type and what they stand for; images of the other type get some code, too."""
    # Numbers that the type does not hold would have no defined code.
    zero_point_B1 = add("Where", f"{kind}_zero", is_here, names.zero_point, PREFIX + "zero")
    top_B1 = add("Where", f"{kind}_top", is_here, names.levels, PREFIX + "zero")
    zero_point_B = add("Squeeze", f"{kind}_zero_B", zero_point_B1, PREFIX + "second")
    zero_B = add("Cast", f"{kind}_zero_code", zero_point_B, to=element_type)
    code = add("QuantizeLinear", f"{kind}_code", names.x_BN, scale_B, zero_B, axis=0)
    # Min of narrow integers is not in ONNX Runtime.
    wide = add("Cast", f"{kind}_wide", code, to=TensorProto.INT32)
    clipped = add("Min", f"{kind}_min", wide, add("Cast", f"{kind}_top_code", top_B1, to=TensorProto.INT32))
    narrow = add("Cast", f"{kind}_clipped", clipped, to=element_type)
    return str(add("DequantizeLinear", f"{kind}_value", narrow, scale_B, zero_B, axis=0))


def _node(op_type: str, inputs: Sequence[str], result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, list(inputs), [PREFIX + result], name=PREFIX + result, **attributes)


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """Returns a copy of a node whose inputs have other names."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for position, name in enumerate(copy.input):
        copy.input[position] = names.get(name, name)
    return copy
