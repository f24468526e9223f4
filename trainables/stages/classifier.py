"""What the first two stages share: train a plain classifier, then measure it on both held-out splits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.recipes import TrainingRecipe
from trainables.checkpoints import ResumePoint, with_prefix
from trainables.data.augment import training_batch
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData
from trainables.evaluation import classifier_outcome
from trainables.training_loop import LOSS, StageResult, StageRun, run_epochs

MODEL = "model."
"""Prefix of the network's tensors in the checkpoint."""
ClassifierLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function from images_BCHW, the network's logits_BK and labels_B to a 0-d loss."""


def train_classifier(
    recipe: TrainingRecipe,
    model: nn.Module,
    data: ImageData,
    loss_of: ClassifierLoss,
    *,
    seed: int,
    device: torch.device,
    resume: ResumePoint | None,
) -> StageRun:
    """Trains a network in place; see `registry.start_stage`. The model lies on `device`.

    Yields:
        A report per epoch with `validation/accuracy`.

    Returns:
        Accuracies on both held-out splits, the checkpoint `model.*`, and predictions.
    """
    split = data.splits[TRAIN]

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        model.train()
        positions_B = positions_B.to(device)
        images_BCHW = training_batch(split.images_BCHW[positions_B], data.view, recipe.augmentations)
        return {LOSS: loss_of(images_BCHW, model(images_BCHW), split.labels_B[positions_B])}

    def evaluate(*names: str) -> tuple[dict[str, float], dict[str, Tensor]]:
        return classifier_outcome(model.eval(), data, names)

    yield from run_epochs(
        recipe, model, step, num_images=len(split), evaluate=lambda: evaluate(VALIDATION)[0], seed=seed, resume=resume
    )
    metrics, predictions = evaluate(VALIDATION, TEST)
    return StageResult(metrics=metrics, checkpoint=with_prefix(MODEL, model.state_dict()), predictions=predictions)
