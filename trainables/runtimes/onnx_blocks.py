"""Which nodes of a float file a quantized file of the same network holds, found by the names of tensors.

ONNX Runtime's quantizer keeps the names of tensors: the codes of `T` are `T_quantized` for operators on codes
(QOperator), and `T_QuantizeLinear_Output` where QuantizeLinear and DequantizeLinear stand around float operators (QDQ);
dynamic quantization keeps `T` itself. A block lies between tensors that both files know: a node of the reference with
what was fused into it (batch norm, a bias, Relu) before or while it was quantized.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from trainables.runtimes.onnx_file import OnnxFile
from trainables.runtimes.onnx_sites import node_name, readers_of
from trainables.runtimes.ort import quantization

CODES = ("_quantized", "_QuantizeLinear_Output")
"""What ONNX Runtime adds to the name of a tensor for that of its codes."""
OUTPUT_SUFFIX = "_QuantizeLinear_Input"
"""What it adds to the name of an output of the file, for the values before their codes."""
NODE_SUFFIX = "_quant"
"""What it adds to the name of a node that it replaces."""
ON_CODES = ("QLinearConv", "QLinearMatMul", "QGemm")
"""Operators with weights that read and make codes."""
WEIGHT_INPUT = {
    **dict.fromkeys(ON_CODES, 3),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"), 1),
}
"""Operators with integer kernels, and which of their inputs the weight is."""
FLOAT_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights that run in float, or that a runtime fuses with DequantizeLinear and QuantizeLinear."""
ABSORBED = ("Relu", "Clip")
"""Operators that ONNX Runtime leaves out behind codes that end where their values do."""
DYNAMIC = "DynamicQuantizeLinear"
REGISTERED = frozenset({*quantization.registry.QLinearOpsRegistry, *quantization.registry.QDQRegistry})
"""Operators that ONNX Runtime's `quantize_static` quantizes; all others stay as they are between quantized tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Nodes of the reference that are one quantized node of a file."""

    name: str
    """Name of the quantized node as `nodes_to_exclude` takes it; empty where it has none."""
    nodes: tuple[onnx.NodeProto, ...]
    """Of the reference, each reads what the one before it makes."""
    known: str
    """Tensor of the reference whose values or codes the quantized node makes."""
    has_weights: bool

    @property
    def output(self) -> str:
        """Tensor of the reference that the nodes make: `known`, or what lies behind a node that was left out."""
        return self.nodes[-1].output[0]


class QuantizedGraph:
    """A quantized file beside its reference, whose names for tensors are used throughout."""

    def __init__(self, quantized: OnnxFile, reference: OnnxFile) -> None:
        """Finds the blocks.

        Args:
            quantized: Not changed.
            reference: The float file that it was made from; not changed.
        """
        self.file, self.reference = quantized, reference
        graph = quantized.model.graph
        self.producers = {name: node for node in graph.node for name in node.output}
        self.readers = readers_of(graph)
        self.constants = quantized.constants
        self.layers = [node for node in graph.node if self._has_quantized_weights(node)]
        self._made = {node.output[0] for node in self.layers}
        reference_nodes = reference.model.graph.node
        tensors = [reference.images, *(name for node in reference_nodes for name in node.output)]
        codes = {tensor: self._find_codes(tensor) for tensor in tensors}
        self.codes = {tensor: name for tensor, name in codes.items() if name}
        """Codes of the activations that are quantized."""
        self._known = {*map(self.own_name, tensors), *self.codes.values()}
        self.homes: dict[str, str] = {}
        """Tensors that the quantized file leaves out, with the one whose codes stand for each."""
        self.blocks: list[Block] = []
        """In the order of the reference."""
        self._find_blocks()

    @property
    def is_dynamic(self) -> bool:
        """Whether ranges of activations are found when the file runs."""
        return any(node.op_type == DYNAMIC for node in self.file.model.graph.node)

    @property
    def is_on_codes(self) -> bool:
        """Whether operators read and make codes themselves, as in the format QOperator."""
        return any(node.op_type in ON_CODES for node in self.file.model.graph.node)

    @property
    def unmatched(self) -> list[str]:
        """Names of layers with quantized weights that no block holds."""
        matched = {node.output[0] for block in self.blocks for node in self.unit(block.known)}
        return [_excluded_name(node) or node_name(node) for node in self.layers if node.output[0] not in matched]

    def own_name(self, tensor: str) -> str:
        """Returns the name of a tensor of the reference, before its own codes, in the quantized file."""
        if tensor == self.reference.images:
            return self.file.images
        # An output keeps its name behind its codes.
        before = f"{tensor}{OUTPUT_SUFFIX}"
        return before if before in self.producers else tensor

    def home(self, tensor: str) -> str:
        """Returns the tensor whose codes stand for one of the reference."""
        return self.homes.get(tensor, tensor)

    def touching(self) -> dict[str, set[int]]:
        """Returns the positions of the blocks that need each tensor's codes: they read them, or make them.

        Dynamic ranges belong to readers alone. A node of several outputs is no block and counts as -1.
        """
        places = {node.output[0]: place for place, block in enumerate(self.blocks) for node in block.nodes}
        found: dict[str, set[int]] = {tensor: set() for tensor in self.codes}
        for node in self.reference.model.graph.node:
            place = places.get(node.output[0], -1)
            if place < 0 and (len(node.output) == 1 or node.op_type not in REGISTERED):
                continue
            made = {self.home(name) for name in node.output}
            for tensor in {*made, *(self.home(name) for name in node.input)} & found.keys():
                if tensor not in made or not self._is_dynamic(tensor):
                    found[tensor].add(place)
        return found

    def _find_codes(self, tensor: str) -> str | None:
        named = (f"{tensor}{suffix}" for suffix in CODES)
        read_by = self.readers.get(self.own_name(tensor), [])
        quantizers = (node.output[0] for node in read_by if node.op_type in ("QuantizeLinear", DYNAMIC))
        return next((name for name in (*named, *quantizers) if name in self.producers), None)

    def _holds(self, tensor: str) -> bool:
        """Tells whether the file has a tensor of the reference, and not only what codes of another one stand for."""
        if tensor in self.codes or tensor == self.reference.images:
            return True
        made_by = self.producers.get(self.own_name(tensor))
        return made_by is not None and not self._is_conversion(made_by)

    def _find_blocks(self) -> None:
        chains = list(self._chains())
        self.homes |= {nodes[-1].output[0]: known for nodes, known in chains if nodes[-1].output[0] != known}
        kinds = self._quantized_kinds(chains)
        for nodes, known in chains:
            unit = self.unit(known) if self._has_inputs(nodes) else []
            layers = [each for each in unit if each.output[0] in self._made]
            if len(layers) > 1:
                continue  # the reference has other names for what lies between them
            if layers or (unit and nodes[0].op_type in kinds and self._is_quantized(nodes[0], known)):
                name = _excluded_name((layers or unit)[0])
                self.blocks.append(Block(name=name, nodes=tuple(nodes), known=known, has_weights=bool(layers)))

    def _has_inputs(self, nodes: Sequence[onnx.NodeProto]) -> bool:
        """Tells whether the file holds all that nodes of the reference read."""
        made = {node.output[0] for node in nodes} | self.reference.constants.keys()
        read = {name for node in nodes for name in node.input if name and name not in made}
        return all(self._holds(self.home(name)) for name in read)

    def _chains(self) -> Iterator[tuple[list[onnx.NodeProto], str]]:
        """Yields nodes of the reference with what was fused into them, and the tensor of each that the file holds."""
        readers = readers_of(self.reference.model.graph)
        inside: set[str] = set()
        for node in self.reference.model.graph.node:
            if len(node.output) != 1 or node.output[0] in inside:
                continue
            nodes, known = self._chain(node, readers)
            if known is not None:
                inside |= {each.output[0] for each in nodes}
                yield nodes, known

    def _chain(
        self, node: onnx.NodeProto, readers: Mapping[str, Sequence[onnx.NodeProto]]
    ) -> tuple[list[onnx.NodeProto], str | None]:
        """Returns a node with those that were fused into it, and the tensor of theirs that the file holds."""
        nodes, known = [node], None
        constants = self.reference.constants
        while True:
            tensor = nodes[-1].output[0]
            if known is None and self._holds(tensor):
                known = tensor
            behind = readers.get(tensor, [])
            if len(behind) != 1 or len(behind[0].output) != 1 or tensor == self.reference.logits:
                return nodes, known
            (reader,) = behind
            is_alone = all(name in constants for name in reader.input if name and name != tensor)
            is_left_out = reader.op_type in ABSORBED and not self._holds(reader.output[0])
            if not is_alone or (known is not None and not is_left_out):
                return nodes, known
            nodes.append(reader)

    def unit(self, tensor: str) -> list[onnx.NodeProto]:
        """Returns the nodes of the file that make a tensor of the reference out of others that the reference has."""
        # Codes may be made of values, or values of codes.
        ends = [name for name in (self.own_name(tensor), self.codes.get(tensor, "")) if name in self.producers]
        made = [self.producers[name] for name in ends if not self._is_conversion(self.producers[name])]
        unit: dict[str, onnx.NodeProto] = {}
        while made:
            node = made.pop()
            unit[node.output[0]] = node
            inner = (name for name in node.input if name in self.producers and not self._is_boundary(name))
            made += [self.producers[name] for name in inner if self.producers[name].output[0] not in unit]
        return list(unit.values())

    def _quantized_kinds(self, chains: Sequence[tuple[list[onnx.NodeProto], str]]) -> frozenset[str]:
        """Returns the operators without weights that were quantized: where none of them lacks codes."""
        lacking = {nodes[0].op_type for nodes, known in chains if not self._is_quantized(nodes[0], known)}
        return REGISTERED - (lacking - set(ABSORBED))

    def _is_quantized(self, node: onnx.NodeProto, known: str) -> bool:
        """Tells whether all that a node without weights reads and makes has codes."""
        constants = self.reference.constants
        touched = {known, *(self.home(name) for name in node.input if name and name not in constants)}
        if not touched <= self.codes.keys() or any(self._is_dynamic(tensor) for tensor in touched):
            return False
        # An activation that could have been left out, and is there, was not to be quantized.
        return node.op_type not in ABSORBED or not self._begins_at_zero(known)

    def _is_dynamic(self, tensor: str) -> bool:
        return self.producers[self.codes[tensor]].op_type == DYNAMIC

    def _begins_at_zero(self, tensor: str) -> bool:
        """Tells whether the lowest code of a tensor stands for 0."""
        node = self.producers[self.codes[tensor]]
        zero_point = self.constants.get(node.input[2]) if len(node.input) == 3 else None
        if zero_point is None:
            return True
        value = numpy_helper.to_array(zero_point)
        return bool((value == np.iinfo(value.dtype).min).all())

    def _has_quantized_weights(self, node: onnx.NodeProto) -> bool:
        if node.op_type in WEIGHT_INPUT:
            return node.input[WEIGHT_INPUT[node.op_type]] in self.constants
        made = [self.producers[name] for name in node.input[:2] if name in self.producers]
        return node.op_type in FLOAT_LAYERS and any(
            each.op_type == "DequantizeLinear" and each.input[0] in self.constants for each in made
        )

    def _is_conversion(self, node: onnx.NodeProto) -> bool:
        """Tells whether a node takes an activation to codes or back."""
        is_back = node.op_type == "DequantizeLinear" and node.input[0] not in self.constants
        return is_back or node.op_type in ("QuantizeLinear", DYNAMIC)

    def _is_boundary(self, tensor: str) -> bool:
        """Tells whether a tensor is an activation that the reference has, its codes, or what these stand for."""
        node = self.producers[tensor]
        return tensor in self._known or (node.op_type == "DequantizeLinear" and node.input[0] in self._known)


def _excluded_name(node: onnx.NodeProto) -> str:
    return node.name.removesuffix(NODE_SUFFIX)
