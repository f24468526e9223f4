"""What a served model runs, against the pair in torch; damaged folders and images that do not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from scipy.special import softmax

from search_spaces.errors import ConfigError, StorageError, UnavailableError
from search_spaces.recipes import PairRecipe
from tests.trainables.runtimes.onnx_files import head, random_weights, write
from trainables.deployment.export import bits_file, policy_file, save
from trainables.deployment.served import BATCH, FACTS, NETWORK, POLICY, ServedNetwork, seal
from trainables.models.backbones import create_backbone
from trainables.runtimes.onnxruntime import OnnxNetwork
from trainables.stages.pair import Pair

SIZE = (32, 32)
BUDGET = 83


@pytest.fixture(scope="module")
def pair() -> Pair:
    torch.manual_seed(0)
    training = {"epochs": 1, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 0}
    recipe = PairRecipe.model_validate(
        {"architecture": "test_resnet", "goal": "detrimental", "bit_widths": range(3, 11), "budget": BUDGET, **training}
    )
    return Pair(create_backbone("test_resnet", 10).eval(), recipe).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pair_folder(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    save(bits_file(pair.student, SIZE), folder / NETWORK, {})
    save(policy_file(pair.policy, pair.recipe.profits, SIZE), folder / POLICY, {})
    facts = {"bit_widths": list(pair.recipe.bit_widths), "budget": BUDGET, "image_size": SIZE, "batch_size": None}
    seal(folder, facts | {"sites": [site.name for site in pair.student.sites]})
    return folder


@pytest.fixture(scope="module")
def served(pair_folder: Path) -> ServedNetwork:
    return ServedNetwork(pair_folder)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """More than one run takes, of different brightness."""
    generator = torch.Generator().manual_seed(5)
    count = BATCH + 9
    return torch.randn(count, 3, *SIZE, generator=generator) * torch.linspace(0.2, 3, count)[:, None, None, None]


def test_a_served_pair_answers_as_the_pair_does_at_the_bits_of_its_policy(
    served: ServedNetwork, pair: Pair, images: torch.Tensor
) -> None:
    answer = served.answer(images.numpy())
    bits = pair.bit_widths(images)
    assert np.array_equal(answer.bit_width_BL, bits.numpy())
    assert set(answer.bit_width_BL.sum(1)) == {BUDGET}
    logits = pair.student(images, bits).numpy()
    assert np.array_equal(answer.predicted_B, logits.argmax(1))
    assert np.allclose(answer.probabilities_BK, softmax(logits, axis=1), atol=1e-3)
    assert answer.probabilities_BK.dtype == np.float32


@pytest.mark.parametrize("bit_width", [0, 4, 9])
def test_a_request_can_give_all_sites_the_same_bits_and_zero_is_the_network_as_it_is(
    served: ServedNetwork, pair: Pair, images: torch.Tensor, bit_width: int
) -> None:
    answer = served.answer(images.numpy(), bit_width=bit_width)
    bits = torch.full((len(images), pair.student.num_sites), bit_width)
    logits = pair.student(images, bits if bit_width else None).numpy()
    assert np.array_equal(answer.bit_width_BL, bits.numpy())
    assert np.array_equal(answer.predicted_B, logits.argmax(1))
    assert np.allclose(answer.probabilities_BK, softmax(logits, axis=1), atol=1e-5 if bit_width == 0 else 1e-2)


def test_an_image_is_answered_alike_alone_and_among_others(served: ServedNetwork, images: torch.Tensor) -> None:
    together, alone = served.answer(images.numpy()), served.answer(images[-1:].numpy())
    assert np.array_equal(together.bit_width_BL[-1:], alone.bit_width_BL)
    assert np.allclose(together.probabilities_BK[-1:], alone.probabilities_BK, atol=1e-3)


def sealed_file(folder: Path, weights: dict[str, np.ndarray], batch_size: int) -> Path:
    """A network without a policy that takes a fixed number of images."""
    node = ["images", "w", "b"]
    nodes = [helper.make_node("Conv", node, ["c"]), *head("c")]
    path = write(folder / "given.onnx", nodes, weights, shape=(batch_size, 3, 8, 8), output=(batch_size, 5))
    network = OnnxNetwork(path)
    save(bits_file(network, (8, 8)), folder / NETWORK, {})
    path.unlink()
    seal(folder, {"sites": ["c"], "image_size": [8, 8], "batch_size": batch_size, "bit_widths": None, "budget": None})
    return folder


def test_a_network_that_takes_four_images_at_a_time_answers_six_and_every_logit_size(tmp_path: Path) -> None:
    weights = random_weights()
    # Logits of hundreds: exponentials of them would be infinite.
    weights["v"] *= 1000
    served = ServedNetwork(sealed_file(tmp_path, weights, batch_size=4))
    images = np.random.default_rng(1).standard_normal((6, 3, 8, 8)).astype(np.float32)
    answer = served.answer(images)
    assert answer.probabilities_BK.shape == (6, 5)
    assert np.array_equal(answer.bit_width_BL, np.zeros((6, 1)))
    convolved = torch.nn.functional.conv2d(*(torch.from_numpy(each) for each in (images, weights["w"], weights["b"])))
    logits = convolved.mean((2, 3)).numpy() @ weights["v"].T
    assert np.abs(logits).max() > 200
    assert np.allclose(answer.probabilities_BK, softmax(logits, axis=1), atol=1e-2)
    assert np.allclose(answer.probabilities_BK.sum(1), 1)


@pytest.mark.parametrize("name", [NETWORK, POLICY])
def test_a_file_that_was_changed_or_is_missing_is_not_loaded(name: str, pair_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(pair_folder, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(StorageError, match=rf"{name} is damaged \(its checksum differs\)"):
        ServedNetwork(folder)
    (folder / name).unlink()
    with pytest.raises(UnavailableError, match=rf"{name} cannot be read \(No such file"):
        ServedNetwork(folder)


def test_a_folder_of_another_form_or_without_facts_is_one_line(pair_folder: Path, tmp_path: Path) -> None:
    facts = json.loads((pair_folder / FACTS).read_text())
    (tmp_path / FACTS).write_text(json.dumps(facts | {"form": 2}))
    with pytest.raises(StorageError, match="is of form 2, and this version serves form 1"):
        ServedNetwork(tmp_path)
    with pytest.raises(UnavailableError, match="cannot be read"):
        ServedNetwork(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("shape", "value", "bit_width", "message"),
    [
        ((2, 3, 32, 16), 0.0, None, r"images of shape \[2, 3, 32, 16\] do not fit: .* \[images, 3, 32, 32\]"),
        ((2, 1, 32, 32), 0.0, None, "do not fit"),
        ((3, 32, 32), 0.0, None, "do not fit"),
        ((0, 3, 32, 32), 0.0, None, "give one image at least"),
        ((1, 3, 32, 32), np.nan, None, "NaN or infinite"),
        ((1, 3, 32, 32), np.inf, 4, "NaN or infinite"),
        ((1, 3, 32, 32), 0.0, 17, r"bit_width 17 is out of range: it is in 0\.\.16"),
        ((1, 3, 32, 32), 0.0, -1, "bit_width -1 is out of range"),
    ],
)
def test_images_and_bits_that_do_not_fit_are_one_line(
    served: ServedNetwork, shape: tuple[int, ...], value: float, bit_width: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        served.answer(np.full(shape, value, np.float32), bit_width=bit_width)
