"""Stage 2: distil the black box into a white box of known weights (paper section 3.1).

Patient and consistent: teacher and student see the same augmented and mixed image, and no label is used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.recipes import DistillRecipe
from trainables.checkpoints import ResumePoint, with_prefix
from trainables.data.augment import training_batch
from trainables.data.images import TEST, TRAIN, VALIDATION, ImageData
from trainables.evaluation import classifier_outcome
from trainables.layout import place
from trainables.losses import kd_loss
from trainables.models.backbones import create_backbone
from trainables.stages.teacher import MODEL
from trainables.training_loop import LOSS, StageResult, StageRun, run_epochs


def train(
    recipe: DistillRecipe,
    data: ImageData,
    *,
    black_box: Callable[[Tensor], Tensor],
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Trains a network from random weights to answer as the black box does.

    Args:
        recipe: What to train and how.
        data: Dataset on `device`.
        black_box: Maps images to logits, on `device` and in evaluation mode; it is only queried.
        seed: Of the initial weights and of everything random in training.
        device: Where to train.
        resume: Where to go on.

    Yields:
        A report per epoch with `validation/accuracy`.

    Returns:
        Accuracies on both held-out splits, the checkpoint `model.*`, and predictions.
    """
    torch.manual_seed(seed)
    model = place(create_backbone(recipe.architecture, data.num_classes), device)
    split = data.splits[TRAIN]

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        model.train()
        images_BCHW = training_batch(split.images_BCHW[positions_B.to(device)], data.image_size, recipe.augmentations)
        with torch.no_grad():
            black_box_logits_BK = black_box(images_BCHW)
        loss = kd_loss(model(images_BCHW), black_box_logits_BK, temperature=recipe.temperature, scaled=recipe.kd_scaled)
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
