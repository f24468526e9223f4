"""Writes a torch network as an ONNX graph, with any number of images per run, by torch's own exporter.

There are two graphs of a network. `exported_plain` is what `torch.onnx.export` makes of it with its own settings, batch
norms folded into the weights: what people quantize. In `exported_places` weights stay what they are in the module, so
that they can be quantized as in training, and every site is marked on the way through the exporter: sites are ours, in
our order, whatever the exporter makes of the nodes around them.
"""

import onnx
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, one_line
from trainables.quant.sites import LAYER_KINDS
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_bits import IMAGES, LOGITS, MARK_DOMAIN, OPSET, Places
from trainables.runtimes.onnx_int8 import SCOPES
from trainables.runtimes.quiet import quietly

MARK = (MARK_DOMAIN, "Site")
"""Domain and name of the operator that marks a site while a network is exported."""
MOST_IMAGES = 2**16
"""Upper bound of the images per run that the exporter is told; the file knows none."""


class _Marked(nn.Module):
    """A student whose sites are marked, at full precision."""

    def __init__(self, student: QuantizedStudent) -> None:
        super().__init__()
        self.model = student.model
        self._run = student.run_marked

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits."""
        return self._run(images, _mark)


def _mark(x: Tensor, index: int) -> Tensor:
    marked: Tensor = torch.onnx.ops.symbolic(
        "::".join(MARK), [x], {"index": index}, dtype=x.dtype, shape=x.shape, version=1
    )
    return marked


def exported_places(student: QuantizedStudent, size: tuple[int, int]) -> Places:
    """Exports a student at full precision with its sites and its weights known.

    Args:
        student: In evaluation mode.
        size: Height and width of the images, in pixels.

    Raises:
        ConfigError: torch cannot export it.
    """
    marked = _Marked(student).eval()
    model = _exported(marked, size, what=type(student.model).__name__, outputs=LOGITS, optimize=False)
    tensors: dict[int, str] = {}
    names: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        if (node.domain, node.op_type) == MARK:
            (index,) = (each.i for each in node.attribute if each.name == "index")
            tensors[index] = names[node.output[0]] = names.get(node.input[0], node.input[0])
            continue
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert sorted(tensors) == list(range(student.num_sites)), "the exporter lost the mark of a site"
    _check_weights(student, marked, {each.name for each in model.graph.initializer})
    layers = {name for name, module in marked.named_modules() if isinstance(module, LAYER_KINDS)}
    return Places(
        model=model,
        tensors=tuple(tensors[index] for index in range(student.num_sites)),
        weights=frozenset(f"{name}.weight" for name in layers),
    )


def _check_weights(student: QuantizedStudent, marked: nn.Module, initializers: set[str]) -> None:
    """Makes sure that the weight of every site's layer is in the graph as it is, under any name that it has."""
    names: dict[int, set[str]] = {}
    for name, parameter in marked.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    for site in student.sites:
        layer = site.name.partition("#")[0]
        if not names[id(marked.get_parameter(f"model.{layer}.weight"))] & initializers:
            raise ConfigError(
                f"torch's exporter changed the weight of {layer}, which could not be quantized as in the simulation: "
                "choose a network whose weights are parameters of their own."
            )


def exported_plain(network: nn.Module, size: tuple[int, int], *, outputs: str = LOGITS) -> onnx.ModelProto:
    """Exports a module as `torch.onnx.export` does with its own settings.

    Args:
        network: In evaluation mode; maps images to one tensor.
        size: Height and width of the images, in pixels.
        outputs: Name of the output.

    Raises:
        ConfigError: torch cannot export it.
    """
    return _exported(network, size, what=type(network).__name__, outputs=outputs, optimize=True)


def _exported(network: nn.Module, size: tuple[int, int], *, what: str, outputs: str, optimize: bool) -> onnx.ModelProto:
    # Two images: of a single one the exporter would build the number in.
    images = torch.zeros(2, 3, *size)
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    try:
        with torch.no_grad(), quietly("torch.onnx"):
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                optimize=optimize,
                opset_version=OPSET,
                dynamic_shapes=({0: batch},),
                input_names=[IMAGES],
                output_names=[outputs],
                verbose=False,
            )
            assert program is not None
            model: onnx.ModelProto = program.model_proto
    # Of every kind: it traces the network's own code.
    except Exception as error:
        raise ConfigError(
            f"torch cannot write {what} as ONNX ({type(error).__name__}: {one_line(error)[:200]}): choose a network "
            "that torch.onnx.export(dynamo=True) takes with any number of images."
        ) from error
    for node in model.graph.node:
        # The rest holds paths of this machine.
        kept = [each for each in node.metadata_props if each.key == SCOPES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.doc_string = ""
    del model.graph.metadata_props[:]
    return model
