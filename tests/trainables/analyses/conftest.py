"""Untrained pairs on a few digits: small, and perturbed so that quantization changes answers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from search_spaces.recipes import Goal, PairRecipe, vary
from trainables.analyses.subject import Subject
from trainables.data.images import ImageData
from trainables.models.backbones import create_backbone
from trainables.stages.pair import Pair

RECIPE = PairRecipe(
    architecture="test_resnet", budget=60, epochs=1, batch_size=32, optimizer="sgd", learning_rate=0.02, weight_decay=0
)
MakeSubject = Callable[..., Subject]


@pytest.fixture
def make_subject(few_digits: ImageData) -> MakeSubject:
    """Makes a pair with other weights for every goal and the same white box."""

    def make(goal: str = "robust", *, white_box_seed: int = 1, **changes: object) -> Subject:
        torch.manual_seed(white_box_seed)
        white_box = perturbed(create_backbone("test_resnet", 10)).eval().requires_grad_(False)
        torch.manual_seed(len(goal))
        pair = Pair(white_box, vary(RECIPE, goal=Goal(goal), **changes))
        perturbed(pair.student.model)
        return Subject(pair, white_box, few_digits)

    return make


def perturbed(model: nn.Module) -> nn.Module:
    """Moves all weights, so that no residual branch is zero, as timm starts it."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model
