"""How a network that is given sees the data, and what of it is found out before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from search_spaces.datasets import dataset_spec
from search_spaces.errors import ConfigError
from search_spaces.stages.assessment import HEAVY, LIGHT, ImageSettings
from trainables.assessment.facts import (
    UNLABELLED,
    check_same_classes,
    class_index,
    count_macs,
    dataset_seen_by,
    look_at,
    names_of,
)
from trainables.data.view import View
from trainables.models.backbones import create_backbone
from trainables.models.given import GivenNetwork

OWN = View(64, 96, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def given(**changes: Any) -> GivenNetwork:
    values = {
        "uri": "timm:mine", "architecture": "mine", "sha256": "0" * 64, "module": nn.Identity(), "view": OWN,
        "interpolation": "bicubic", "crop": 0.9, "class_names": None, "num_classes": 10,
    }  # fmt: skip
    return GivenNetwork(**values | changes)


def test_a_folder_is_seen_as_the_network_says_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    folder = dataset_spec(f"folder:{tmp_path}")
    seen = dataset_seen_by(given(), folder, ImageSettings())
    assert (seen.image_size, seen.mean, seen.interpolation, seen.crop) == ("64x96", OWN.mean, "bicubic", 0.9)
    said = dataset_seen_by(given(), folder, ImageSettings(image_size="48x192", std="0.1,0.2,0.3", crop=1.0))
    assert (said.image_size, said.mean, said.std, said.crop) == ("48x192", OWN.mean, (0.1, 0.2, 0.3), 1.0)


def test_digits_keep_their_size_and_get_the_statistics_of_the_network() -> None:
    seen = dataset_seen_by(given(), dataset_spec("digits"), ImageSettings())
    assert (seen.image_size, seen.mean, seen.interpolation, seen.crop) == (32, OWN.mean, None, None)
    assert dataset_seen_by(given(view=None), dataset_spec("digits"), ImageSettings()).mean is None


def test_classes_are_found_by_name_and_named_by_the_data() -> None:
    network = given(class_names=("cat", "dog", "emu"), num_classes=3)
    index_C = class_index(network, ["emu", "Cat"], None)
    assert index_C.tolist() == [2, 0]
    assert names_of(network, ["emu", "Cat"], index_C, None) == ("Cat", "dog", "emu")
    with pytest.raises(ConfigError, match="none of the network's 3"):
        class_index(network, ["cow"], None)


def test_multiplications_are_those_of_the_layers() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    assert count_macs(network, (8, 8)) == 6 * 6 * 4 * 27 + 4 * 4 * 4 * 9 + 64 * 5


def test_a_small_network_gets_more_draws_than_a_heavy_one(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "mine.pt")
    facts = look_at(f"timm:test_resnet@{tmp_path}/mine.pt", dataset_spec("digits"), ImageSettings(), data_dir=tmp_path)
    assert (facts.num_sites, facts.architecture, facts.effort) == (15, "test_resnet", LIGHT)
    assert facts.model.sha256 is not None
    assert facts.model_copy(update={"macs": 2 * 10**9}).effort == HEAVY


def test_a_network_with_other_classes_than_the_data_is_one_line(tmp_path: Path) -> None:
    torch.save(_weights(num_classes=7), tmp_path / "mine.pt")
    uri = f"timm:test_resnet@{tmp_path}/mine.pt"
    with pytest.raises(ConfigError, match="10 classes and the network 7"):
        look_at(uri, dataset_spec("digits"), ImageSettings(), data_dir=tmp_path)
    # Without labels the classes of the data do not count.
    facts = look_at(uri, dataset_spec("digits"), ImageSettings(), data_dir=tmp_path, has_labels=False)
    assert "at full precision" in facts.how_labelled


def test_a_folder_without_classes_is_data_without_labels(tmp_path: Path) -> None:
    torch.save(_weights(num_classes=7), tmp_path / "mine.pt")
    (tmp_path / "flat").mkdir()
    for number in range(4):
        Image.new("RGB", (40, 40)).save(tmp_path / "flat" / f"{number}.png")
    uri, dataset = f"timm:test_resnet@{tmp_path}/mine.pt", dataset_spec(f"folder:{tmp_path}/flat")
    facts = look_at(uri, dataset, ImageSettings(), data_dir=tmp_path)
    assert (facts.labels, facts.how_labelled) == ("none", UNLABELLED)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("cat", "dog", "emu", "fox"), "has 4 classes and the data 3"),
        (("cat", "emu", "dog"), "in another order"),
        (("cat", "dog", "gnu"), "they are others"),
    ],
)
def test_what_is_trained_has_the_classes_of_the_data_in_their_order(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        check_same_classes(given(class_names=names, num_classes=len(names)), ["cat", "dog", "emu"])
    assert "--labels" not in str(error.value)
    for fitting in (("Cat", "dog", "emu"), None):
        check_same_classes(given(class_names=fitting, num_classes=3), ["cat", "dog", "emu"])


def test_names_that_the_user_gives_win_over_those_of_the_network_in_training_too() -> None:
    network = given(class_names=("x", "y", "z"), num_classes=3)
    check_same_classes(network, ["cat", "dog", "emu"], ("cat", "dog", "emu"))
    with pytest.raises(ConfigError, match=r"begin with 'emu', 'dog', 'cat'.*in another order"):
        check_same_classes(given(num_classes=3), ["cat", "dog", "emu"], ("emu", "dog", "cat"))


def _weights(num_classes: int = 10) -> dict[str, torch.Tensor]:
    return create_backbone("test_resnet", num_classes).state_dict()
