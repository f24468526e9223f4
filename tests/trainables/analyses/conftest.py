"""Untrained pairs on a few digits: small, and made so that quantization changes answers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe
from trainables.analyses.trained_pair import Subject
from trainables.data.images import ImageData
from trainables.evaluation import classify
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


@pytest.fixture
def balanced_white_box(few_digits: ImageData, white_box: torch.nn.Module) -> torch.nn.Module:
    """A random network whose answers are spread over the classes, so that quantization changes some of them."""
    logits_BK = classify(white_box, few_digits.splits["train"], few_digits.view).logits_BK
    white_box.fc.bias.sub_(logits_BK.mean(dim=0)).div_(logits_BK.std(dim=0))
    white_box.fc.weight.div_(logits_BK.std(dim=0)[:, None])
    return white_box


@pytest.fixture
def easy_digits(few_digits: ImageData, balanced_white_box: torch.nn.Module) -> ImageData:
    """Few digits, labelled as the white box answers."""
    splits = {
        name: replace(split, labels_B=classify(balanced_white_box, split, few_digits.view).predictions_B)
        for name, split in few_digits.splits.items()
    }
    return replace(few_digits, splits=splits)


@pytest.fixture
def create_subject(easy_digits: ImageData, balanced_white_box: torch.nn.Module) -> Callable[..., Subject]:
    """Makes untrained pairs; `noise` moves the student away from the white box, `seed` decides noise and policy."""

    def create(*, noise: float = 0.0, seed: int = 0, data: ImageData = easy_digits, **changes: object) -> Subject:
        settings = {
            "architecture": "test_resnet",
            "goal": Goal.DETRIMENTAL,
            "budget": 52,
            "epochs": 1,
            "batch_size": 32,
            "optimizer": "sgd",
            "learning_rate": 0.02,
            "weight_decay": 1e-4,
        }
        torch.manual_seed(seed)
        pair = Pair(balanced_white_box, PairRecipe.model_validate(settings | changes))
        with torch.no_grad():
            for weight in pair.student.parameters():
                weight.add_(noise * weight.abs().mean() * torch.randn_like(weight))
        return Subject(pair, balanced_white_box, data)

    return create
