"""Which activations of a network share their channels, from its `torch.fx` graph.

A *space* is a set of activations whose channel c can only be scaled together: an activation and what channel-wise
positively homogeneous functions (ReLU, pooling, dropout, ...) and additions make of it. A space is *open* if it begins
at layers or norms with a factor per channel and ends at Conv2d or Linear layers only. Then channel c times any s > 0
where it begins, and the column c of every layer where it ends divided by s, leave the network's function as it is
(Nagel et al. 2019, section 4.1; there for two layers and a ReLU between them).
"""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.layers import BatchNormAct2d, DropPath, LayerNorm2d, LayerScale, LayerScale2d, SelectAdaptivePool2d
from torch import fx, nn
from torch.nn import functional as F

from trainables.quant.sites import LAYER_KINDS

FIRST, LAST = 1, -1
"""Axes on which channels lie: the first behind the examples (of images), or the last (of tokens and vectors)."""
_RECTIFIERS = (nn.ReLU, nn.LeakyReLU)
_HOMOGENEOUS = (
    *(*_RECTIFIERS, nn.Identity, nn.Dropout, nn.Dropout2d, DropPath, LayerScale, LayerScale2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_RECTIFYING_NAMES = {"relu", "leaky_relu"}
_HOMOGENEOUS_NAMES = _RECTIFYING_NAMES | {
    *("dropout", "dropout2d", "drop_path", "contiguous", "max_pool2d", "avg_pool2d"),
    *("adaptive_avg_pool2d"),
}
_MOVES = {(0, 2, 3, 1): (FIRST, LAST), (0, 3, 1, 2): (LAST, FIRST)}
"""Permutations of images that keep their channels together: the axis before and after."""


@dataclass(slots=True)
class Space:
    """Activations that share their channels."""

    num_channels: int
    producers: list[str] = field(default_factory=list)
    """Qualified names of the layers and norms where it begins."""
    consumers: list[str] = field(default_factory=list)
    """Qualified names of the layers where it ends."""
    nodes: list[str] = field(default_factory=list)
    """Names of the traced nodes whose outputs are its activations."""
    is_open: bool = True
    """Whether nothing else than layers reads it, and nothing without a factor per channel writes it."""
    has_rectifier: bool = False
    has_addition: bool = False

    def _absorb(self, other: "Space") -> None:
        self.producers += other.producers
        self.consumers += other.consumers
        self.nodes += other.nodes
        self.is_open = self.is_open and other.is_open and self.num_channels == other.num_channels
        self.has_rectifier |= other.has_rectifier
        self.has_addition |= other.has_addition


def open_spaces(model: nn.Module, graph: fx.Graph) -> list[Space]:
    """Lists the spaces of a network whose channels can be scaled, in the order in which they begin.

    Args:
        model: A network in evaluation mode.
        graph: What `sites.trace` made of it.
    """
    return _Walk(model, graph).open_spaces()


class _Walk:
    """One pass over the nodes in the order of execution; every node whose output has channels gets its space."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._shared = _shared_parameters(model)
        self._space: dict[fx.Node, Space] = {}
        self._axis: dict[fx.Node, int] = {}
        self._calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
        for node in graph.nodes:
            self._visit(node)

    def open_spaces(self) -> list[Space]:
        distinct = {id(space): space for space in self._space.values()}
        order = {name: position for position, name in enumerate(self._calls)}
        for space in distinct.values():
            space.producers.sort(key=order.__getitem__)
            space.consumers.sort(key=order.__getitem__)
        return [space for space in distinct.values() if space.is_open and space.producers and space.consumers]

    def _visit(self, node: fx.Node) -> None:
        module = self._modules[str(node.target)] if node.op == "call_module" else None
        if _reads_shape(node):
            return
        if isinstance(module, LAYER_KINDS):
            self._visit_layer(node, module)
        elif module is not None and (norm := norm_axis(module)) is not None:
            self._close_inputs(node)
            self._begin(node, module, norm)
            self._space[node].has_rectifier = isinstance(getattr(module, "act", None), _RECTIFIERS)
        elif _is_addition(node) and len(node.all_input_nodes) == 2:
            self._visit_addition(node)
        elif (axis := self._axis_behind(node, module)) is not None:
            self._extend(node, axis)
            self._space[node].has_rectifier |= isinstance(module, _RECTIFIERS) or _name(node) in _RECTIFYING_NAMES
        else:
            self._close_inputs(node)

    def _visit_layer(self, node: fx.Node, layer: nn.Module) -> None:
        (source,) = node.all_input_nodes
        space, axis = self._space.get(source), LAST if isinstance(layer, nn.Linear) else FIRST
        if space is not None:
            space.is_open &= self._axis[source] == axis and _num_inputs(layer) == space.num_channels
            # A weight that is computed from other parameters cannot be divided.
            space.is_open &= "weight" in layer._parameters and not self._is_shared(node)
            space.consumers.append(str(node.target))
        self._begin(node, layer, axis)

    def _begin(self, node: fx.Node, module: nn.Module, axis: int) -> None:
        weight = module._parameters.get("weight")
        num_channels = 0 if weight is None else weight.shape[0]
        space = Space(num_channels=num_channels, producers=[str(node.target)], nodes=[node.name])
        space.is_open = weight is not None and not self._is_shared(node)
        self._space[node], self._axis[node] = space, axis

    def _visit_addition(self, node: fx.Node) -> None:
        spaces = [self._space.get(source) for source in node.all_input_nodes]
        axes = {self._axis.get(source) for source in node.all_input_nodes}
        first, second = spaces
        if first is None or second is None or len(axes) > 1:
            self._close_inputs(node)
            return
        if first is not second:
            first._absorb(second)
            for other, space in self._space.items():
                if space is second:
                    self._space[other] = first
        first.has_addition = True
        self._extend(node, self._axis[node.all_input_nodes[0]])

    def _extend(self, node: fx.Node, axis: int) -> None:
        space = self._space[node.all_input_nodes[0]]
        space.nodes.append(node.name)
        self._space[node], self._axis[node] = space, axis

    def _close_inputs(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            if source in self._space:
                self._space[source].is_open = False

    def _is_shared(self, node: fx.Node) -> bool:
        """Tells whether a layer runs twice or shares a parameter: one factor would then have to fit two places."""
        parameters = self._modules[str(node.target)].parameters(recurse=False)
        return self._calls[str(node.target)] > 1 or any(id(each) in self._shared for each in parameters)

    def _axis_behind(self, node: fx.Node, module: nn.Module | None) -> int | None:
        """Returns where the channels lie behind a channel-wise homogeneous function; None for any other function."""
        if len(node.all_input_nodes) != 1 or node.all_input_nodes[0] not in self._space:
            return None
        axis = self._axis[node.all_input_nodes[0]]
        if isinstance(module, SelectAdaptivePool2d):
            return None if axis != FIRST else LAST if isinstance(module.flatten, nn.Flatten) else FIRST
        if isinstance(module, nn.Flatten):
            return LAST if module.start_dim == 1 else None
        if module is not None:
            return axis if isinstance(module, _HOMOGENEOUS) else None
        return _axis_behind_function(node, axis)


def norm_axis(module: nn.Module) -> int | None:
    """Returns the axis of a norm's channels; None for what is no norm with a factor per channel that scales its output.

    Norms of timm carry an activation, which must be positively homogeneous.
    """
    if isinstance(module, BatchNormAct2d) and not (
        isinstance(module.act, (*_RECTIFIERS, nn.Identity)) and isinstance(module.drop, nn.Identity)
    ):
        return None
    if hasattr(module, "act") and not isinstance(module, BatchNormAct2d):
        return None
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, LayerNorm2d)):
        return FIRST
    is_vector = isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and len(module.normalized_shape) == 1
    return LAST if is_vector else None


def _axis_behind_function(node: fx.Node, axis: int) -> int | None:
    name, arguments = _name(node), node.args[1:]
    if name in _HOMOGENEOUS_NAMES:
        return axis
    if name == "flatten":
        return LAST if axis == FIRST and _argument(node, 0, "start_dim", 0) == 1 else None
    if name == "permute":
        dims = arguments[0] if arguments and isinstance(arguments[0], (tuple, list)) else arguments
        before, after = _MOVES.get(tuple(dims), (None, None))
        return after if axis == before else None
    if name == "mean":
        dims, keeps = _argument(node, 0, "dim", ()), _argument(node, 1, "keepdim", False)
        is_spatial = axis == FIRST and isinstance(dims, (tuple, list)) and set(dims) in ({2, 3}, {-1, -2})
        return None if not is_spatial else FIRST if keeps else LAST
    return None


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """Returns an argument behind the tensor, by position or by name."""
    behind = node.args[1:]
    return behind[position] if position < len(behind) else node.kwargs.get(name, default)


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    if node.op == "call_function":
        # F.max_pool2d and its like are one function under other names.
        target: Callable[..., Any] | str = node.target
        return "max_pool2d" if target is F.max_pool2d else getattr(target, "__name__", "").rstrip("_")
    return ""


def _is_addition(node: fx.Node) -> bool:
    is_function = node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add)
    return (is_function and len(node.args) == 2 and not node.kwargs) or (
        node.op == "call_method" and node.target in ("add", "add_") and len(node.args) == 2 and not node.kwargs
    )


def _reads_shape(node: fx.Node) -> bool:
    is_attribute = (
        node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "device", "dtype")
    )
    return is_attribute or (node.op == "call_method" and node.target in ("size", "dim"))


def _num_inputs(layer: nn.Module) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else int(layer.in_channels)  # type: ignore[arg-type]


def _shared_parameters(model: nn.Module) -> set[int]:
    counts = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    return {key for key, count in counts.items() if count > 1}
