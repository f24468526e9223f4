"""The loop that all stages share: epochs of shuffled batches, a schedule, a resume point and a guard.

A stage is a generator: it yields an `EpochReport` after every epoch and returns a `StageResult`. Who listens, and
where anything is saved, is the caller's business.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError, NonFiniteLossError
from search_spaces.recipes import TrainingRecipe
from trainables.checkpoints import ResumePoint, capture, restore
from trainables.optim import Part, build_optimizer, clip_gradients, learning_rate_at

LOSS = "loss"
"""Name of the loss that is minimized; a step's others are only reported."""
Step = Callable[[Tensor], dict[str, Tensor]]
"""Function from the positions of a batch in the training split to its losses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """What is known after an epoch."""

    epoch: int
    """Number of finished epochs, counting those before a resume."""
    num_epochs: int
    seconds: float
    """Duration of this epoch, evaluation included."""
    metrics: dict[str, float]
    """Mean training losses as `train/...`, then what the stage measured on the validation split."""
    snapshot: Callable[[], ResumePoint]
    """Function that copies the state to resume from; costs nothing unless called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """What a finished stage leaves behind."""

    metrics: dict[str, float]
    """Accuracies as `validation/...` and `test/...`, fractions."""
    checkpoint: dict[str, Tensor]
    predictions: dict[str, Tensor]
    """Columns with one row per image of the validation and test splits; see trainables.evaluation."""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """What it measured besides, by name."""


StageRun = Generator[EpochReport, None, StageResult]


def finish(run: StageRun, on_epoch: Callable[[EpochReport], None] = lambda report: None) -> StageResult:
    """Runs a stage to its end, handing every report to a listener."""
    while True:
        try:
            report = next(run)
        except StopIteration as stop:
            result: StageResult = stop.value
            return result
        on_epoch(report)


def run_epochs(
    recipe: TrainingRecipe,
    module: nn.Module,
    step: Step,
    *,
    num_images: int,
    evaluate: Callable[[], Mapping[str, float]],
    seed: int,
    gradient_clip: float | None = None,
    parts: Sequence[Part] = (),
    after_step: Callable[[], None] | None = None,
    is_over: Callable[[], bool] = lambda: False,
    resume: ResumePoint | None = None,
) -> Generator[EpochReport, None, None]:
    """Trains a module in place.

    Args:
        recipe: Epochs, batch size, optimizer and schedule.
        module: Holds every parameter that the optimizer may change.
        step: Computes the losses of a batch; `LOSS` is minimized.
        num_images: Size of the training split.
        evaluate: Measures the module after every epoch.
        seed: Of order, augmentation and dropout.
        gradient_clip: Largest norm of the whole gradient, but for parts with a clip of their own; None leaves it.
        parts: Parameters of the module that learn at a pace of their own.
        after_step: Called behind every step of the optimizer; may change the module in place.
        is_over: Asked before every epoch, after a resume too; may end the training before its last one.
        resume: Where to go on; None starts at the first epoch.

    Yields:
        One report per epoch that was run now.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite within the epoch that the error names.
        ConfigError: The training split is smaller than one batch.
    """
    num_batches = num_images // recipe.batch_size
    if not num_batches:
        raise ConfigError(f"batch_size={recipe.batch_size} is above the {num_images} training images: lower it.")
    optimizer = build_optimizer(recipe, module.parameters(), parts)
    if resume:
        restore(resume, module, optimizer)
    for epoch in range(resume.epoch if resume else 0, recipe.epochs):
        if is_over():
            return
        start = time.perf_counter()
        # Seeding every epoch makes a resumed training draw exactly what an undisturbed one would.
        torch.manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(num_images)
        sums: dict[str, Tensor] = {}
        for batch in range(num_batches):
            rate = learning_rate_at(recipe, epoch * num_batches + batch, recipe.epochs * num_batches)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate_factor"]
            losses = step(order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size])
            optimizer.zero_grad(set_to_none=True)
            losses[LOSS].backward()
            clip_gradients(optimizer, gradient_clip, parts)
            optimizer.step()
            if after_step:
                after_step()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach()
        # Read once per epoch: reading every step would make a GPU wait.
        metrics = {f"train/{name}": total.item() / num_batches for name, total in sums.items()}
        if not math.isfinite(metrics[f"train/{LOSS}"]):
            raise NonFiniteLossError(
                f"the loss became {metrics[f'train/{LOSS}']} in epoch {epoch + 1} of {recipe.epochs}: "
                f"lower the learning rate ({recipe.learning_rate}) or the loss weights."
            )
        metrics |= evaluate()
        yield EpochReport(
            epoch=epoch + 1,
            num_epochs=recipe.epochs,
            seconds=time.perf_counter() - start,
            metrics=metrics | {"learning_rate": rate},
            snapshot=partial(capture, module, optimizer, epoch + 1),
        )


def epoch_seed(seed: int, epoch: int) -> int:
    """Returns the seed of one epoch: different for every seed and epoch, the same on every machine.

    Examples:
        >>> epoch_seed(0, 1), epoch_seed(1, 0)
        (1, 1000003)
    """
    return seed * 1_000_003 + epoch
