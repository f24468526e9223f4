"""Stage 2: distil the black box into a white box of known weights (paper section 3.1).

Patient and consistent: teacher and student see the same augmented and mixed image, and no label is used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.recipes import DistillRecipe
from trainables.checkpoints import ResumePoint
from trainables.data.images import ImageData
from trainables.losses import kd_loss
from trainables.memory_format import place
from trainables.models.backbones import create_backbone
from trainables.stages.classifier import train_classifier
from trainables.training_loop import StageRun


def train(
    recipe: DistillRecipe,
    data: ImageData,
    *,
    black_box: Callable[[Tensor], Tensor],
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Trains a network from random weights to answer as the black box does; see `registry.start_stage`.

    The black box maps images to logits and is only queried.
    """
    torch.manual_seed(seed)
    model = place(create_backbone(recipe.architecture, data.num_classes, image_size=data.view.size), device)

    def loss_of(images_BCHW: Tensor, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        with torch.no_grad():
            # ONNX Runtime answers on the CPU.
            black_box_logits_BK = black_box(images_BCHW).to(images_BCHW.device)
        return kd_loss(logits_BK, black_box_logits_BK, temperature=recipe.temperature, scaled=recipe.kd_scaled)

    return train_classifier(recipe, model, data, loss_of, seed=seed, device=device, resume=resume)
