"""An ONNX classifier as its file holds it: read, checked, and brought into one form, before anything runs it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from search_spaces.errors import ConfigError, UnavailableError, one_line

MIN_OPSET = 11
"""The oldest operator set in which the quantizer can be written: it rounds half to even by `Round`."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operators that ONNX Runtime has built in; all others come from libraries, which are not loaded."""
MAX_BYTES = 2**31 - 1
"""Largest content of one file: protobuf holds no more, the rest would be external data."""
BYTES = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.DOUBLE: 8, onnx.TensorProto.INT64: 8}
"""Of a value, by type; those of all other types have one at least."""
QUANTIZED = (
    *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits", "QGemm"),
)
"""Operators that only quantized files have."""
FOLDED = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that exporters leave between a weight and its layer; of constants they make constants."""
IMAGE_CHANNELS = 3
GIVEN_NAMES = ("images", "bit_width_BL", "logits")
"""Of the inputs and the output that graphs get here; tensors of a file that have them get others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxFile:
    """A classifier with one image input and one output of a value per class."""

    path: Path
    model: onnx.ModelProto
    """The content, with shapes inferred and all constants as initializers."""
    images: str
    """Name of the input, float32, [batch, 3, height, width]."""
    image_size: tuple[int, int] | None
    """Height and width; None where the file takes any."""
    batch_size: int | None
    """Number of images of a run; None where the file takes any."""
    output: str
    """Name of the output."""
    logits: str
    """Name of the tensor of logits: the output, or what goes into the softmax before it."""
    num_classes: int

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return next(each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx"))

    @property
    def constants(self) -> dict[str, onnx.TensorProto]:
        """The initializers by name."""
        return {each.name: each for each in self.model.graph.initializer}


def read_onnx(path: Path, *, is_quantized: bool = False) -> OnnxFile:
    """Reads an ONNX classifier.

    Args:
        path: Of the file.
        is_quantized: Whether it must be quantized; else it must not be.

    Raises:
        UnavailableError: There is no such file, or data that it names beside it is missing.
        ConfigError: It is no ONNX model, is damaged, or is no such classifier of float images with three channels.
    """
    if not path.is_file():
        raise UnavailableError(f"onnx:{path} is no file: give the path of an .onnx file on this machine.")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"onnx:{path} has {path.stat().st_size:,} bytes, and ONNX files hold less than 2 GiB.")
    model = _load(path)
    _check_operators(path, model, is_quantized=is_quantized)
    _constants_to_initializers(model)
    _free_names(model.graph, {each.name for each in model.graph.input})
    _check_weights(path, model)
    model = _inferred(path, model)
    images, batch_size, image_size = _image_input(path, model)
    output, logits, num_classes = _logits(path, model)
    return OnnxFile(
        path=path,
        model=model,
        images=images,
        batch_size=batch_size,
        image_size=image_size,
        output=output,
        logits=logits,
        num_classes=num_classes,
    )


def onnx_sha256(model: onnx.ModelProto) -> str:
    """Returns the fingerprint of a graph and its weights in hex; how the weights are stored does not count."""
    structure = onnx.ModelProto()
    structure.CopyFrom(model)
    del structure.graph.initializer[:]
    digest = hashlib.sha256(structure.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda each: each.name):
        values = numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ConfigError(f"onnx:{path} is no ONNX model, or is cut off ({one_line(error)}): export again.") from error
    if not model.graph.node or not model.opset_import:
        raise ConfigError(f"onnx:{path} holds no ONNX graph: give the file that torch.onnx or another exporter wrote.")
    _check_external_size(path, model)
    try:
        # It refuses places outside of the model's folder, and links.
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        text = f"onnx:{path} keeps weights in other files that cannot be read: {one_line(error)}."
        raise UnavailableError(text) from error
    return model


def _check_external_size(path: Path, model: onnx.ModelProto) -> None:
    """Refuses weights that no model in memory can hold, before they are read."""
    num_bytes = sum(
        math.prod(tensor.dims) * BYTES.get(tensor.data_type, 1)
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    )
    if num_bytes > MAX_BYTES:
        raise ConfigError(
            f"onnx:{path} keeps {num_bytes:,} bytes of weights in other files, and less than 2 GiB can be run here: "
            "give a smaller network."
        )


def _check_operators(path: Path, model: onnx.ModelProto, *, is_quantized: bool) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in DOMAINS})
    if foreign:
        raise ConfigError(
            f"onnx:{path} uses operators that come from a library, {', '.join(foreign[:3])}: only those built into "
            "ONNX Runtime run here."
        )
    quantized = [node.op_type for node in model.graph.node if node.op_type in QUANTIZED]
    if quantized and not is_quantized:
        raise ConfigError(
            f"onnx:{path} is quantized already ({len(quantized)} nodes such as {quantized[0]}): give the float model "
            "that it was made from; assess takes a quantized file with that one as --reference."
        )
    if is_quantized and not quantized:
        raise ConfigError(
            f"onnx:{path} is a float model, and --reference goes with a quantized one: give the file that ONNX "
            "Runtime's quantizer wrote as MODEL, and the float model that it was made from as --reference."
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ConfigError(f"onnx:{path} breaks ONNX's rules: {one_line(error)}.") from error


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    """Some exporters write weights as nodes; as initializers they can be found and replaced."""
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    values = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            made = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type in FOLDED and all(name in values for name in node.input if name):
            inputs = {name: numpy_helper.to_array(values[name]) for name in node.input if name}
            made = _run_alone(node, inputs, model.opset_import)
        else:
            kept.append(node)
            continue
        values[node.output[0]] = numpy_helper.from_array(made, node.output[0])
    graph.initializer.extend(tensor for name, tensor in values.items() if name not in known)
    del graph.node[:]
    graph.node.extend(kept)


def _free_names(graph: onnx.GraphProto, inputs: set[str]) -> None:
    """Renames the tensors with names of GIVEN_NAMES; an input keeps its own."""
    own = {name: f"{name}_of_file" for name in GIVEN_NAMES if name not in inputs}
    for node in graph.node:
        node.input[:] = [own.get(name, name) for name in node.input]
        node.output[:] = [own.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                _free_names(inner, inputs)
    for value in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        value.name = own.get(value.name, value.name)


def _run_alone(
    node: onnx.NodeProto, inputs: dict[str, np.ndarray], opsets: Sequence[onnx.OperatorSetIdProto]
) -> np.ndarray:
    """Runs one node by ONNX's own reference."""
    ends = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in (*inputs, node.output[0])]
    graph = onnx.helper.make_graph([node], "folded", ends[:-1], ends[-1:])
    (made,) = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets)).run(None, inputs)
    return np.asarray(made)


def _check_weights(path: Path, model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ConfigError(f"onnx:{path} has NaN or infinite weights, in {tensor.name!r}: it classifies nothing.")


def _inferred(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    try:
        if opset < MIN_OPSET:
            model = onnx.version_converter.convert_version(model, MIN_OPSET)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (RuntimeError, onnx.shape_inference.InferenceError) as error:
        raise ConfigError(
            f"onnx:{path} of opset {opset} cannot be brought to opset {MIN_OPSET} with its shapes: {one_line(error)}. "
            "Export it with a newer opset."
        ) from error


def _image_input(path: Path, model: onnx.ModelProto) -> tuple[str, int | None, tuple[int, int] | None]:
    """Returns the name of the only input, its batch size and image size."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    shapes = {each.name: shape_of(each) for each in inputs}
    if len(inputs) != 1:
        raise ConfigError(f"onnx:{path} has {len(inputs)} inputs, {', '.join(shapes)}: an image classifier has one.")
    (name, shape), (value,) = next(iter(shapes.items())), inputs
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise ConfigError(
            f"onnx:{path} takes {kind} images: give a model of float32 images, [batch, 3, height, width]."
        )
    if len(shape) != 4 or shape[1] not in (None, IMAGE_CHANNELS):
        raise ConfigError(
            f"onnx:{path} takes inputs of shape [{_listed(shape)}]: images have shape [batch, 3, height, width] here."
        )
    batch_size, _, height, width = shape
    return name, batch_size, (height, width) if height and width else None


def _logits(path: Path, model: onnx.ModelProto) -> tuple[str, str, int]:
    """Returns the output, the tensor of logits and the number of classes."""
    outputs = {each.name: shape_of(each) for each in model.graph.output}
    fitting = [name for name, shape in outputs.items() if len(shape) == 2 and shape[1]]
    if len(fitting) != 1:
        listed = "; ".join(f"{name} [{_listed(shape)}]" for name, shape in outputs.items())
        raise ConfigError(f"onnx:{path} has outputs {listed}: a classifier has one of shape [batch, classes].")
    name = fitting[0]
    num_classes = outputs[name][1]
    assert num_classes is not None
    made_by = {output: node for node in model.graph.node for output in node.output}
    tensor = name
    while tensor in made_by and made_by[tensor].op_type == "Identity":
        tensor = made_by[tensor].input[0]
    if tensor in made_by and made_by[tensor].op_type == "Softmax":
        return name, made_by[tensor].input[0], num_classes
    return name, name, num_classes


def _listed(shape: Sequence[int | None]) -> str:
    return ", ".join("?" if size is None else str(size) for size in shape)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Returns the sizes of a tensor; None where the file leaves one open."""
    return tuple(each.dim_value if each.dim_value > 0 else None for each in value.type.tensor_type.shape.dim)
