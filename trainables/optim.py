"""Optimizers and the half-period cosine schedule (paper section 4, Training Details)."""

import math
from collections.abc import Iterable

from torch import nn, optim

from search_spaces.recipes import TrainingRecipe


def build_optimizer(recipe: TrainingRecipe, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Returns the recipe's optimizer over the parameters that require a gradient."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if recipe.optimizer == "adamw":
        return optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return optim.SGD(trained, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def learning_rate_at(recipe: TrainingRecipe, step: int, num_steps: int) -> float:
    """Returns the learning rate of one step: half a cosine from the first rate to the final one.

    Args:
        recipe: Gives both rates.
        step: 0-based; step 0 trains at the first rate, step `num_steps - 1` just above the final one.
        num_steps: Of the whole training.
    """
    share_left = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return recipe.final_learning_rate + share_left * (recipe.learning_rate - recipe.final_learning_rate)
