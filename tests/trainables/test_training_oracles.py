"""How a training goes, step by step, against a table, numbers computed by hand, and the program of `plain_training`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe, TrainingRecipe
from tests.trainables import plain_training as plain
from trainables.checkpoints import ResumePoint
from trainables.stages import pair
from trainables.stages.selections.base import Drawn
from trainables.training_loop import EpochReport, run_epochs

RECIPE = TrainingRecipe(
    architecture="none",
    epochs=3,
    batch_size=4,
    optimizer="sgd",
    learning_rate=0.4,
    final_learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
)
STEADY = vary(RECIPE, epochs=1, batch_size=2, learning_rate=0.1, final_learning_rate=0.1)
"""One step per two images, all at one learning rate."""


class Values(nn.Module):
    """Parameters of one value each, in float64."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.ParameterList(torch.tensor(value, dtype=torch.float64) for value in values)

    def now(self) -> list[float]:
        return [value.item() for value in self.values]


def run(
    recipe: TrainingRecipe,
    module: nn.Module,
    step: Callable[[Tensor], dict[str, Tensor]],
    *,
    num_images: int,
    clip: float | None = None,
    resume: ResumePoint | None = None,
) -> list[EpochReport]:
    run = run_epochs(
        recipe, module, step, num_images=num_images, evaluate=dict, seed=5, gradient_clip=clip, resume=resume
    )
    return list(run)


# Ten images make two batches of four and leave two out. Half a cosine over six steps.
EPOCH_SEEDS = (5_000_015, 5_000_016, 5_000_017)
RATES = (0.4, 0.379903811, 0.325, 0.25, 0.175, 0.120096189)


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_every_step_has_the_positions_draws_and_rate_of_the_table(finished: int) -> None:
    module, rows = Values(0.0), []

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        rows.append((positions_B.tolist(), torch.rand(()).item(), module.now()[0]))
        # The gradient is 1, so the value falls by the learning rate.
        return {"loss": module.values[0] * 1}

    point = ResumePoint(finished, {"module.values.0": torch.zeros((), dtype=torch.float64)}) if finished else None
    reports = run(RECIPE, module, step, num_images=10, resume=point)

    expected = []
    for seed in EPOCH_SEEDS[finished:]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(10, generator=generator).tolist()
        expected += [(order[:4], torch.rand((), generator=generator).item())]
        expected += [(order[4:8], torch.rand((), generator=generator).item())]
    assert [row[:2] for row in rows] == expected
    values = [row[2] for row in rows] + module.now()
    rates = [before - after for before, after in pairwise(values)]
    assert rates == pytest.approx(RATES[2 * finished :], abs=1e-9)
    assert [report.metrics["learning_rate"] for report in reports] == pytest.approx(RATES[1::2][finished:], abs=1e-9)
    assert [(report.epoch, report.num_epochs) for report in reports] == [(e, 3) for e in (1, 2, 3)][finished:]


def test_reported_losses_are_means_over_the_steps_of_their_epoch() -> None:
    module, losses = Values(0.0), iter((1.0, 3.0, 5.0, 8.0, 0.0, 1.0))

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        loss = module.values[0] * 0 + next(losses)
        return {"loss": loss, "part": 10 * loss}

    reports = run(RECIPE, module, step, num_images=11)
    assert [report.metrics["train/loss"] for report in reports] == [2.0, 6.5, 0.5]
    assert [report.metrics["train/part"] for report in reports] == [20.0, 65.0, 5.0]


@pytest.mark.parametrize(
    ("optimizer", "changes", "expected"),
    [
        # A step: velocity = 0.5 velocity + 1 + 0.1 value, value -= 0.1 velocity.
        ("sgd", {"momentum": 0.5, "weight_decay": 0.1}, [0.89, 0.7261, 0.536889]),
        ("sgd", {"momentum": 0.5}, [0.9, 0.75, 0.575]),
        ("sgd", {"weight_decay": 0.1}, [0.89, 0.7811, 0.673289]),
        # Of a constant gradient both corrected moments are 1. A step: value = 0.99 value - 0.1; momentum is not read.
        ("adamw", {"momentum": 0.5, "weight_decay": 0.1}, [0.89, 0.7811, 0.673289]),
    ],
)
def test_optimizers_do_what_is_computed_by_hand(optimizer: str, changes: dict[str, float], expected: Sequence) -> None:
    module, values = Values(1.0), []

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        values.append(module.now()[0])
        return {"loss": module.values[0] * 1}

    run(vary(STEADY, optimizer=optimizer, **changes), module, step, num_images=6)
    assert [*values[1:], *module.now()] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_shrinks_every_parameter_also_biases_and_norms(optimizer: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(1, 2)
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    still = vary(STEADY, optimizer=optimizer, weight_decay=0.5)
    run(still, module, lambda _: {"loss": sum(0 * p.sum() for p in module.parameters())}, num_images=2)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter, 0.95 * before[name], msg=name)


@pytest.mark.parametrize(
    ("clip", "moves"),
    [(1.0, (0.06, 0.08)), (4.5, (0.27, 0.36)), (5.5, (0.3, 0.4)), (None, (0.3, 0.4))],
)
def test_the_gradient_of_all_parameters_together_is_clipped_at_its_norm(
    clip: float | None, moves: tuple[float, float]
) -> None:
    # The gradient is (3, 4), of norm 5.
    module = Values(0.0, 0.0)
    run(STEADY, module, lambda _: {"loss": 3 * module.values[0] + 4 * module.values[1]}, num_images=2, clip=clip)
    assert [-value for value in module.now()] == pytest.approx(moves, abs=1e-6)


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_line_is_fitted_as_the_plain_program_does(optimizer: str, clip: float | None) -> None:
    recipe = vary(RECIPE, optimizer=optimizer, momentum=0.8, weight_decay=0.5)
    x_B = torch.linspace(-1, 1, 10, dtype=torch.float64)
    y_B = 2 * x_B - 1 + x_B**2
    ours, theirs = Values(1.0, 0.5), Values(1.0, 0.5)

    def losses_of(module: Values, positions: Tensor | list[int]) -> dict[str, Tensor]:
        slope, level = module.values
        error_B = slope * x_B[positions] + level - y_B[positions]
        return {"loss": (error_B**2).mean(), "part": error_B.abs().mean()}

    reports = run(recipe, ours, partial(losses_of, ours), num_images=10, clip=clip)
    expected = plain.train_plainly(
        recipe, list(theirs.values), partial(losses_of, theirs), num_images=10, seed=5, clip=clip or math.inf
    )
    assert ours.now() == pytest.approx(theirs.now(), rel=1e-5)
    for report, means in zip(reports, expected, strict=True):
        assert {name: report.metrics[f"train/{name}"] for name in means} == pytest.approx(means, rel=1e-5)


# Softened by temperature 2 the teacher says (4, 2, 1) / 7 and (1, 4, 2) / 7, the student at full precision
# (1, 2, 4) / 7 and (1, 4, 2) / 7: the KL divergences are 6/7 ln 2 and 0.
SEVENTHS = {"teacher": [[4, 2, 1], [1, 4, 2]], "full": [[1, 2, 4], [1, 4, 2]]}
QUANTIZED = [[0.2, 0.5, 0.3], [0.15, 0.6, 0.25]]
"""Eq. 7 asks class 0 to lead class 1, and 1 to lead 2; Eq. 8 asks them to lie below the best other class."""
HAND = PairRecipe(
    architecture="none",
    budget=1,
    epochs=1,
    batch_size=2,
    optimizer="sgd",
    learning_rate=1.0,
    weight_decay=0.0,
    hinge_weight=3.0,
    kd_weight=0.5,
    margin=0.1,
    temperature=2.0,
)


@pytest.mark.parametrize(
    ("changes", "hinge"),
    [
        # 0.5 - 0.2 + 0.1 and 0: the second leads by 0.35.
        ({"goal": Goal.ROBUST}, 0.2),
        # 0 and 0.6 - 0.25 + 0.1: the first lies 0.3 below class 1.
        ({"goal": Goal.DETRIMENTAL}, 0.225),
        ({"goal": Goal.ROBUST, "loss": "hinge_detrimental"}, 0.225),
        ({"goal": Goal.DETRIMENTAL, "loss": "hinge_robust"}, 0.2),
        ({"goal": Goal.DETRIMENTAL, "margin": 0.5}, (0.2 + 0.85) / 2),
    ],
)
@pytest.mark.parametrize("kd_scaled", [True, False])
def test_loss_of_a_pair_equals_equations_9_and_10_by_hand(
    changes: dict[str, object], hinge: float, kd_scaled: bool
) -> None:
    logits = {name: 2 * torch.tensor(rows, dtype=torch.float64).log() for name, rows in SEVENTHS.items()}
    stand_in = SimpleNamespace(
        static_hiding=None,
        recipe=vary(HAND, kd_scaled=kd_scaled, **changes),
        policy=nn.Identity(),
        student=lambda images_BCHW: logits["full"],
        draw=lambda images_BCHW: Drawn(selection_BLO=torch.zeros(2, 1, 1)),
        run_options=lambda images_BCHW, selection_BLO: torch.tensor(QUANTIZED, dtype=torch.float64).log(),
        set_batch_norm=lambda updates_statistics: None,
    )
    kd = (4 if kd_scaled else 1) * 3 / 7 * math.log(2)
    losses = pair.pair_losses(stand_in, torch.zeros(2, 3, 8, 8), logits["teacher"])  # type: ignore[arg-type]
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {"loss": 3 * hinge + 0.5 * kd, "hinge": hinge, "kd": kd}
    )
