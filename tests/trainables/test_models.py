"""Backbones by name and by checkpoint, and the policy."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from orchestrator.workers.entry_points import KNOWN_NUM_SITES
from search_spaces.errors import ConfigError, UnavailableError, UnknownNameError
from trainables.models.backbones import count_sites, create_backbone, load_backbone
from trainables.models.policy import Policy, profits_of
from trainables.quant.sites import find_sites


@pytest.mark.parametrize("architecture", sorted(KNOWN_NUM_SITES))
def test_known_numbers_of_sites_are_what_the_tracer_finds(architecture: str) -> None:
    assert count_sites(architecture) == KNOWN_NUM_SITES[architecture]


def test_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown architecture 'resnet81'. Did you mean .*resnet18"):
        create_backbone("resnet81", 10)


def test_pretrained_weights_offline_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"could not be downloaded .* a .safetensors file or scratch"):
        create_backbone("resnet18", 10, weights="imagenet")


def test_weights_come_from_a_file_with_another_classifier(tmp_path: Path) -> None:
    source = create_backbone("test_resnet", 7)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = create_backbone("test_resnet", 10, weights=str(tmp_path / "weights.safetensors"))
    shared = [name for name in source.state_dict() if not name.startswith("fc.")]
    assert all(model.state_dict()[name].equal(source.state_dict()[name]) for name in shared)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(create_backbone("test_vit", 10).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match="does not fit test_resnet"):
        create_backbone("test_resnet", 10, weights=str(tmp_path / "weights.safetensors"))


def test_weights_of_the_same_classes_bring_their_classifier(tmp_path: Path) -> None:
    source = create_backbone("test_resnet", 10)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = create_backbone("test_resnet", 10, weights=str(tmp_path / "weights.safetensors"))
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in source.state_dict().items())


@pytest.mark.parametrize(("architecture", "size"), [("resnet18", {}), ("test_vit", {"img_size": 32})])
def test_pretrained_weights_get_our_classes_and_size(
    monkeypatch: pytest.MonkeyPatch, architecture: str, size: dict[str, int]
) -> None:
    asked: list[tuple[object, ...]] = []
    built = timm.create_model

    def create_model(name: str, *, pretrained: bool = False, **arguments: object) -> torch.nn.Module:
        asked.append((name, pretrained, arguments))
        return built(name, **arguments)

    monkeypatch.setattr(timm, "create_model", create_model)
    model = create_backbone(architecture, 7, weights="imagenet", image_size=(32, 32))
    assert asked[-1] == (architecture, True, {"num_classes": 7, **size})
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_name_may_carry_the_tag_of_pretrained_weights() -> None:
    tagged, plain = (create_backbone(name, 10).state_dict() for name in ("test_resnet.r160_in1k", "test_resnet"))
    assert {name: tensor.shape for name, tensor in tagged.items()} == {n: t.shape for n, t in plain.items()}


def test_missing_weights_file_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"'nowhere.safetensors' is no file"):
        create_backbone("test_resnet", 10, weights="nowhere.safetensors")


def test_loaded_networks_are_frozen_and_in_evaluation_mode() -> None:
    model = load_backbone("test_resnet", 10, create_backbone("test_resnet", 10).state_dict())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("image_size", [(32, 32), (64, 64), (32, 96)], ids=str)
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_maxvit"])
def test_networks_take_the_images_that_they_are_built_for(architecture: str, image_size: tuple[int, int]) -> None:
    model = create_backbone(architecture, 10, image_size=image_size)
    images = torch.randn(2, 3, *image_size)
    assert model(images).shape == (2, 10)
    loaded = load_backbone(architecture, 10, model.state_dict(), image_size=image_size)
    # Gradients choose another attention kernel, whose sums round otherwise.
    torch.testing.assert_close(loaded(images), model.eval()(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_number_of_sites_does_not_depend_on_the_image_size(architecture: str) -> None:
    small = create_backbone(architecture, 10, image_size=(32, 32))
    assert len(find_sites(small)) == count_sites(architecture) == {"v": 49, "s": 52}[architecture[0]]


def test_image_size_that_a_network_cannot_take_is_refused() -> None:
    for size, said in (((24, 24), "24"), ((32, 24), "32x24")):
        with pytest.raises(ConfigError, match=rf"test_vit takes no images of {said} px .*divisible by patch size"):
            create_backbone("test_vit", 10, image_size=size)


def test_checking_an_image_size_leaves_initial_weights_alone() -> None:
    def initial() -> torch.Tensor:
        torch.manual_seed(3)
        return create_backbone("test_vit", 10, image_size=(48, 48)).state_dict()["patch_embed.proj.weight"]

    assert initial().equal(initial())


@pytest.mark.parametrize("size", [32, 33, 224])
def test_policy_scores_every_option_at_every_site(size: int) -> None:
    logits = Policy(num_sites=15, num_options=8)(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 15, 8)


def test_policy_scores_an_image_alike_in_any_batch_and_mode() -> None:
    policy, images = Policy(num_sites=3, num_options=4), torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(policy.train()(images)[2:3], policy.eval()(images[2:3]))


def test_policy_computes_what_the_documentation_says() -> None:
    policy, images_BCHW = Policy(num_sites=3, num_options=4), torch.randn(2, 3, 37, 32)
    tensors = dict(policy.named_parameters())
    x_BCHW = images_BCHW
    for layer, width in zip((0, 3, 6, 9), (16, 32, 64, 128), strict=True):
        x_BCHW = functional.conv2d(x_BCHW, tensors.pop(f"features.{layer}.weight"), stride=2, padding=1)
        norm = (tensors.pop(f"features.{layer + 1}.{name}") for name in ("weight", "bias"))
        x_BCHW = functional.relu(functional.group_norm(x_BCHW, 8, *norm))
        assert x_BCHW.shape[1] == width
    pooled_BC = x_BCHW.sum(dim=(2, 3)) / (x_BCHW.shape[2] * x_BCHW.shape[3])
    logits_BLO = (pooled_BC @ tensors.pop("head.weight").T + tensors.pop("head.bias")).reshape(2, 3, 4)
    assert not tensors
    torch.testing.assert_close(policy(images_BCHW), logits_BLO)


def test_profits_are_the_logits_or_their_softmax() -> None:
    logits = torch.randn(2, 3, 4)
    assert profits_of(logits, "logits").equal(logits)
    torch.testing.assert_close(profits_of(logits, "softmax").sum(-1), torch.ones(2, 3))
