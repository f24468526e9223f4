"""A network, or a pair, as ONNX files: with its bit-widths as an input, or with ONNX Runtime's integer kernels.

Every graph is run once beside the module that it was made of, and refused where their answers differ.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from trainables.assessment.subject import Network
from trainables.models.policy import profits_of
from trainables.quant.student import QuantizedStudent
from trainables.runtimes.onnx_bits import IMAGES, bits_model, with_input
from trainables.runtimes.onnx_export import exported_places, exported_plain
from trainables.runtimes.onnx_int8 import int8_model
from trainables.runtimes.onnx_quantizer import BIT_WIDTHS, plain_model
from trainables.runtimes.onnx_write import write_onnx
from trainables.runtimes.onnxruntime import open_session

# B = images, K = classes, L = sites, O = bit-width options.

PROFITS = "profits"
"""Output of a policy's file, [B, L, O]."""
TOLERANCE = 1e-3
"""Largest difference of a graph's answers, as a share of the largest: another order of sums, no more."""
CHECKED_IMAGES = 3
"""Another number than the exporter saw: a number that it built in would show."""
VERSIONED = ("torch", "timm", "onnx", "onnxscript", "onnxruntime")


class _Profits(nn.Module):
    """A policy with what the knapsack maximizes as its output."""

    def __init__(self, policy: nn.Module, profits: str) -> None:
        super().__init__()
        self.policy, self.profits = policy, profits

    def forward(self, images: Tensor) -> Tensor:
        """Returns profits_BLO."""
        return profits_of(self.policy(images), self.profits)


def bits_file(network: Network, size: tuple[int, int]) -> onnx.ModelProto:
    """Returns a network as a model of images and bit-widths.

    Args:
        network: In evaluation mode, with one range per image that reaches from the smallest to the largest value.
        size: Height and width of the images, in pixels; a file that is given keeps its own.

    Raises:
        ConfigError: It cannot be exported, its ranges are others, or the exported graph answers otherwise.
    """
    if isinstance(network, QuantizedStudent):
        _check_ranges(network)
        places = exported_places(network, size)
    else:
        places = network.places
    model = bits_model(places, weight_bit_width=network.weight_bit_width)
    images = _noise(size, None if isinstance(network, QuantizedStudent) else network.file.batch_size)
    bits = torch.zeros(len(images), network.num_sites, dtype=torch.int32)
    _check(model, {IMAGES: images, BIT_WIDTHS: bits}, network(images))
    return model


def plain_file(network: Network, size: tuple[int, int]) -> onnx.ModelProto:
    """Returns a network at full precision, as `torch.onnx.export` writes it, or as the given file holds it.

    Raises:
        ConfigError: It cannot be exported, or the exported graph answers otherwise.
    """
    if not isinstance(network, QuantizedStudent):
        return with_input(plain_model(network.file), network.file.images, IMAGES)
    model = exported_plain(network.model, size)
    images = _noise(size)
    _check(model, {IMAGES: images}, network(images))
    return model


def integer_file(network: Network, size: tuple[int, int], exclude: Sequence[str] = ()) -> onnx.ModelProto:
    """Returns a network with ONNX Runtime's integer kernels at 8 bits; ranges are over all images of a run.

    Args:
        network: In evaluation mode.
        size: Height and width of the images, in pixels.
        exclude: Nodes that stay at full precision, by their names in the runtime.

    Raises:
        ConfigError: It cannot be exported or quantized, or there is no such node.
    """
    return int8_model(plain_file(network, size), exclude)


def policy_file(policy: nn.Module, profits: str, size: tuple[int, int]) -> onnx.ModelProto:
    """Returns a policy as a model from images to profits [B, L, O], of which the knapsack selects.

    Raises:
        ConfigError: It cannot be exported, or the exported graph answers otherwise.
    """
    module = _Profits(policy, profits).eval()
    model = exported_plain(module, size, outputs=PROFITS)
    images = _noise(size)
    _check(model, {IMAGES: images}, module(images))
    return model


def policy_path(path: Path) -> Path:
    """Returns where the policy of an exported pair lies.

    Examples:
        >>> policy_path(Path("out/pair.onnx")).as_posix()
        'out/pair.onnx.policy.onnx'
    """
    return path.with_name(f"{path.name}.policy.onnx")


def save(model: onnx.ModelProto, path: Path, facts: dict[str, object]) -> None:
    """Writes a model with what is known of it.

    Raises:
        ConfigError: The model breaks ONNX's rules, or is too large for one file.
        UnwritableError: The file cannot be written.
    """
    versions = {name: version(name) for name in VERSIONED} | {"dptq-sweep": version("dptq-sweep")}
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    write_onnx(model, path, facts | {"opset": opset, "versions": versions})


def _check_ranges(student: QuantizedStudent) -> None:
    if student.scale_quantile < 1 or student.range_scope != "example":
        raise ConfigError(
            f"ranges that end at the quantile {student.scale_quantile:g} with scope {student.range_scope!r} have no "
            "ONNX operator: only ranges from the smallest to the largest value of an image can be exported."
        )


def _noise(size: tuple[int, int], num_images: int | None = None) -> Tensor:
    return torch.randn(num_images or CHECKED_IMAGES, 3, *size, generator=torch.Generator().manual_seed(0))


def _check(model: onnx.ModelProto, feeds: dict[str, Tensor], expected: Tensor) -> None:
    session = open_session(model, name="the exported graph")
    (made,) = session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
    expected = expected.detach().cpu()
    difference = (torch.from_numpy(made) - expected).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ConfigError(
            f"the exported graph answers noise otherwise than the network, by up to {difference:.3g}: torch's exporter "
            "does not carry some of its operators over, so no file is written."
        )
