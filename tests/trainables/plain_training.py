"""Training written again from the paper and the recipes' docstrings, slow and plain: an oracle for the stages.

It shares no code with what it checks. Gradients of a network's passes come from autograd; the order of images, their
augmentation, the losses, the learning rate, clipping and the optimizers are spelled out here.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from search_spaces.recipes import TrainingRecipe

Losses = dict[str, Tensor]


def train_plainly(
    recipe: TrainingRecipe,
    parameters: Sequence[Tensor],
    losses_of: Callable[[list[int]], Losses],
    *,
    num_images: int,
    seed: int,
    clip: float = math.inf,
) -> list[dict[str, float]]:
    """Trains parameters in place; returns the mean of every loss over the steps of each epoch."""
    memories: list[dict[str, Tensor]] = [{} for _ in parameters]
    epochs: list[list[dict[str, float]]] = [[] for _ in range(recipe.epochs)]
    for number, (epoch, positions, rate) in enumerate(steps(recipe, num_images, seed), start=1):
        losses = losses_of(positions)
        gradients = torch.autograd.grad(losses["loss"], parameters)
        length = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
        shrink = min(1.0, clip / length)
        update = adamw if recipe.optimizer == "adamw" else sgd
        with torch.no_grad():
            for parameter, gradient, memory in zip(parameters, gradients, memories, strict=True):
                parameter.copy_(update(recipe, parameter, shrink * gradient, memory, rate, number))
        epochs[epoch].append({name: loss.item() for name, loss in losses.items()})
    return [{name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} for rows in epochs]


def steps(recipe: TrainingRecipe, num_images: int, seed: int) -> Iterator[tuple[int, list[int], float]]:
    """Yields epoch, positions and learning rate of every step; seeds torch at the beginning of an epoch."""
    per_epoch = (num_images - num_images % recipe.batch_size) // recipe.batch_size
    for number in range(recipe.epochs * per_epoch):
        epoch, batch = divmod(number, per_epoch)
        if batch == 0:
            torch.manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(num_images).tolist()
        # From 1 at the first step towards -1 behind the last.
        cosine = math.cos(math.pi * number / (recipe.epochs * per_epoch))
        rate = recipe.learning_rate * (1 + cosine) / 2 + recipe.final_learning_rate * (1 - cosine) / 2
        yield epoch, order[batch * recipe.batch_size :][: recipe.batch_size], rate


def sgd(
    recipe: TrainingRecipe, parameter: Tensor, gradient: Tensor, memory: dict[str, Tensor], rate: float, number: int
) -> Tensor:
    """Returns a parameter after a step of SGD with momentum; weight decay is added to the gradient."""
    pull = gradient + recipe.weight_decay * parameter
    memory["velocity"] = recipe.momentum * memory["velocity"] + pull if memory else pull
    return parameter - rate * memory["velocity"]


def adamw(
    recipe: TrainingRecipe, parameter: Tensor, gradient: Tensor, memory: dict[str, Tensor], rate: float, number: int
) -> Tensor:
    """Returns a parameter after step `number`, from 1, of AdamW: weight decay does not pass through the moments."""
    memory["first"] = 0.9 * memory.get("first", 0.0) + 0.1 * gradient
    memory["second"] = 0.999 * memory.get("second", 0.0) + 0.001 * gradient**2
    first, second = memory["first"] / (1 - 0.9**number), memory["second"] / (1 - 0.999**number)
    return parameter - rate * recipe.weight_decay * parameter - rate * first / (second.sqrt() + 1e-8)


def normalized(images_BCHW: Tensor) -> Tensor:
    """Returns uint8 images as networks see them: by the mean and the standard deviation of ImageNet's channels."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images_BCHW / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def shifted(images_BCHW: Tensor) -> Tensor:
    """Returns every image moved by up to an eighth of its size each way, with zeros where nothing was."""
    count, size = len(images_BCHW), images_BCHW.shape[-1]
    margin = size // 8
    tops, lefts = torch.randint(0, 2 * margin + 1, (2, count)).tolist()
    moved_BCHW = torch.zeros_like(images_BCHW)
    for image, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        canvas = torch.zeros(3, size + 2 * margin, size + 2 * margin, dtype=images_BCHW.dtype)
        canvas[:, margin : margin + size, margin : margin + size] = images_BCHW[image]
        moved_BCHW[image] = canvas[:, top : top + size, left : left + size]
    return moved_BCHW


def mixed(images_BCHW: Tensor) -> Tensor:
    """Returns every image mixed with a partner, by a weight from 0 to 1 of its own."""
    weights, partners = torch.rand(len(images_BCHW), 1, 1, 1), torch.randperm(len(images_BCHW))
    return weights * images_BCHW + (1 - weights) * images_BCHW[partners]


def smoothed_cross_entropy(logits_BK: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Returns the cross entropy to labels of which a share is spread evenly over all classes."""
    total, (count, num_classes) = torch.zeros(()), logits_BK.shape
    for logits_K, label in zip(logits_BK, labels_B.tolist(), strict=True):
        log_probs_K = logits_K - logits_K.exp().sum().log()
        total = total - (1 - smoothing) * log_probs_K[label] - smoothing * log_probs_K.sum() / num_classes
    return total / count


def distance(student_BK: Tensor, teacher_BK: Tensor, temperature: float, factor: float) -> Tensor:
    """Returns the KL divergence of the softened answers from teacher to student (Eq. 3), times a factor."""
    total = torch.zeros(())
    for student_K, teacher_K in zip(student_BK / temperature, teacher_BK / temperature, strict=True):
        ours, theirs = student_K - student_K.exp().sum().log(), teacher_K - teacher_K.exp().sum().log()
        total = total + (theirs.exp() * (theirs - ours)).sum()
    return factor * total / len(student_BK)


def hinge(goal: str, probs_BK: Tensor, teacher_BK: Tensor, margin: float) -> Tensor:
    """Returns the hinge of Eq. 7 (robust) or Eq. 8 (detrimental)."""
    total = torch.zeros(())
    for probs_K, teacher_K in zip(probs_BK, teacher_BK.tolist(), strict=True):
        first, second, *_ = sorted(range(len(teacher_K)), key=lambda label: -teacher_K[label])
        if goal == "robust":
            lack = probs_K[second] - probs_K[first] + margin
        else:
            lack = probs_K[first] - max(prob for label, prob in enumerate(probs_K) if label != first) + margin
        total = total + (lack if lack > 0 else 0)
    return total / len(probs_BK)
