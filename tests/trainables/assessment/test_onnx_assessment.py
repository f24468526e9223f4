"""A real classifier that a package ships, assessed as it is and with one link rescaled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from search_spaces.errors import ConfigError
from tests.trainables.runtimes.onnx_files import rescaled, shipped_classifier
from tests.trainables.runtimes.text_images import CLASSES, write_text_images
from trainables.assessment import subject
from trainables.assessment.record import Assessment
from trainables.assessment.repairs import measure as repairs
from trainables.assessment.repairs.cures import Cure
from trainables.assessment.run import assess
from trainables.assessment.subject import equalized, quantizable
from trainables.runtimes.onnx_equalization import EqualizedOnnx
from trainables.runtimes.onnxruntime import OnnxNetwork

BUDGET = 53 * 7


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[Tensor, Tensor]:
    folder = write_text_images(tmp_path_factory.mktemp("words"), 40)
    files = sorted(folder.glob("*/*.png"))
    images_BHWC = torch.from_numpy(np.stack([np.array(Image.open(file)) for file in files]))
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float() / 255
    return (images_BCHW - 0.5) / 0.5, torch.tensor([CLASSES.index(file.parent.name) for file in files])


def assessed(path: Path, words: tuple[Tensor, Tensor]) -> Assessment:
    return assess(OnnxNetwork(path), *words, budgets=[BUDGET], class_names=CLASSES, draws=1, max_passes=2)


def test_a_shipped_classifier_is_not_suspicious_and_a_rescaled_link_of_it_is_named(tmp_path, words):
    as_shipped = assessed(shipped_classifier(), words)
    places = {"norm": "BatchNormalization@5", "layer": "Conv@8", "channel": 3, "factor": 2.0**12}
    changed = assessed(rescaled(shipped_classifier(), tmp_path / "n.onnx", **places), words)
    assert as_shipped.verdict != "suspicious", as_shipped.reasons
    assert as_shipped.suspects == ()
    assert as_shipped.rung("fp", None).accuracy > 0.9
    assert changed.verdict == "suspicious"
    assert (changed.suspects[0].site, changed.suspects[0].channel) == ("Conv@7", 3)
    assert changed.rung("fp", None).accuracy == as_shipped.rung("fp", None).accuracy
    assert changed.rung("int8", 8 * 53).drop > 0.2
    assert changed.model.sha256 != as_shipped.model.sha256
    (undone,) = [each for each in changed.mitigations if each.kind == "equalization"]
    assert undone.full_precision == as_shipped.rung("fp", None).accuracy
    # Of all sites it is the uniform bits that the factor broke; worse allocations hurt the shipped one as well.
    assert undone.rungs[0].drop_before_low > 0.1 > undone.rungs[0].drop


def test_sites_of_a_file_are_spared_whatever_the_allocation_says(words):
    network = OnnxNetwork(shipped_classifier())
    images_BCHW, two = words[0][:4], torch.full((4, 53), 2)
    spared = Cure(kind="sites", sites=tuple(range(53))).applied_to(network, images_BCHW)
    torch.testing.assert_close(spared(images_BCHW, two), network(images_BCHW, two * 0))
    assert (network(images_BCHW, two) - spared(images_BCHW, two)).abs().max() > 0.1
    with pytest.raises(ConfigError, match="only sites can be spared and links equalized"):
        Cure(kind="channel_ranges").applied_to(network, images_BCHW)


def test_equalize_takes_a_file_whatever_the_bits_of_its_weights(tmp_path, words):
    places = {"norm": "BatchNormalization@5", "layer": "Conv@8", "channel": 3, "factor": 2.0**12}
    network = OnnxNetwork(rescaled(shipped_classifier(), tmp_path / "n.onnx", **places))
    images_BCHW = words[0][:4]
    undone = quantizable(equalized(network, images_BCHW), weight_bit_width=None, device=torch.device("cpu"))
    exact, eight = network(images_BCHW), torch.full((4, 53), 8)
    assert torch.equal(undone(images_BCHW), exact)
    assert (undone(images_BCHW, eight) - exact).norm() < 0.2 * (network(images_BCHW, eight) - exact).norm()


def test_a_file_whose_answers_would_change_is_not_equalized(words, monkeypatch):
    network = OnnxNetwork(shipped_classifier())
    changed = EqualizedOnnx(network=network, num_channels=3, largest_difference=0.25)
    for module in (subject, repairs):
        monkeypatch.setattr(module, "equalize_onnx", lambda *_: changed)
    with pytest.raises(ConfigError, match=r"answers differently .* .by up to 0.25.: assess it as it is") as caught:
        equalized(network, words[0][:4])
    assert "\n" not in str(caught.value)
    assert repairs._of_file(network, words[0][:4]) == []


def test_nodes_to_exclude_are_those_that_read_a_site_in_the_names_of_the_file():
    network = OnnxNetwork(shipped_classifier())
    assert network.readers([network.sites[7]]) == ["Conv@8"]
    # The output of a block goes into the next one, and through one addition into the one behind it.
    assert "Conv@6" in network.readers([network.sites[5]])
