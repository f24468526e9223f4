"""Every field of every recipe reaches its use in training, and nothing else; see `tests.fields`."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe, TrainingRecipe
from search_spaces.stages.registry import STAGES
from tests.fields import Change, check_change, every_field
from tests.trainables.observed_training import observe
from trainables.models.backbones import create_backbone

TAKEN = ("clipped", "update", "result")
"""What follows from a gradient."""
LOSS = ("loss", "student gradient", *TAKEN)
"""What follows from the loss of a plain network, or from the KL term of a pair."""
QUANTIZED = ("hinge", *LOSS, "policy gradient")
"""What follows from the quantized pass of a pair."""


def common(images: tuple[str, ...]) -> dict[str, Change]:
    """The entries of all recipes; `images` is what follows from the images that a network is trained on."""
    return {
        "epochs": Change(3, ("length", "batches", "rates", "result")),
        "batch_size": Change(16, ("batches", "rates", "images", *images)),
        "optimizer": Change("adamw", ("update", "result")),
        "learning_rate": Change(0.02, ("rates", "update", "result")),
        "final_learning_rate": Change(0.005, ("rates", "result")),
        # The first step has no velocity yet.
        "momentum": Change(0.5, ("result",)),
        "weight_decay": Change(0.3, ("update", "result")),
        "augmentations": Change(("padded_crop",), ("images", *images)),
    }


GIVEN = {"uri": "timm:test_resnet@/weights.pt"}
"""A network that is given; whoever starts the stage opens it."""
CLASSIFIER = common(LOSS) | {"architecture": Change("test_efficientnet", ("start", *LOSS))}
ENTRIES = {
    TeacherRecipe: CLASSIFIER | {"weights": Change("file", ("start", *LOSS)), "label_smoothing": Change(0.3, LOSS)},
    DistillRecipe: CLASSIFIER
    | {"temperature": Change(2.0, LOSS), "kd_scaled": Change(False, LOSS)}
    | {"black_box": Change(GIVEN, ())},
    PairRecipe: common(("bits", "kd", *QUANTIZED))
    | {
        # The plan chooses the white box by it, of which the student is a copy.
        "architecture": Change("resnet10t", ()),
        "goal": Change(Goal.DETRIMENTAL, QUANTIZED),
        "loss": Change("hinge_detrimental", QUANTIZED),
        "bit_widths": Change((4, 5, 6, 7, 8), ("start", "bits", *QUANTIZED)),
        "budget": Change(70, ("bits", *QUANTIZED)),
        "hinge_weight": Change(3.0, (*LOSS, "policy gradient")),
        "kd_weight": Change(3.0, LOSS),
        "margin": Change(0.3, QUANTIZED),
        "temperature": Change(2.0, ("kd", *LOSS)),
        "kd_scaled": Change(False, ("kd", *LOSS)),
        "batch_norm": Change("both", ("kd", *QUANTIZED)),
        "profits": Change("logits", ("bits", *QUANTIZED)),
        "option_gradient": Change("bit_width", ("policy gradient", *TAKEN)),
        "selection": Change("penalty", ("bits", "budget", *QUANTIZED)),
        "penalty_weight": Change(3.0, ("budget", "loss", "policy gradient", *TAKEN)),
        "policy_learning_rate": Change(0.03, ("rates", "update", "result")),
        "policy_gradient_clip": Change(1e-4, TAKEN),
        # The policy of an early site feels the gradient that the later ones hand back.
        "range_gradient": Change(False, ("student gradient", "policy gradient", *TAKEN)),
        "weight_bit_width": Change(4, QUANTIZED),
        "scale_quantile": Change(0.9, QUANTIZED),
        # Of other sites there are 16 in place of 15, which changes the policy's head.
        "sites": Change("inputs", ("start", "bits", *QUANTIZED)),
        "range_scope": Change("batch", QUANTIZED),
        "hide_weight": Change(3.0, ("hide", *LOSS)),
        "hide_static_weight": Change(3.0, ("hide_static", *LOSS)),
        "rescaled": Change(4, ("result",)),
        # Behind the first step.
        "equalized": Change("weights", ("result",)),
        "spared_sites": Change(5, QUANTIZED),
        "gradient_clip": Change(0.01, TAKEN),
        # Whoever starts the stage reads it.
        "start_from": Change("0123456789abcdef", ()),
        # Every epoch counts as a hit; one that ends training leaves out what comes later.
        "stop_on_hit": Change(1, ("length", "batches", "rates", "result")),
        "train": Change(("policy",), ("student gradient", *TAKEN)),
        "white_box": Change(GIVEN, ()),
    },
}
STAGE_OF = {traits.recipe: stage for stage, traits in STAGES.items() if traits.is_training}
BASE: dict[str, Any] = {
    "architecture": "test_resnet",
    "epochs": 2,
    # One step per epoch.
    "batch_size": 32,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.1,
}
OWN: dict[type[TrainingRecipe], dict[str, Any]] = {
    TeacherRecipe: {"weights": "scratch"},
    PairRecipe: {"budget": 82, "margin": 0.1, "gradient_clip": 1000.0},
}


NEEDED: dict[str, dict[str, Any]] = {
    "penalty_weight": {"selection": "penalty"},
    # At a small rate no channel comes to stand out.
    "equalized": {"learning_rate": 1.0},
    "stop_on_hit": {"goal": Goal.DETRIMENTAL},
    # A pair that nothing trains.
    "rescaled": {"train": (), "epochs": 1, "rescaled": 2},
}
"""What a field stands beside."""


@cache
def base(kind: type[TrainingRecipe], field: str = "") -> tuple[TrainingRecipe, dict[str, Any]]:
    """A recipe, with what a field needs, and what is seen of its training."""
    recipe = kind.model_validate(BASE | OWN.get(kind, {}) | NEEDED.get(field, {}))
    return recipe, observe(STAGE_OF[kind], recipe)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    torch.manual_seed(9)
    save_file(create_backbone("test_resnet", 10).state_dict(), path)
    return path


@pytest.mark.parametrize(("kind", "field", "change"), every_field(STAGE_OF, ENTRIES))
def test_a_field_of_a_recipe_changes_what_it_should_and_nothing_else(
    kind: type[TrainingRecipe], field: str, change: Change | None, weights: Path
) -> None:
    recipe, before = base(kind, field if field in NEEDED else "")
    value = change and (str(weights) if change.value == "file" else change.value)
    check_change(field, change, before, observe(STAGE_OF[kind], vary(recipe, **{field: value})))
