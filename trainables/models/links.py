"""Channel links: places where a channel can be scaled and its inverse folded into the weights behind it.

With per-tensor ranges the activation between is what a link decides on: one channel times 2^10 leaves a few levels for
all others. With a power of two the full-precision answers stay the same to the last bit, because a factor that only
moves exponents commutes with every product and every sum (short of overflow and subnormal numbers). Equalization
(`equalization.py`) is the same operation with factors that shrink ranges.

    kind        begins at                                   passes                       ends at
    relu        a layer, or the batch norm behind it        ReLU, leaky ReLU, pooling    layers
    linear      the same                                    nothing that bends           layers
    residual    several of them, which are added            the same                     layers
    norm        the gain of a layer norm                    the same                     layers
    attention   v, or q                                     the attention itself         the projection, or k
"""

from dataclasses import dataclass
from typing import Literal

import torch
from timm.layers import Attention
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.names import SitePlacement
from trainables.models.channel_graph import Space, norm_axis, open_spaces
from trainables.quant.sites import sites_of_graph, trace

Kind = Literal["relu", "linear", "residual", "norm", "attention"]
_QKV_SITE: dict[SitePlacement, str] = {"outputs": "{}.qkv", "inputs": "{}.proj.input"}
"""Name of the site that holds the v of an attention."""


@dataclass(frozen=True, slots=True)
class ChannelPart:
    """What belongs to each channel of a link in one parameter: a row of its outputs, or a column of its inputs."""

    parameter: str
    """Qualified name."""
    is_input: bool = False
    """Whether channels are inputs of the parameter's layer, along axis 1."""
    first: int = 0
    """Position of channel 0 along the outputs."""
    groups: int = 1
    """Groups of a convolution: an input channel has weights for the outputs of its own group only."""

    def of(self, model: nn.Module, channel: int) -> Tensor:
        """Returns a view of one channel's part."""
        tensor = model.get_parameter(self.parameter)
        if not self.is_input:
            return tensor[self.first + channel]
        group, column = divmod(channel, tensor.shape[1])
        return tensor.unflatten(0, (self.groups, -1))[group, :, column]

    @torch.no_grad()
    def maxima(self, model: nn.Module, num_channels: int) -> Tensor:
        """Returns the largest magnitude of every channel's part, float64 [C]."""
        tensor = model.get_parameter(self.parameter).abs()
        if self.is_input:
            grouped = tensor.unflatten(0, (self.groups, -1)).transpose(1, 2)
            return grouped.flatten(0, 1).flatten(1).amax(1).double()
        return tensor[self.first : self.first + num_channels].reshape(num_channels, -1).amax(1).double()

    @torch.no_grad()
    def multiply(self, model: nn.Module, factor_C: Tensor) -> None:
        """Multiplies every channel's part by a factor of its own, in place."""
        tensor = model.get_parameter(self.parameter)
        factor_C = factor_C.to(tensor)
        if self.is_input:
            grouped = tensor.unflatten(0, (self.groups, -1))
            # [groups, outputs, inputs of a group, ...]
            shape = (self.groups, 1, -1, *[1] * (grouped.dim() - 3))
            grouped.mul_(factor_C.reshape(shape))
        else:
            rows = tensor[self.first : self.first + len(factor_C)]
            rows.mul_(factor_C.reshape(-1, *[1] * (rows.dim() - 1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Channels that can be scaled without a change of the network's function."""

    kind: Kind
    begins: tuple[str, ...]
    """Qualified names of the layers or norms that are multiplied; of attention, the layer and `q` or `v`."""
    ends: tuple[str, ...]
    """Qualified names of the layers that are divided."""
    num_channels: int
    multiplied: tuple[ChannelPart, ...]
    divided: tuple[ChannelPart, ...]
    sites: tuple[int, ...]
    """Sites whose activations hold the channels, ascending; none where the network does not quantize there."""
    first: int = 0
    """Position of channel 0 in those activations."""

    @property
    def name(self) -> str:
        """Where the link begins and ends, for people.

        Examples:
            >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> [link.name for link in find_links(network.eval())]
            ['0 -> 2']
        """
        return f"{_first_of(self.begins)} -> {_first_of(self.ends)}"


def _first_of(names: tuple[str, ...]) -> str:
    """Names the first, and how many there are beside it: a residual stream has dozens."""
    return names[0] if len(names) == 1 else f"{names[0]} (+{len(names) - 1})"


def find_links(model: nn.Module, placement: SitePlacement = "outputs") -> list[Link]:
    """Lists the channel links of a network in the order of execution, those of attention last.

    Args:
        model: An image classifier in evaluation mode; it stays as it is.
        placement: Where the sites are that links name.

    Raises:
        ConfigError: The network cannot be traced, or has no site.
    """
    graph = trace(model)
    sites = sites_of_graph(model, graph, placement, warns=False)
    site_of, site_named = ({getattr(site, by): site.index for site in sites} for by in ("node", "name"))
    links = [_link_of(model, space, site_of) for space in open_spaces(model, graph)]
    for name, module in model.named_modules():
        at = _QKV_SITE[placement].format(name)
        if type(module) is Attention and at in site_named:
            links += _attention_links(name, module, site_named[at], placement)
    return links


@torch.no_grad()
def rescale(model: nn.Module, link: Link, channel: int, factor: float) -> None:
    """Multiplies a channel of a link and divides what reads it, in place.

    With a factor that is a power of two the full-precision logits stay the same to the last bit; with another factor
    they differ by rounding.

    Args:
        model: The network in which the link was found, or a copy of it.
        link: One of `find_links`.
        channel: From 0 to `link.num_channels` - 1.
        factor: Positive and finite.

    Raises:
        ConfigError: The channel or the factor is out of range.
    """
    if not 0 <= channel < link.num_channels:
        raise ConfigError(f"channel {channel} is not in link {link.name}: it has 0 to {link.num_channels - 1}.")
    if not 0 < factor < float("inf"):
        raise ConfigError(f"factor {factor} cannot be undone: choose a positive and finite one.")
    for part in link.multiplied:
        part.of(model, channel).mul_(factor)
    for part in link.divided:
        part.of(model, channel).div_(factor)


def _link_of(model: nn.Module, space: Space, site_of: dict[str, int]) -> Link:
    return Link(
        kind=_kind_of(model, space),
        begins=tuple(space.producers),
        ends=tuple(space.consumers),
        num_channels=space.num_channels,
        multiplied=tuple(part for name in space.producers for part in _outputs(model, name)),
        divided=tuple(
            ChannelPart(f"{name}.weight", is_input=True, groups=getattr(model.get_submodule(name), "groups", 1))
            for name in space.consumers
        ),
        sites=tuple(sorted(site_of[node] for node in space.nodes if node in site_of)),
    )


def _kind_of(model: nn.Module, space: Space) -> Kind:
    if space.has_addition:
        return "residual"
    producer = model.get_submodule(space.producers[0])
    if norm_axis(producer) is not None and not isinstance(producer, nn.modules.batchnorm._BatchNorm):
        return "norm"
    return "relu" if space.has_rectifier else "linear"


def _outputs(model: nn.Module, name: str) -> list[ChannelPart]:
    """Returns weight and bias of a layer or norm by output channel."""
    own = dict(model.get_submodule(name).named_parameters(recurse=False))
    return [ChannelPart(f"{name}.{which}") for which in ("weight", "bias") if which in own]


def _attention_links(name: str, attention: Attention, site: int, placement: SitePlacement) -> list[Link]:
    """Returns v against the output projection and q against k, of timm's attention, where no norm is between."""
    width = attention.qkv.out_features // 3
    # No layer reads q or k; the projection reads v, weighted.
    at_outputs = placement == "outputs"

    def rows(position: int) -> tuple[ChannelPart, ...]:
        own = ("weight",) if attention.qkv.bias is None else ("weight", "bias")
        return tuple(ChannelPart(f"{name}.qkv.{which}", first=position * width) for which in own)

    links: list[Link] = []
    if isinstance(attention.q_norm, nn.Identity) and isinstance(attention.k_norm, nn.Identity):
        links.append(
            Link(
                kind="attention",
                begins=(f"{name}.qkv (q)",),
                ends=(f"{name}.qkv (k)",),
                num_channels=width,
                multiplied=rows(0),
                divided=rows(1),
                sites=(site,) if at_outputs else (),
            )
        )
    if isinstance(attention.norm, nn.Identity):
        links.append(
            Link(
                kind="attention",
                begins=(f"{name}.qkv (v)",),
                ends=(f"{name}.proj",),
                num_channels=width,
                multiplied=rows(2),
                divided=(ChannelPart(f"{name}.proj.weight", is_input=True),),
                sites=(site,),
                first=2 * width if at_outputs else 0,
            )
        )
    return links
