"""Finds the sites of a network: the activations that are quantized dynamically (paper section 3.2).

The paper does not say which tensor is "the activation of a layer". Here a site is the output of a Conv2d
or Linear, taken after the normalization and activation that directly follow it and before any residual
add; the classifier has none, since its output is the answer. That gives 20, 77 and 59 sites for
resnet18, mobilenetv4_conv_medium and regnetx_016, which is what the paper's budgets imply.

Runtimes quantize other activations: the inputs of every Conv2d and Linear, the classifier included (ONNX Runtime's
`quantize_dynamic`, torchao). With sites at `inputs` the image is one, and so are residual sums where a layer reads
them. A tensor that several layers read is one site; whatever else reads it gets it at full precision.

A layer that reads nothing of the image, such as those of the small networks that compute a bias of positions, has no
site: what it returns belongs to no example.

The order of execution and "directly follow" come from a `torch.fx` trace. A module that contains no
Conv2d and no Linear is never traced into: it cannot hold a site, and as a call of the module it keeps
its own control flow (BatchNorm, dropout and stochastic depth in training and evaluation).
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from timm.layers import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn

from search_spaces.errors import ConfigError
from search_spaces.names import SitePlacement

logger = logging.getLogger(__name__)
LAYER_KINDS = (nn.Conv2d, nn.Linear)
_NORMALIZATION_AND_ACTIVATION_HOMES = (
    "torch.nn.modules.activation",
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.instancenorm",
    "torch.nn.modules.normalization",
    "timm.layers.activations",
    "timm.layers.activations_me",
    "timm.layers.evo_norm",
    "timm.layers.filter_response_norm",
    "timm.layers.grn",
    "timm.layers.norm",
    "timm.layers.norm_act",
)
_NORMALIZATION_AND_ACTIVATION_NAMES = (
    *("batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize"),
    *("rms_norm", "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"),
    *("log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu"),
    *("softmax", "softplus", "softsign", "swish", "tanh"),
)
# Each pair: modules in which such classes are defined (a class counts if it or an ancestor comes from
# there), and names of such functions and tensor methods, without the final `_` of in-place ones.
_FOLLOWERS = (_NORMALIZATION_AND_ACTIVATION_HOMES, _NORMALIZATION_AND_ACTIVATION_NAMES)
_TRANSPARENT = (
    ("torch.nn.modules.dropout", "timm.layers.drop"),
    ("alpha_dropout", "contiguous", "drop_path", "dropout", "dropout2d"),
)
_TAIL = (
    ("torch.nn.modules.flatten", "torch.nn.modules.pooling"),
    ("adaptive_avg_pool2d", "avg_pool2d", "flatten", "max_pool2d", "mean", "reshape", "squeeze", "view"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """One dynamically quantized activation."""

    index: int
    """Position in the order of execution, from 0; reports print it from 1."""

    name: str
    """Qualified name of the Conv2d or Linear, with `#2` and so on from its second call, and then `.input` if it is what
    that layer is the first to read."""

    node: str
    """Name of the traced node whose output is quantized: the last normalization or activation behind the layer, or what
    is read."""

    channel_axis: int = field(default=-1, repr=False)
    """Axis of the channels, from the end: -3 of a Conv2d, -1 of a Linear."""

    readers: tuple[str, ...] = field(default=(), repr=False)
    """Qualified names of the layers that read the quantized activation, of a site at inputs."""


def find_sites(model: nn.Module, placement: SitePlacement = "outputs") -> list[Site]:
    """Lists the sites of a model in the order of execution.

    Args:
        model: A timm, torchvision or plain torch image classifier. It is traced in its present mode
            (training or evaluation) and stays unchanged.
        placement: Whether sites are the outputs of layers, as the paper's, or their inputs, as in runtimes.

    Returns:
        At least one site, indices 0, 1, 2, ...

    Raises:
        ConfigError: The model cannot be traced, or has no Conv2d or Linear besides its classifier.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 10))
        >>> find_sites(model)
        [Site(index=0, name='0', node='_1')]
    """
    return sites_of_graph(model, trace(model), placement)


def trace(model: nn.Module) -> fx.Graph:
    """Traces a model down to its Conv2d and Linear layers, in its present mode.

    Constants that the forward pass makes of plain tensors become non-persistent buffers of the model, so
    that they move with it; its state dict does not change.

    Raises:
        ConfigError: The forward pass depends on values in a way that `torch.fx` cannot follow.
    """
    # Optional inputs (attention masks and the like) stay at their defaults.
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    with tracing(model):
        return LayerTracer().trace(model, concrete_args=defaults)


@contextmanager
def tracing(model: nn.Module) -> Iterator[None]:
    """Turns what fails in a trace into one line, and what the trace leaves on the model into buffers."""
    known = set(vars(model))
    try:
        yield
    except Exception as error:
        # Tracing runs the model's own code on stand-ins for tensors, so any type of error can come out.
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"model {type(model).__name__} cannot be traced, so its sites are unknown: "
            f"{type(error).__name__}: {reason}. Choose a model whose forward pass does not branch on the "
            "values of tensors."
        ) from error
    for name in set(vars(model)) - known:
        if isinstance(getattr(model, name), Tensor):
            model.register_buffer(name, vars(model).pop(name), persistent=False)


def sites_of_graph(
    model: nn.Module, graph: fx.Graph, placement: SitePlacement = "outputs", *, warns: bool = True
) -> list[Site]:
    """Lists the sites of a model in a graph that `trace` made of it; warns about other layers without one."""
    classifier = _classifier_modules(model, graph)
    names = _call_names(model, graph)
    behind = [node for node in names if _module_of(model, node) not in classifier]
    sites = [
        Site(
            index=index,
            name=names[node],
            node=_last_follower(model, node).name,
            channel_axis=_channel_axis(model, node),
        )
        for index, node in enumerate(behind)
    ]
    if sites and placement == "inputs":
        sites = [
            Site(
                index=index,
                name=f"{names[readers[0]]}.input",
                node=node.name,
                channel_axis=_channel_axis(model, readers[0]),
                readers=tuple(dict.fromkeys(str(reader.target) for reader in readers)),
            )
            for index, (node, readers) in enumerate(layer_inputs(model, graph).items())
        ]
    if not sites:
        raise ConfigError(
            f"model {type(model).__name__} has no site to quantize: it needs at least one Conv2d or Linear "
            "besides its classifier, reachable by tracing (layers inside torch's own attention "
            "modules are not)."
        )
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    unreached = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LAYER_KINDS) and module not in classifier and name not in called
    ]
    if warns and unreached:
        logger.warning(
            "%d layers of %s have no site: they are unused or inside a module that cannot be traced: %s%s",
            len(unreached),
            type(model).__name__,
            ", ".join(unreached[:5]),
            ", ..." if len(unreached) > 5 else "",
        )
    return sites


def layer_inputs(model: nn.Module, graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Returns what Conv2d and Linear layers read, in the order of its first reader, with its readers in theirs."""
    readers: dict[fx.Node, list[fx.Node]] = {}
    for layer in _call_names(model, graph):
        node = layer.all_input_nodes[0]
        while isinstance(_module_of(model, node), nn.Identity):
            (node,) = node.all_input_nodes
        readers.setdefault(node, []).append(layer)
    return readers


def _call_names(model: nn.Module, graph: fx.Graph) -> dict[fx.Node, str]:
    """Names every call of a Conv2d or Linear on examples, in the order of execution."""
    calls: dict[str, int] = {}
    names: dict[fx.Node, str] = {}
    of_examples: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "placeholder" and of_examples.isdisjoint(node.all_input_nodes):
            continue
        of_examples.add(node)
        if isinstance(_module_of(model, node), LAYER_KINDS):
            target = str(node.target)
            calls[target] = calls.get(target, 0) + 1
            names[node] = target if calls[target] == 1 else f"{target}#{calls[target]}"
    return names


def _channel_axis(model: nn.Module, layer: fx.Node) -> int:
    return -3 if isinstance(_module_of(model, layer), nn.Conv2d) else -1


class LayerTracer(fx.Tracer):
    """Stops at layers, at modules without layers, and where timm says that tracing fails."""

    # Buffers are read in the forward pass, so that they follow the model to another device.
    proxy_buffer_attributes = True

    def __init__(self) -> None:
        functions = tuple(function for function in get_notrace_functions() if callable(function))
        super().__init__(autowrap_functions=functions)
        self._opaque = tuple(get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tells whether a module is called as it is."""
        has_layers = any(isinstance(module, LAYER_KINDS) for module in m.modules())
        is_leaf = isinstance(m, (*LAYER_KINDS, *self._opaque)) or not has_layers
        return is_leaf or super().is_leaf_module(m, module_qualified_name)


def _module_of(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _classifier_modules(model: nn.Module, graph: fx.Graph) -> set[nn.Module]:
    """Returns the layers that produce the logits; none for a timm model made with `num_classes=0`."""
    get_classifier: Callable[[], Any] | None = getattr(model, "get_classifier", None)
    if get_classifier is not None:
        heads = get_classifier()
        # Distilled transformers have two heads.
        heads = heads if isinstance(heads, (tuple, list)) else (heads,)
        modules = [module for head in heads if isinstance(head, nn.Module) for module in head.modules()]
        return {module for module in modules if isinstance(module, LAYER_KINDS)}
    (node,) = graph.find_nodes(op="output")
    # From the output towards the input, while each node is computed from one other.
    while len(node.all_input_nodes) == 1:
        (node,) = node.all_input_nodes
        layer = _module_of(model, node)
        if isinstance(layer, LAYER_KINDS):
            return {layer}
        if not any(_is_any_of(model, node, *kind) for kind in (_FOLLOWERS, _TRANSPARENT, _TAIL)):
            break
    return set()


def _last_follower(model: nn.Module, layer: fx.Node) -> fx.Node:
    """Walks from a layer over what directly follows it; stops where a tensor is used twice or otherwise."""
    node = last = layer
    while len(node.users) == 1:
        (node,) = node.users
        if _is_any_of(model, node, *_FOLLOWERS):
            last = node
        elif not _is_any_of(model, node, *_TRANSPARENT):
            break
    return last


def _is_any_of(model: nn.Module, node: fx.Node, homes: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Tells whether a node calls a module defined in one of `homes` or a function of one of `names`."""
    module = _module_of(model, node)
    if module is not None:
        # torch defines MultiheadAttention beside its activations, and Identity beside Linear.
        if isinstance(module, nn.Identity):
            return homes is _TRANSPARENT[0]
        has_layers = any(isinstance(inner, LAYER_KINDS) for inner in module.modules())
        return not has_layers and any(kind.__module__ in homes for kind in type(module).__mro__)
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.rstrip("_") in names
