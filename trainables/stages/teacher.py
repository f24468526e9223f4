"""Stage 1: train the black box on the labels (paper section 4, Training Details).

The later stages only ask it for logits; they never see its weights or gradients.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.recipes import TeacherRecipe
from trainables.checkpoints import ResumePoint
from trainables.data.images import ImageData
from trainables.memory_format import place
from trainables.models.backbones import create_backbone
from trainables.stages.classifier import train_classifier
from trainables.training_loop import StageRun


def train(
    recipe: TeacherRecipe, data: ImageData, *, seed: int, device: torch.device, resume: ResumePoint | None = None
) -> StageRun:
    """Trains a classifier with smoothed one-hot cross entropy; see `registry.start_stage`.

    Raises:
        UnavailableError: The recipe's weights are neither here nor reachable.
    """
    torch.manual_seed(seed)
    model = create_backbone(recipe.architecture, data.num_classes, weights=recipe.weights, image_size=data.view.size)
    place(model, device)

    def loss_of(images_BCHW: Tensor, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing)

    return train_classifier(recipe, model, data, loss_of, seed=seed, device=device, resume=resume)
