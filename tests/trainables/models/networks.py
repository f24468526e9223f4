"""Untrained networks whose norms are not at their initial values, so that every branch reaches the output."""

import timm
import torch
from torch import Tensor, nn


def create(architecture: str) -> nn.Module:
    """Returns a network with random weights, gains, shifts and statistics, in evaluation mode."""
    torch.manual_seed(0)
    size = {"img_size": 32, "patch_size": 8} if "vit" in architecture else {}
    model = timm.create_model(architecture, num_classes=7, **size).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
    return model


def noise(num_examples: int = 2) -> Tensor:
    """Returns images of 32 px."""
    return torch.randn(num_examples, 3, 32, 32, generator=torch.Generator().manual_seed(1))
