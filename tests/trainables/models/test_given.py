"""Networks that are given: what each kind reads, and one line before anything runs for what cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from search_spaces.errors import ConfigError, UnavailableError, UnknownNameError
from search_spaces.model import vary
from search_spaces.models import model_spec
from trainables.data.view import View
from trainables.models.given import GivenNetwork
from trainables.models.registry import open_network

Opener = Callable[[str], GivenNetwork]


def write(content: str, name: str) -> None:
    """Writes a module of the user's into the working directory."""
    Path(f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{content}\n")


def test_timm_weights_come_with_timm_settings_and_the_classes_of_the_file(resnet_file: Path) -> None:
    network = open_network(model_spec(f"test_resnet@{resnet_file}"))
    assert (network.architecture, network.num_classes, network.class_names) == ("test_resnet", 10, None)
    assert network.view == View(160, 160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (network.interpolation, network.crop) == ("bilinear", 0.95)
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_settings_beside_the_weights_win_where_they_are_of_this_network(resnet_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(resnet_file.read_bytes())
    own = {"input_size": [3, 48, 96], "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bicubic", "crop_pct": 1.0}
    config = {"architecture": "test_resnet", "pretrained_cfg": own, "label_names": list("abcdefghij")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = open_network(model_spec(f"test_resnet@{path}"))
    assert network.view == View(48, 96, (0, 0, 0), (1, 1, 1))
    assert (network.interpolation, network.crop, network.class_names) == ("bicubic", 1.0, tuple("abcdefghij"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "test_vit"}))
    assert open_network(model_spec(f"test_resnet@{path}")).view == View(160, 160, (0.5,) * 3, (0.5,) * 3)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": {"act_layer": "gelu"}}))
    with pytest.raises(ConfigError, match=r"other arguments \(act_layer\)"):
        open_network(model_spec(f"test_resnet@{path}"))


def test_a_vision_transformer_is_built_for_the_size_that_is_asked_for(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=5, img_size=(32, 64))
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    spec = model_spec(f"test_vit@{tmp_path}/vit.safetensors")
    network = open_network(spec, image_size=(32, 64))
    assert network.view
    assert network.view.size == (32, 64)
    images = torch.randn(2, 3, 32, 64)
    torch.testing.assert_close(network.module(images), model.eval()(images).detach())
    with pytest.raises(ConfigError, match=r"pos_embed.* It was made for images of another size: .*--image-size"):
        open_network(spec)


def test_timm_without_weights_and_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"could not be downloaded .* timm:resnet18@FILE"):
        open_network(model_spec("resnet18"))


@pytest.mark.parametrize("file_name", ["mine.pth", "resnet18-f37072fd.pth", "resnet18_IMAGENET1K_V1.pth"])
def test_torchvision_settings_and_names_are_those_of_the_weights_that_the_file_tells(
    file_name: str, tmp_path: Path
) -> None:
    model = torchvision.models.resnet18(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / file_name)
    network = open_network(model_spec(f"torchvision:resnet18@{tmp_path}/{file_name}"), image_size=(64, 64))
    published = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    assert network.view == View(64, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (network.interpolation, network.crop) == ("bilinear", 224 / 256)
    assert network.class_names == (None if file_name == "mine.pth" else tuple(published.meta["categories"]))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network.module(images), model(images).detach())


def test_unknown_architectures_name_the_nearest(resnet_file: Path) -> None:
    for uri, near in ((f"resnet81@{resnet_file}", "resnet18"), (f"torchvision:resnet81@{resnet_file}", "resnet18")):
        with pytest.raises(UnknownNameError, match=rf"'resnet81'. Did you mean .*{near}"):
            open_network(model_spec(uri))


def test_weights_of_another_network_are_counted_and_the_network_that_fits_is_named(
    resnet_file: Path, opened: Opener
) -> None:
    with pytest.raises(
        ConfigError, match=r"does not fit test_byobnet: \d+ tensors missing \(such as .*not of this"
    ) as e:
        opened(f"test_byobnet@{resnet_file}")
    assert str(e.value).endswith("It fits test_resnet.")


def test_a_changed_shape_is_shown_with_both_shapes(resnet_file: Path, opened: Opener, tmp_path: Path) -> None:
    tensors = load_file(resnet_file)
    tensors["layer1.0.conv1.weight"] = torch.zeros(32, 32, 5, 5)
    save_file(tensors, tmp_path / "w.safetensors")
    said = r"1 tensor of another shape \(such as .*: \[32, 32, 5, 5\] in place of \[32, 32, 3, 3\]\)"
    with pytest.raises(ConfigError, match=said):
        opened(f"test_resnet@{tmp_path}/w.safetensors")


@pytest.mark.parametrize("kind", ["timm", "torchvision"])
def test_a_classifier_that_is_a_number_is_counted_too(kind: str, opened: Opener, tmp_path: Path) -> None:
    save_file({"fc.weight": torch.tensor(1.0)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"does not fit resnet18: \d+ tensors missing .*1 tensor of another shape"):
        opened(f"{kind}:resnet18@{tmp_path}/w.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    value: float, resnet_file: Path, opened: Opener, tmp_path: Path
) -> None:
    tensors = load_file(resnet_file)
    tensors["fc.weight"][0, 0] = value
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"NaN or infinite weights in 1 of \d+ tensors, such as fc.weight"):
        opened(f"test_resnet@{tmp_path}/w.safetensors")


def test_other_channels_than_three_are_refused(opened: Opener, tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet", num_classes=10, in_chans=1).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"for images of 1 channel; images here have 3"):
        opened(f"test_resnet@{tmp_path}/w.safetensors")
    layers = "nn.Conv2d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)"
    write(f"def make(): return nn.Sequential({layers})", "four")
    with pytest.raises(ConfigError, match=r"takes images of 4 channels; images here have 3"):
        opened("python:four:make")


def test_another_number_of_classes_than_asked_for_is_refused(resnet_file: Path) -> None:
    spec = model_spec(f"test_resnet@{resnet_file}")
    assert open_network(spec, image_size=(64, 64), num_classes=10).num_classes == 10
    with pytest.raises(ConfigError, match=r"has 10 classes, and 37 are asked for"):
        open_network(spec, image_size=(64, 64), num_classes=37)


def test_other_weights_than_those_of_the_plan_are_refused(resnet_file: Path) -> None:
    spec = model_spec(f"test_resnet@{resnet_file}")
    known = vary(spec, sha256=open_network(spec, image_size=(64, 64)).sha256)
    assert open_network(known, image_size=(64, 64)).sha256 == known.sha256
    with pytest.raises(ConfigError, match=r"other weights \(\w{12}\) than when the plan was made \(0{12}\)"):
        open_network(vary(spec, sha256="0" * 64), image_size=(64, 64))


def test_opening_draws_no_random_number_of_ours(resnet_file: Path, opened: Opener) -> None:
    before = torch.get_rng_state()
    opened(f"test_resnet@{resnet_file}")
    assert torch.get_rng_state().equal(before)
