"""The code of a network with a call of the quantizer at every site."""

import operator
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from search_spaces.names import SitePlacement
from trainables.quant.sites import Site, layer_inputs, sites_of_graph, trace


def compile_quantized(
    model: nn.Module, placement: SitePlacement, *, training: bool
) -> tuple[list[Site], Callable[..., Any]]:
    """Traces a model in one mode.

    Args:
        model: Keeps its own mode.
        placement: Where its sites are.
        training: The mode, since a trace freezes every `if self.training`.

    Returns:
        Its sites, and its code: called as `code(model, quantize, images)` it runs `quantize(x, index)` at every site.

    Raises:
        ConfigError: The model cannot be traced, or has no site.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        graph = trace(model.train(training))
    finally:
        for module, mode in modes.items():
            module.training = mode
    # It warns once per model, not once per mode.
    sites = sites_of_graph(model, graph, placement, warns=not training)
    nodes = {node.name: node for node in graph.nodes}
    readers = layer_inputs(model, graph) if placement == "inputs" else {}
    with graph.inserting_before(next(iter(graph.nodes))):
        quantize = graph.placeholder("quantize")
    for site in sites:
        node = nodes[site.node]
        if placement == "outputs":
            with graph.inserting_after(node):
                quantized = graph.call_function(operator.call, (quantize, node, site.index))
            node.replace_all_uses_with(quantized, delete_user_cb=lambda user, new=quantized: user is not new)
            continue
        # What is no layer, such as a residual sum, goes on with the tensor as it is.
        layers = readers[node]
        with graph.inserting_before(layers[0]):
            quantized = graph.call_function(operator.call, (quantize, node, site.index))
        for layer in layers:
            layer.replace_input_with(layer.all_input_nodes[0], quantized)
    # A GraphModule would rename nothing but drop unused parameters, so only its code is kept; it reads
    # modules and parameters from the `self` that it is given.
    return sites, type(fx.GraphModule(model, graph)).forward
