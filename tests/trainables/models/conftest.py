"""Files of weights as people have them, of small real networks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from search_spaces.models import model_spec
from trainables.models.given import GivenNetwork
from trainables.models.registry import open_network


@pytest.fixture(scope="session")
def resnet() -> nn.Module:
    """A test_resnet of 10 classes with random weights and statistics."""
    torch.manual_seed(5)
    model = timm.create_model("test_resnet", num_classes=10)
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64))
    return model.eval()


@pytest.fixture(scope="session")
def resnet_file(resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(resnet.state_dict(), path)
    return path


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], GivenNetwork]:
    """Opens a URI that was typed here, in a folder of its own, at 64 pixels."""
    monkeypatch.chdir(tmp_path)
    return lambda uri: open_network(model_spec(uri), image_size=(64, 64), is_typed=True)
