"""Backbones by name and by checkpoint, and the policy."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from orchestrator.deferred import KNOWN_NUM_SITES
from search_spaces.errors import ConfigError, UnavailableError, UnknownNameError
from trainables.models.backbones import count_sites, create_backbone, load_backbone
from trainables.models.policy import Policy, profits_of


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


def test_missing_weights_file_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"'nowhere.safetensors' is no file"):
        create_backbone("test_resnet", 10, weights="nowhere.safetensors")


def test_loaded_networks_are_frozen_and_in_evaluation_mode() -> None:
    model = load_backbone("test_resnet", 10, create_backbone("test_resnet", 10).state_dict())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("size", [32, 33, 224])
def test_policy_scores_every_option_at_every_site(size: int) -> None:
    logits = Policy(num_sites=15, num_options=8)(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 15, 8)


def test_policy_scores_an_image_alike_in_any_batch_and_mode() -> None:
    policy, images = Policy(num_sites=3, num_options=4), torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(policy.train()(images)[2:3], policy.eval()(images[2:3]))


def test_profits_are_the_logits_or_their_softmax() -> None:
    logits = torch.randn(2, 3, 4)
    assert profits_of(logits, "logits").equal(logits)
    torch.testing.assert_close(profits_of(logits, "softmax").sum(-1), torch.ones(2, 3))
