"""ResNet18 with a stem for images of 32 pixels: built, trained in bfloat16, kept in parts of a size that travels."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.gpu.jobs import Context, NotHereError
from tests.gpu.record import write_atomically
from trainables.checkpoints import from_bytes, strip_prefix, to_bytes
from trainables.models.backbones import create_backbone
from trainables.stages.classifier import MODEL

PART_BYTES = 15 * 2**20
"""A machine may hand back no file above 16 MiB."""
PARTS = "white-box"


def cifar_resnet18(num_classes: int) -> nn.Module:
    """Builds timm's ResNet18 with a stride of 1 and no pooling in its stem, as usual for CIFAR; it keeps 20 sites."""
    model = create_backbone("resnet18", num_classes)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def train_in_bfloat16(model: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network to a device; on a GPU its forward pass is autocast and channels last."""
    if device.type != "cuda":
        return model.to(device)
    model = model.to(device, memory_format=torch.channels_last)
    plain = model.forward

    def forward(images_BCHW: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits_BK: Tensor = plain(images_BCHW.contiguous(memory_format=torch.channels_last))
        return logits_BK

    model.forward = forward
    return model


def publish_white_box(checkpoint: Mapping[str, Tensor], work: Path) -> None:
    """Writes a checkpoint in parts, the large tensors in float16: every reader gets the same network."""
    content = to_bytes(
        {name: tensor.half() if tensor.dim() > 1 else tensor.float() for name, tensor in checkpoint.items()}
    )
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        write_atomically(work / "publish" / f"{PARTS}.{number}", content[start : start + PART_BYTES])


def load_white_box(context: Context, num_classes: int) -> nn.Module:
    """Returns the white box on the CPU, frozen, from this machine's parts or from those that travelled along.

    Raises:
        NotHereError: There is none.
    """
    for folder in (context.work / "publish", context.brought / "previous", context.folder):
        parts = sorted(folder.glob(f"{PARTS}.*"))
        if parts:
            break
    else:
        raise NotHereError(f"there is no white box: its files {PARTS}.* of an earlier call did not travel along")
    tensors = strip_prefix(MODEL, from_bytes(b"".join(part.read_bytes() for part in parts), source=str(parts[0])))
    model = cifar_resnet18(num_classes)
    kinds = model.state_dict()
    model.load_state_dict({name: tensor.to(kinds[name].dtype) for name, tensor in tensors.items()})
    return model.eval().requires_grad_(False)
