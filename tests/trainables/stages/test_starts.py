"""A student that starts from tensors of its own: only the start differs, teacher and reference stay the white box."""

import pytest
import torch
from torch import nn

from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from tests.trainables.stages.small_pair import SMALL_PAIR
from trainables.checkpoints import strip_prefix
from trainables.data.images import ImageData
from trainables.models.backbones import create_backbone
from trainables.stages import pair
from trainables.training_loop import StageResult, finish

RECIPE = vary(SMALL_PAIR, batch_size=64)


def test_a_student_starts_where_it_is_told_and_its_white_box_stays_the_reference(
    few_digits: ImageData, white_box: nn.Module
) -> None:
    torch.manual_seed(7)
    other = create_backbone("test_resnet", 10).eval()
    still = vary(RECIPE, train=("policy",))

    def run(recipe: PairRecipe, student: nn.Module | None) -> StageResult:
        tensors = None if student is None else student.state_dict()
        return finish(pair.train(recipe, few_digits, white_box=white_box, student=tensors))

    plain, own, moved = run(RECIPE, None), run(RECIPE, white_box), run(still, other)
    assert all(own.checkpoint[name].equal(tensor) for name, tensor in plain.checkpoint.items())
    kept = strip_prefix(pair.STUDENT, moved.checkpoint)
    assert all(kept[name].equal(tensor) for name, tensor in other.state_dict().items())
    for split in ("validation", "test"):
        assert moved.metrics[f"{split}/accuracy_white_box"] == plain.metrics[f"{split}/accuracy_white_box"]
    assert moved.predictions["prediction_white_box"].equal(plain.predictions["prediction_white_box"])


def test_tensors_of_another_network_are_refused(few_digits: ImageData, white_box: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        finish(pair.train(RECIPE, few_digits, white_box=white_box, student={}))
