"""A network that answers as it should, and whose depthwise weights no single scale can hold."""

import copy

from torch import nn

from tests.trainables.deployment.digit_networks import depthwise_network
from trainables.models.links import find_links, rescale


def rescaled_depthwise() -> nn.Module:
    """Returns the digits' depthwise network with a channel whose depthwise weights are 256 times what they were."""
    network = copy.deepcopy(depthwise_network())
    ends = {name for name, each in network.named_modules() if isinstance(each, nn.Conv2d) and each.groups > 1}
    rescale(network, next(link for link in find_links(network) if set(link.ends) <= ends), 0, 2.0**-8)
    return network.requires_grad_(requires_grad=False)
