"""Networks whose forward pass asks for the shape of its images: traced for images of one size, the answers built in.

`torch.fx` runs a forward pass on stand-ins, which have no shape. So code such as `if images.shape[1] != 3: raise` or
`(*x.shape[:-1], -1, heads)`, as in most networks of transformers, ends a trace. Here such questions are answered by a
run on two real images. Only shapes, dtypes and devices are answered: a branch on the values of a tensor still ends the
trace, since another image might take the other branch. (The HFTracer that transformers had did the same.)
"""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from trainables.quant.sites import LayerTracer, tracing

# B = images, C H W = image.

_SHAPE_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "is_cuda", "layout"}
_PLAIN = {name: getattr(nn.Module, name) for name in ("__call__", "__getattr__")}
_SHAPE_METHODS = {"size", "dim", "numel", "is_floating_point", "get_device"}


def with_fixed_shapes(model: nn.Module, image_size: tuple[int, int]) -> nn.Module:
    """Returns a network of the same modules whose forward pass has no control flow, for images of one size.

    Args:
        model: Maps images [B, 3, H, W] to logits; is traced in its present mode.
        image_size: Height and width in pixels.

    Raises:
        ConfigError: The forward pass depends on the values of tensors, or on more than `torch.fx` can follow.
    """
    images_BCHW = torch.zeros(2, 3, *image_size)
    with torch.no_grad(), tracing(model):
        graph = _ShapeTracer(images_BCHW).trace(model)
    fixed = fx.GraphModule(model, graph, class_name=type(model).__name__)
    fixed.train(model.training)
    return fixed


@contextmanager
def _untraced() -> Iterator[None]:
    """Runs modules as they are in the middle of a trace, which puts stand-ins in the place of these two."""
    traced = {name: getattr(nn.Module, name) for name in _PLAIN}
    try:
        for name, plain in _PLAIN.items():
            setattr(nn.Module, name, plain)
        yield
    finally:
        for name, wrapped in traced.items():
            setattr(nn.Module, name, wrapped)


class _Static(fx.Proxy):
    """A stand-in that answers what depends on shapes alone."""

    def __int__(self) -> int:
        return int(self._known())

    def __index__(self) -> int:
        return int(self._known())

    def __float__(self) -> float:
        return float(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> Any:
        assert isinstance(self.tracer, _ShapeTracer)
        return self.tracer.known(self.node)


class _ShapeTracer(LayerTracer):
    """Runs every node on the images as soon as somebody asks for a shape that depends on it."""

    def __init__(self, images_BCHW: torch.Tensor) -> None:
        super().__init__()
        self._images = images_BCHW
        self._values: dict[fx.Node, Any] = {}
        self._is_static: dict[fx.Node, bool] = {}

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Static(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.known(obj.node))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return iter([operator.getitem(obj, index) for index in range(len(self.known(obj.node)))])

    def known(self, node: fx.Node) -> Any:
        """Returns the value of a node that depends on shapes only."""
        # In the order of the graph and not by recursion, which deep networks would exhaust.
        for each in [each for each in self.graph.nodes if each not in self._values]:
            with _untraced():
                self._values[each] = self._run(each)
            self._is_static[each] = self._depends_on_shapes(each)
        if not self._is_static[node]:
            raise fx.proxy.TraceError(f"the forward pass depends on the value of the tensor {node}")
        return self._values[node]

    def _depends_on_shapes(self, node: fx.Node) -> bool:
        if node.op == "placeholder" or node.op == "get_attr":
            return False
        if node.op == "call_method" and node.target in _SHAPE_METHODS:
            return True
        if node.op == "call_function" and node.target is getattr and node.args[1] in _SHAPE_ATTRIBUTES:
            return True
        return node.op != "call_module" and all(self._is_static[each] for each in node.all_input_nodes)

    def _run(self, node: fx.Node) -> Any:
        args = fx.node.map_arg(node.args, self._values.__getitem__)
        options = fx.node.map_arg(node.kwargs, self._values.__getitem__)
        if node.op == "placeholder":
            return self._images
        if node.op == "get_attr":
            value: Any = self.root
            for name in str(node.target).split("."):
                value = getattr(value, name)
            return value
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **options)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **options)
        assert callable(node.target)
        return node.target(*args, **options)
