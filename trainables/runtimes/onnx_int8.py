"""ONNX Runtime's own dynamic int8: `quantize_dynamic` with the settings that its documentation begins with.

Inputs of Conv, Gemm and MatMul are quantized to uint8 with one range over the whole tensor, so over all images of a
run: one image per run has its own range. Weights are int8, symmetric, with one scale each. `reduce_range` is off.
"""

from ast import literal_eval
from collections.abc import Sequence

import onnx

from search_spaces.errors import ConfigError, one_line, unknown_name
from search_spaces.files.scratch import scratch_folder
from trainables.runtimes.ort import quantization
from trainables.runtimes.quiet import ROOT, quietly

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter notes the modules that a node comes from."""
SUFFIX = "_quant"
"""What ONNX Runtime adds to the name of a node that it quantizes."""
INTEGER = ("ConvInteger", "MatMulInteger")
BIT_WIDTH = 8


def int8_model(plain: onnx.ModelProto, exclude: Sequence[str] = ()) -> onnx.ModelProto:
    """Returns a model with integer kernels.

    Args:
        plain: At full precision; not changed. Nodes without a name get that of their first output.
        exclude: Names of nodes that stay at full precision, as in `nodes_to_exclude`.

    Raises:
        ConfigError: ONNX Runtime cannot quantize it.
        UnknownNameError: It quantizes no node of a name.
    """
    named = onnx.ModelProto()
    named.CopyFrom(plain)
    for node in named.graph.node:
        node.name = node.name or node.output[0]
    if exclude:
        known = integer_nodes(_quantized(named, ()))
        for name in exclude:
            if name not in known:
                raise unknown_name("node", name, known)
    return _quantized(named, exclude)


def integer_nodes(model: onnx.ModelProto) -> list[str]:
    """Lists the nodes that run by integer kernels, by the names that `nodes_to_exclude` takes, in their order."""
    return [node.name.removesuffix(SUFFIX) for node in model.graph.node if node.op_type in INTEGER]


def layers_of_nodes(plain: onnx.ModelProto) -> dict[str, str]:
    """Returns the layers of a torch module that nodes come from, by the names that `nodes_to_exclude` takes."""
    layers: dict[str, str] = {}
    for node in plain.graph.node:
        scopes = [name for each in node.metadata_props if each.key == SCOPES for name in literal_eval(each.value)]
        weight = node.input[1] if len(node.input) > 1 else ""
        if layer := weight.removesuffix(".weight") if weight.endswith(".weight") else "".join(scopes[-2:-1]):
            # ONNX Runtime makes a MatMul of a Gemm first.
            layers |= {node.name: layer, f"{node.name}_MatMul": layer}
    return layers


def _quantized(named: onnx.ModelProto, exclude: Sequence[str]) -> onnx.ModelProto:
    own = onnx.ModelProto()
    own.CopyFrom(named)  # it works in place
    # It gives advice about preprocessing.
    with scratch_folder() as scratch, quietly(ROOT):
        path = scratch / "int8.onnx"
        try:
            quantization.quantize_dynamic(
                own,
                path,
                per_channel=False,
                reduce_range=False,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=list(exclude),
            )
        # Its errors have no common class but Exception.
        except Exception as error:
            raise ConfigError(
                f"ONNX Runtime cannot quantize the network ({type(error).__name__}: {one_line(error)[:200]})."
            ) from error
        return onnx.load(path)
