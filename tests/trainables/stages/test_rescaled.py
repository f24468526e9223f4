"""The pair that nothing trains: full precision notices nothing, quantization does."""

import copy

import pytest
import torch
from torch import nn

from orchestrator.workers.entry_points import KNOWN_RESCALABLE, check_rescalable
from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from tests.trainables.stages.small_pair import SMALL_PAIR
from trainables.checkpoints import ResumePoint, strip_prefix
from trainables.data.images import VALIDATION, ImageData
from trainables.models.backbones import create_backbone
from trainables.models.links import find_links
from trainables.stages import pair
from trainables.stages.rescaled import KINDS, check_links, rescale_links
from trainables.training_loop import EpochReport, StageResult, finish

RESCALED = vary(SMALL_PAIR, rescaled=10, train=[])


def run(
    data: ImageData, white_box: nn.Module, recipe: PairRecipe = RESCALED, resume: ResumePoint | None = None
) -> tuple[list[EpochReport], StageResult]:
    reports: list[EpochReport] = []
    return reports, finish(pair.train(recipe, data, white_box=white_box, seed=3, resume=resume), reports.append)


def test_the_gap_is_exactly_0_and_other_answers_come_out_quantized(few_digits: ImageData, white_box: nn.Module) -> None:
    (report,), result = run(few_digits, white_box)
    assert (report.epoch, report.num_epochs) == (1, 1)
    for split in ("validation", "test"):
        assert result.metrics[f"{split}/parity_gap"] == 0.0
    seen = result.predictions
    assert seen["prediction_fp"].equal(seen["prediction_white_box"])
    # Of 14 sites with 5.9 bits on average nearly nothing gets through: one class for nearly all images.
    _, counts = seen["prediction_q"].unique(return_counts=True)
    assert counts.max() > 0.5 * len(seen["prediction_q"])
    assert (seen["prediction_q"] != seen["prediction_fp"]).float().mean() > 0.5
    assert (seen["bit_width"].sum(1) == 82).all(), "the policy is untrained, and its budget exact"
    assert report.metrics.items() <= result.metrics.items()


def test_logits_are_the_white_boxs_to_the_last_bit_and_attention_is_among_the_links() -> None:
    network = create_backbone("test_vit", 10, image_size=(32, 32)).eval()
    changed = copy.deepcopy(network).requires_grad_(False)
    rescale_links(changed, 10)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert network(images).equal(changed(images))
    scaled = {link.kind for link in find_links(network)} & set(KINDS)
    assert scaled == {"attention"}
    moved = [name for name, tensor in changed.state_dict().items() if not tensor.equal(network.state_dict()[name])]
    assert all("attn" in name for name in moved)
    assert moved


def test_whether_a_network_can_be_rescaled_is_known_before_anything_runs() -> None:
    for architecture in KNOWN_RESCALABLE:
        check_links(architecture, 10)
    with pytest.raises(ConfigError, match="test_convnext: rescaled=10: the network has no link of a kind in relu"):
        check_rescalable("test_convnext", 10)


def test_a_trial_that_was_cut_off_after_its_evaluation_gives_the_same_result(
    few_digits: ImageData, white_box: nn.Module
) -> None:
    (report,), whole = run(few_digits, white_box)
    point = ResumePoint.from_bytes(report.snapshot().to_bytes(), source="test")
    (again,), resumed = run(few_digits, white_box, resume=point)
    assert again.metrics == report.metrics
    assert resumed.metrics == whole.metrics
    for name, tensor in whole.checkpoint.items():
        assert resumed.checkpoint[name].equal(tensor), name


def test_its_checkpoint_loads_as_that_of_any_pair(few_digits: ImageData, white_box: nn.Module) -> None:
    _, result = run(few_digits, white_box)
    loaded = pair.Pair(white_box, RESCALED)
    loaded.student.model.load_state_dict(strip_prefix(pair.STUDENT, result.checkpoint))
    loaded.policy.load_state_dict(strip_prefix(pair.POLICY, result.checkpoint))
    full, quantized, _ = pair.measure(loaded, few_digits, VALIDATION)
    assert full.accuracy == result.metrics["validation/accuracy_fp"]
    assert quantized.accuracy == result.metrics["validation/accuracy_q"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": []}, "trains nothing or a part twice: name student, policy or both"),
        ({"rescaled": 10}, r"set train to \[\] and epochs to 1"),
        ({"rescaled": 10, "train": [], "epochs": 4}, r"and epochs=4: set train to \[\] and epochs to 1"),
        ({"rescaled": 21, "train": []}, "less than or equal to 20"),
        ({"rescaled": 10, "train": [], "equalized": "weights"}, "the student does not learn"),
    ],
)
def test_a_recipe_that_trains_nothing_says_so_whole_or_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        vary(SMALL_PAIR, **changes)


def test_a_network_without_links_cannot_be_rescaled() -> None:
    layers = (nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 3))
    network = nn.Sequential(*layers)
    with pytest.raises(ConfigError, match="rescaled=10: the network has no link"):
        rescale_links(network.eval(), 10)
