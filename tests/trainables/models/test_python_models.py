"""`python:MODULE:FUNCTION`: the user's own code, where the user typed it, and networks that cannot be used."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from search_spaces.errors import ConfigError
from search_spaces.models import model_spec
from trainables.data.view import View
from trainables.models.given import GivenNetwork
from trainables.models.registry import open_network

Opener = Callable[[str], GivenNetwork]
BODY = "nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)"


def write(name: str, content: str) -> str:
    """Writes a module of the user's into the working directory, and returns the URI of its function `make`."""
    Path(f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{content}\n")
    return f"python:{name}:make"


def wrapped(forward: str) -> str:
    return f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential({BODY})

    def forward(self, x):
        {forward}

def make():
    return Net()
"""


def test_the_function_gives_the_network_its_settings_and_its_names(opened: Opener) -> None:
    uri = write(
        "with_settings",
        f"""
def make():
    net = nn.Sequential({BODY}).half()
    net.pretrained_cfg = {{"input_size": (3, 64, 64), "mean": (0, 0, 0), "std": (1, 1, 1), "crop_pct": 0.9}}
    net.class_names = ["cat", "dog", "emu", "fox"]
    return net
""",
    )
    network = opened(uri)
    assert (network.architecture, network.num_classes) == ("Sequential", 4)
    assert network.class_names == ("cat", "dog", "emu", "fox")
    assert (network.view, network.crop) == (View(64, 64, (0, 0, 0), (1, 1, 1)), 0.9)
    assert all(tensor.dtype == torch.float32 for tensor in network.module.state_dict().values())
    assert opened(uri).sha256 == network.sha256


def test_code_that_the_user_did_not_type_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = write("never_typed", "open('was_run', 'w').close()")
    with pytest.raises(ConfigError, match=r"runs only for those who name it themselves.* python:never_typed:make"):
        open_network(model_spec(uri))
    assert not Path("was_run").exists()


def test_a_branch_on_the_shape_of_the_images_is_followed_for_any_number_of_them(opened: Opener) -> None:
    uri = write(
        "asks_shapes",
        wrapped(
            "batch, channels, height, width = x.shape\n"
            "        if channels != 3 or height < int(width) // 2: raise ValueError('other images')\n"
            "        return self.body(x.reshape(*x.shape[:-1], width)).view(batch, -1)"
        ),
    )
    network = opened(uri)
    for count in (1, 5):
        images = torch.randn(count, 3, 64, 64)
        assert network.module(images).shape == (count, 4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gives_dict", wrapped("return {'logits': self.body(x)}"), r"a dict \(logits\) in place of logits"),
        ("gives_tuple", wrapped("return self.body(x), x"), r"a tuple in place of logits"),
        ("gives_map", wrapped("return x"), r"a tensor \[2, 3, 64, 64\] in place of logits"),
        ("branches", wrapped("return self.body(x) if x.sum() > 0 else self.body(-x)"), r"cannot be traced"),
        ("no_site", "def make(): return nn.Sequential(nn.Flatten(), nn.Linear(3*64*64, 2))", r"has no site"),
        ("fails", wrapped("return self.body(x[:, :, :0])"), r"cannot run on images of 3x64x64 \(\w+: .*--image-size"),
        ("builds_nan", wrapped("return self.body(x) / 0"), r"NaN or infinite logits"),
        ("raises", "def make(): raise KeyError('where')", r"failed: KeyError: 'where'"),
        ("lazy", "def make(): return nn.Sequential(nn.LazyConv2d(4, 3))", r"has layers without weights yet"),
        ("no_module", "def make(): return 3", r"returned a int: return a torch.nn.Module"),
        ("no_function", "", r"no_function.py has no function make"),
        ("no_import", "import not_there_at_all", r"cannot be imported \(ModuleNotFoundError"),
    ],
)
def test_a_network_that_cannot_be_used_gets_one_line(name: str, content: str, said: str, opened: Opener) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        opened(write(name, content))
    assert "\n" not in str(caught.value)
    assert f"python:{name}:make" in str(caught.value)
