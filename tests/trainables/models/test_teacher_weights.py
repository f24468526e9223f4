"""Weights that a teacher starts from are checked when the plan is made, and every file has a sweep of its own."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from orchestrator.cli.default_names import default_name
from search_spaces.errors import ConfigError, SweepError
from search_spaces.grids.build import Choices
from trainables.models.backbones import check_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), folder / "seven.pt")
    save_file(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "two.safetensors")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), folder / "other.pt")
    torch.save({"model": timm.create_model("resnet18", num_classes=5).state_dict()}, folder / "eighteen.pth")
    (folder / "cut.pt").write_bytes((folder / "seven.pt").read_bytes()[:5000])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_text("<!DOCTYPE html>")
    (folder / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    return folder


@pytest.mark.parametrize("name", ["seven.pt", "two.safetensors"])
def test_a_file_that_fits_but_for_its_classifier_is_taken(folder: Path, name: str) -> None:
    check_weights("resnet10t", str(folder / name), (32, 32))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eighteen.pth", r"does not fit resnet10t: .* It fits resnet18\."),
        ("other.pt", "does not fit resnet10t: .* tensors lack"),
        ("cut.pt", "damaged or cut short"),
        ("empty.pt", "is empty"),
        ("page.pt", "is a web page"),
        ("model.onnx", "neither safetensors nor what torch.save wrote"),
        ("missing.pt", "is no file"),
        ("", "is no file"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(folder: Path, name: str, said: str) -> None:
    with pytest.raises(SweepError, match=said) as refusal:
        check_weights("resnet10t", str(folder / name), (32, 32))
    assert "\n" not in str(refusal.value)


def test_checking_draws_no_random_number(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_weights("resnet10t", str(folder / "seven.pt"), (32, 32))
    assert torch.rand(1) == expected


def test_weights_that_timm_has_not_are_refused() -> None:
    check_weights("resnet18", "imagenet", (32, 32))
    with pytest.raises(ConfigError, match="no pretrained weights of"):
        check_weights(_without_weights(), "imagenet", (32, 32))


def _without_weights() -> str:
    names = (name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights)
    return next(name for name in names)


def test_every_file_of_weights_has_a_sweep_of_its_own(tmp_path: Path) -> None:
    files = [str(tmp_path / folder / name) for folder in "ab" for name in ("best.pt", "best.safetensors", "last.pt")]
    names = {default_name("quick", Choices(teacher_weights=weights)) for weights in [*files, "imagenet", "scratch"]}
    assert len(names) == 8
    assert all(name.startswith("quick-weights-") for name in names)
