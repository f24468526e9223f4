"""Stage 1: train the black box on the labels (paper section 4, Training Details).

The later stages only ask it for logits; they never see its weights or gradients.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.recipes import TeacherRecipe
from trainables.checkpoints import ResumePoint, with_prefix
from trainables.data.augment import training_batch
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData
from trainables.evaluation import classifier_outcome
from trainables.layout import place
from trainables.models.backbones import create_backbone
from trainables.training_loop import LOSS, StageResult, StageRun, run_epochs

MODEL = "model."
"""Prefix of the network's tensors in the checkpoint."""


def train(
    recipe: TeacherRecipe,
    data: ImageData,
    *,
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Trains a classifier with smoothed one-hot cross entropy.

    Args:
        recipe: What to train and how.
        data: Dataset on `device`.
        seed: Of the initial weights and of everything random in training.
        device: Where to train.
        resume: Where to go on.

    Yields:
        A report per epoch with `validation/accuracy`.

    Returns:
        Accuracies on both held-out splits, the checkpoint `model.*`, and predictions.
    """
    torch.manual_seed(seed)
    model = place(create_backbone(recipe.architecture, data.num_classes, weights=recipe.weights), device)
    split = data.splits[TRAIN]

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        model.train()
        positions_B = positions_B.to(device)
        images_BCHW = training_batch(split.images_BCHW[positions_B], data.image_size, recipe.augmentations)
        loss = F.cross_entropy(model(images_BCHW), split.labels_B[positions_B], label_smoothing=recipe.label_smoothing)
        return {LOSS: loss}

    def evaluate(*names: str) -> tuple[dict[str, float], dict[str, Tensor]]:
        return classifier_outcome(model.eval(), data, names)

    yield from run_epochs(
        recipe,
        model,
        step,
        num_images=len(split),
        evaluate=lambda: evaluate(VALIDATION)[0],
        seed=seed,
        resume=resume,
    )
    metrics, predictions = evaluate(VALIDATION, TEST)
    return StageResult(metrics=metrics, checkpoint=with_prefix(MODEL, model.state_dict()), predictions=predictions)
