"""`hf:FOLDER`: image classifiers that transformers' save_pretrained wrote; skipped where transformers is missing."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from search_spaces.errors import ConfigError, UnavailableError
from search_spaces.models import model_spec
from trainables.data.view import View
from trainables.models.registry import open_network

NAMES = {0: "cat", 1: "dog", 2: "emu"}
SETTINGS = {
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "size": {"shortest_edge": 40},
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.2],
}


def saved(folder: Path, kind: str = "resnet") -> nn.Module:
    """Writes a small network with its settings, and returns it."""
    transformers = pytest.importorskip("transformers", reason="transformers (extra hf) is not installed")
    torch.manual_seed(0)
    if kind == "resnet":
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        config = transformers.ResNetConfig(**sizes, id2label=NAMES, label2id={n: i for i, n in NAMES.items()})
        model = transformers.ResNetForImageClassification(config)
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=3)
        model = transformers.ViTForImageClassification(config)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    module: nn.Module = model
    return module


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_folder_gives_the_same_answers_its_settings_and_its_names(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, kind)
    network = open_network(model_spec(f"hf:{tmp_path}"))
    assert network.view == View(32, 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert (network.interpolation, network.crop) == ("bicubic", 0.8)
    # LABEL_0 and the like are placeholders.
    assert network.class_names == (("cat", "dog", "emu") if kind == "resnet" else None)
    for count in (1, 3):
        images = torch.randn(count, 3, 32, 32)
        torch.testing.assert_close(network.module(images), model(pixel_values=images).logits.detach())


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", {"auto_map": {"AutoModel": "mine.Net"}}, r"needs Python code of its own .*not run"),
        ("preprocessor_config.json", {"rescale_factor": 1}, r"scales pixels otherwise than by 1/255"),
        ("config.json", {"num_channels": 1}, r"cannot be read as an image classifier"),
    ],
)
def test_a_folder_that_cannot_be_followed_gets_one_line(
    file: str, content: dict[str, Any], said: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    with pytest.raises(ConfigError, match=said) as caught:
        open_network(model_spec(f"hf:{tmp_path}"))
    assert "\n" not in str(caught.value)


def test_weights_that_lack_tensors_are_refused_where_transformers_only_warns(tmp_path: Path) -> None:
    saved(tmp_path)
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 2 tensors of ResNetForImageClassification, such as classifier"):
        open_network(model_spec(f"hf:{tmp_path}"))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnavailableError, match=r"has no model.safetensors"):
        open_network(model_spec(f"hf:{tmp_path}"))


def test_without_transformers_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    real = builtins.__import__

    def without_transformers(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_transformers)
    with pytest.raises(UnavailableError, match=r"needs transformers .*pip install 'dptq-sweep\[hf\]'"):
        open_network(model_spec(f"hf:{tmp_path}"))
