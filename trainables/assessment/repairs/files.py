"""Cures as configuration of other tools, with the names of the user's own network.

Our sites are activations, and the other tools quantize the *inputs* of layers. To spare a site there, the layers that
read it are left out: those between which and the site lies no other layer, and at most one addition. (Behind a second
one a residual stream has the sum of many sites.) Left out, a layer has its weights at full precision as well.

What the tools cannot express, such as ranges per channel, has a file of ours only.
"""

import json
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from search_spaces.files.yaml_files import dump_yaml
from trainables.assessment.repairs.cures import Cure
from trainables.quant.readers import layers_behind
from trainables.quant.sites import LAYER_KINDS, Site, trace

_ADDITIONS = ("add", "iadd", "add_")


def our_yaml(cure: Cure, sites: Sequence[Site]) -> str:
    """Returns a cure in our own words: the quantizer's settings, and sites by name."""
    content: dict[str, Any] = {"cure": cure.kind}
    if cure.sites:
        content["bit_width"] = cure.bit_width or "full precision"
        content["sites"] = [sites[site].name for site in cure.sites]
    if cure.kind == "quantile_ranges":
        content["scale_quantile"] = cure.scale_quantile
    if cure.kind == "channel_ranges":
        content["range_scope"] = "channel"
    return dump_yaml(content | {"accuracies": dict(cure.accuracies)})


def readers(model: nn.Module, sites: Sequence[Site]) -> list[str]:
    """Lists the layers that read any of some sites, by qualified name, in the order of execution.

    Args:
        model: A network in evaluation mode.
        sites: Some of its sites.
    """
    graph = trace(model)
    nodes = {node.name: node for node in graph.nodes}
    found = layers_behind(
        (nodes[site.node] for site in sites if not site.readers),
        lambda node: node.users,
        is_layer=lambda node: _is_layer(model, node),
        is_addition=_is_addition,
    )
    names = {str(node.target) for node in found} | {layer for site in sites for layer in site.readers}
    return [str(node.target) for node in graph.nodes if node.op == "call_module" and str(node.target) in names]


def onnxruntime_exclusions(model: nn.Module, sites: Sequence[Site]) -> str:
    """Returns `nodes_to_exclude` of `onnxruntime.quantization.quantize_dynamic` as a JSON list.

    The names are those that `torch.onnx.export(..., dynamo=False)` gives: `layer1.0.conv1` becomes
    `/layer1/layer1.0/conv1/Conv`. A Linear is a MatMul or a Gemm, so both are listed; names that are not there do no
    harm. Other exporters number their nodes: look there for the nodes with the weights `layer1.0.conv1.weight`.
    """
    return as_json([name for layer in readers(model, sites) for name in _onnx_names(model, layer)])


def torchao_exclusions(model: nn.Module, sites: Sequence[Site]) -> str:
    """Returns the qualified names of modules to skip, as a JSON list.

    For `torchao.quantization.quantize_(model, config, filter_fn=lambda module, fqn: isinstance(module, nn.Linear) and
    fqn not in names)`.
    """
    return as_json(readers(model, sites))


def modelopt_rules(model: nn.Module, sites: Sequence[Site]) -> str:
    """Returns entries to append to ModelOpt's `quant_cfg`, as a JSON list: input quantizers that are switched off.

    Later entries win there, so they come last: `config["quant_cfg"] += json.load(file)`.
    """
    return as_json([{"quantizer_name": f"{layer}.input_quantizer", "enable": False} for layer in readers(model, sites)])


def _is_layer(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), LAYER_KINDS)


def _is_addition(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in _ADDITIONS


def _onnx_names(model: nn.Module, layer: str) -> list[str]:
    """Returns the names of a layer's node: the qualified name of every module around it, and the operation."""
    parts = layer.split(".")
    scope, name = [], ""
    # A child of a Sequential or a ModuleList is named with its parent, as `layer1.0`.
    for position, part in enumerate(parts):
        parent = model.get_submodule(".".join(parts[:position]))
        is_numbered = isinstance(parent, (nn.Sequential, nn.ModuleList)) and position > 0
        name = f"{name}.{part}" if is_numbered else part
        scope.append(name)
    operations = ["Conv"] if isinstance(model.get_submodule(layer), nn.Conv2d) else ["MatMul", "Gemm"]
    return [f"/{'/'.join(scope)}/{operation}" for operation in operations]


def as_json(content: list[Any]) -> str:
    """Returns a list as the text of a JSON file."""
    return json.dumps(content, indent=2) + "\n"
