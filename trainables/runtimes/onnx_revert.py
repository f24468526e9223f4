"""Puts nodes of a quantized file back to full precision, as if its quantizer had been told to leave them out.

What is put back are the nodes of the reference with its weights. An activation loses its quantization once every
quantized node that touches it is put back; until then nodes that are put back read the values that the codes stand for.
"""

from collections.abc import Collection, Iterable

import onnx
from onnx import helper

from trainables.runtimes.onnx_blocks import DYNAMIC, Block, QuantizedGraph

PREFIX = "dptq_reverted_"
"""Of the names of all that is added to a graph."""


def reverted_model(graph: QuantizedGraph, blocks: Collection[int]) -> onnx.ModelProto:
    """Returns the quantized file with blocks at full precision.

    Args:
        graph: Of the file; not changed.
        blocks: Their positions.
    """
    return _Reverting(graph, blocks).model()


class _Reverting:
    def __init__(self, graph: QuantizedGraph, blocks: Collection[int]) -> None:
        self.graph = graph
        self.chosen = [block for place, block in enumerate(graph.blocks) if place in blocks]
        touching = graph.touching()
        # Nodes that are not matched may need any of the codes.
        static = {} if graph.unmatched else touching
        self.inside = {node.output[0] for block in self.chosen for node in graph.unit(block.known)}
        """First outputs of the nodes of the file that the blocks take the place of."""
        self.without_codes = {
            tensor
            for tensor, places in static.items()
            if places and places <= set(blocks) and not self._is_needed(graph.codes[tensor])
        }
        self.values: dict[str, str] = {}
        """Tensors that blocks make at full precision, by the reference's names."""
        self.nodes: list[onnx.NodeProto] = []
        self.replaced: set[str] = set()
        """Outputs that nodes of the file no longer make."""
        self.weights: dict[str, onnx.TensorProto] = {}

    def _is_needed(self, codes: str) -> bool:
        """Tells whether a node that stays makes or reads some codes as they are."""
        ends = [self.graph.producers[codes], *self.graph.readers.get(codes, [])]
        stay = (node for node in ends if node.output[0] not in self.inside)
        return any(node.op_type not in ("QuantizeLinear", DYNAMIC, "DequantizeLinear") for node in stay)

    def model(self) -> onnx.ModelProto:
        """Returns the file with the blocks in place of what was made of them."""
        for block in self.chosen:
            self._put_back(block)
        for tensor in self.without_codes:
            self._pass_on(tensor)
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.file.model)
        kept = [node for node in model.graph.node if not self.replaced & set(node.output)]
        nodes = _needed([*kept, *self.nodes], [each.name for each in model.graph.output])
        del model.graph.node[:]
        model.graph.node.extend(_sorted(nodes))
        model.graph.initializer.extend(self.weights.values())
        # Of tensors that are no more.
        del model.graph.value_info[:]
        return model

    def _put_back(self, block: Block) -> None:
        inside = {node.output[0] for node in block.nodes}
        producers, codes = self.graph.producers, self.graph.codes.get(block.known)
        makes_codes = codes is not None and producers[codes].op_type not in ("QuantizeLinear", DYNAMIC)
        # Where the file has the value itself, all that read it read the new one.
        result = f"{PREFIX}{block.output}" if makes_codes else self.graph.own_name(block.output)
        for node in block.nodes:
            new = onnx.NodeProto()
            new.CopyFrom(node)
            new.name = f"{PREFIX}{node.output[0]}"
            new.input[:] = [PREFIX + name if name in inside else self._read(name) for name in node.input]
            new.output[:] = [result if node.output[0] == block.output else PREFIX + node.output[0]]
            self.nodes.append(new)
        self.values[block.output] = result
        if not makes_codes:
            self.replaced.add(result)
            return
        assert codes is not None
        self.replaced.add(codes)
        if block.known not in self.without_codes:
            self.nodes.append(
                helper.make_node("QuantizeLinear", [result, *self._grid(codes)], [codes], f"{PREFIX}to_{codes}")
            )

    def _read(self, tensor: str) -> str:
        """Returns the name of what a block reads in place of a tensor of the reference."""
        graph = self.graph
        if not tensor:
            return tensor
        if tensor in graph.reference.constants:
            name = PREFIX + tensor
            if name not in self.weights:
                weight = onnx.TensorProto()
                weight.CopyFrom(graph.reference.constants[tensor])
                weight.name = name
                self.weights[name] = weight
            return name
        home = graph.home(tensor)
        codes = graph.codes.get(home)
        if codes is None or home in self.without_codes or self._is_for_others(codes, tensor):
            return self.values.get(tensor, graph.own_name(tensor))
        return self._dequantized(codes)

    def _is_for_others(self, codes: str, tensor: str) -> bool:
        """Tells whether the codes are there for those that need them alone: all others read the tensor itself."""
        made_by = self.graph.producers[codes].op_type
        return made_by == DYNAMIC or (self.graph.is_on_codes and (tensor in self.values or made_by == "QuantizeLinear"))

    def _dequantized(self, codes: str) -> str:
        name = f"{PREFIX}of_{codes}"
        if all(name not in node.output for node in self.nodes):
            self.nodes.append(helper.make_node("DequantizeLinear", [codes, *self._grid(codes)], [name], name))
            self.nodes[-1].domain = self._domain(codes)
        return name

    def _domain(self, codes: str) -> str:
        """Returns where the operators for these codes come from: 16 bits have ONNX Runtime's own before opset 21."""
        node = self.graph.producers[codes]
        return node.domain if node.op_type == "QuantizeLinear" else ""

    def _grid(self, codes: str) -> list[str]:
        """Returns the names of scale and zero point of some codes, which every operator takes behind them."""
        for node in self.graph.readers.get(codes, []):
            names = list(node.input)
            place = names.index(codes)
            if len(names) > place + 1 and node.op_type not in ("Reshape", "Resize"):
                return [name for name in names[place + 1 : place + 3] if name]
        # An operator that only moves codes keeps their grid.
        return self._grid(self.graph.readers[codes][0].output[0])

    def _pass_on(self, tensor: str) -> None:
        """Gives all that still read the values behind the codes of a tensor the tensor itself."""
        graph = self.graph
        codes = graph.codes[tensor]
        value = next((self.values[name] for name in self.values if graph.home(name) == tensor), graph.own_name(tensor))
        for node in graph.readers.get(codes, []):
            if node.op_type == "DequantizeLinear":
                (made,) = node.output
                self.replaced.add(made)
                self.nodes.append(helper.make_node("Identity", [value], [made], f"{PREFIX}to_{made}"))


def _needed(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Leaves out nodes whose outputs nothing reads any more."""
    nodes = list(nodes)
    producers = {name: node for node in nodes for name in node.output}
    waiting, needed = list(outputs), set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting += node.input
    return [node for node in nodes if node.output[0] in needed]


def _sorted(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Returns nodes in an order of execution."""
    producers = {name: node for node in nodes for name in node.output}
    done: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    for first in nodes:
        waiting = [(first, False)]
        while waiting:
            node, is_ready = waiting.pop()
            if node.output[0] in done:
                continue
            if is_ready:
                done.add(node.output[0])
                ordered.append(node)
                continue
            waiting.append((node, True))
            waiting += [(producers[name], False) for name in node.input if name in producers]
    return ordered
