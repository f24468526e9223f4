"""How images and convolution weights lie in memory."""

import torch
from torch import nn


def memory_format(device: torch.device) -> torch.memory_format:
    """Returns the faster layout for convolutions on a device.

    On a CPU channels last wins for every family tried: forward and backward, one thread, took 0.51 of the time for
    mobilenetv4_conv_medium, 0.72 for regnetx_016, 0.73 for test_resnet, 0.84 for resnet18, and made no difference to
    vision transformers. On an H200, too: 0.71 for a training step of resnet18 and of mobilenetv4_conv_medium.
    """
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network to a device, in that device's layout."""
    return module.to(device=device, memory_format=memory_format(device))  # type: ignore[call-overload]
