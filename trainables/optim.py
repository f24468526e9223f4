"""Optimizers and the half-period cosine schedule (paper section 4, Training Details)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn, optim

from search_spaces.recipes import TrainingRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Parameters that learn at a pace of their own."""

    parameters: Sequence[nn.Parameter]
    rate_factor: float = 1.0
    """Their learning rate as a multiple of the recipe's, at every step."""
    gradient_clip: float | None = None
    """Largest norm of their gradient alone; None clips them with all others."""


def build_optimizer(
    recipe: TrainingRecipe, parameters: Iterable[nn.Parameter], parts: Sequence[Part] = ()
) -> optim.Optimizer:
    """Returns the recipe's optimizer over the parameters that require a gradient.

    Its first group holds what is in no part, where there is any; then every part has one, with its `rate_factor`.
    """
    own = {id(parameter) for part in parts for parameter in part.parameters}
    rest = Part(parameters=[parameter for parameter in parameters if id(parameter) not in own])
    groups = [
        {"params": trained, "rate_factor": part.rate_factor, "lr": part.rate_factor * recipe.learning_rate}
        for part in (rest, *parts)
        if (trained := [parameter for parameter in part.parameters if parameter.requires_grad])
    ]
    if recipe.optimizer == "adamw":
        return optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def clip_gradients(optimizer: optim.Optimizer, gradient_clip: float | None, parts: Sequence[Part] = ()) -> None:
    """Shortens the gradient of what an optimizer trains: of each part that has a clip, and of all others together."""
    clipped: set[int] = set()
    for part in parts:
        if part.gradient_clip:
            nn.utils.clip_grad_norm_(part.parameters, part.gradient_clip)
            clipped.update(map(id, part.parameters))
    if gradient_clip:
        # Parts of a parameter list may be frozen; the optimizer holds exactly what trains.
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_([parameter for parameter in trained if id(parameter) not in clipped], gradient_clip)


def learning_rate_at(recipe: TrainingRecipe, step: int, num_steps: int) -> float:
    """Returns the learning rate of one step: half a cosine from the first rate to the final one.

    Args:
        recipe: Gives both rates.
        step: 0-based; step 0 trains at the first rate, step `num_steps - 1` just above the final one.
        num_steps: Of the whole training.
    """
    share_left = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return recipe.final_learning_rate + share_left * (recipe.learning_rate - recipe.final_learning_rate)
