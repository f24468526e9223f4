"""Every stage trains as the plain program of `plain_training` does, loss by loss and parameter by parameter."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import DistillRecipe, PairRecipe, TeacherRecipe
from tests.trainables import plain_training as plain
from trainables.data.images import ImageData
from trainables.memory_format import place
from trainables.models.backbones import create_backbone
from trainables.stages import distill, pair, teacher
from trainables.training_loop import EpochReport, StageResult, StageRun, finish

CPU = torch.device("cpu")
# Numbers that let every setting count: 128 images make two steps an epoch and leave 16.
COMMON = {"architecture": "test_resnet", "epochs": 2, "batch_size": 56, "final_learning_rate": 0.002}
TEACHER = TeacherRecipe(
    **COMMON, weights="scratch", optimizer="adamw", learning_rate=0.01, weight_decay=5.0, label_smoothing=0.3
)
DISTILL = DistillRecipe(
    **COMMON,
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.8,
    weight_decay=0.1,
    temperature=3.0,
    augmentations=("padded_crop", "mixup"),
)
PAIR = PairRecipe(
    **COMMON,
    budget=82,
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.8,
    weight_decay=0.1,
    gradient_clip=0.5,
    hinge_weight=2.0,
    kd_weight=0.7,
    margin=0.05,
    temperature=3.0,
)


def compare(
    run: StageRun, prefix: str, module: nn.Module, train_plainly: Callable[[], list[dict[str, float]]]
) -> StageResult:
    """Runs a stage and the plain program; their losses, and how far they move every parameter, are the same."""
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    reports: list[EpochReport] = []
    result = finish(run, reports.append)
    expected = train_plainly()
    for report, means in zip(reports, expected, strict=True):
        assert {name: report.metrics[f"train/{name}"] for name in means} == pytest.approx(means, rel=1e-3)
    for name, parameter in module.named_parameters():
        moved = parameter.detach() - start[name]
        assert moved.norm() > 0, name
        error = (result.checkpoint[prefix + name] - start[name] - moved).norm() / moved.norm()
        # AdamW makes steps of full size of gradients that are hardly more than rounding.
        assert error < 5e-2, f"{name} moves otherwise, by {error:.1%} of its way"
    return result


def test_teacher_trains_as_the_plain_program_does(few_digits: ImageData) -> None:
    split = few_digits.splits["train"]
    torch.manual_seed(5)
    model = place(create_backbone("test_resnet", 10), CPU).train()

    def losses_of(positions: list[int]) -> dict[str, Tensor]:
        logits_BK = model(plain.normalized(split.images_BCHW[positions]))
        return {"loss": plain.smoothed_cross_entropy(logits_BK, split.labels_B[positions], 0.3)}

    run = teacher.train(TEACHER, few_digits, seed=5, device=CPU)
    compare(
        run,
        "model.",
        model,
        lambda: plain.train_plainly(TEACHER, list(model.parameters()), losses_of, num_images=128, seed=5),
    )


@pytest.mark.parametrize(("kd_scaled", "factor"), [(True, 9.0), (False, 1.0)])
def test_distillation_trains_as_the_plain_program_does(
    few_digits: ImageData, white_box: nn.Module, kd_scaled: bool, factor: float
) -> None:
    recipe, split = vary(DISTILL, kd_scaled=kd_scaled), few_digits.splits["train"]
    torch.manual_seed(5)
    model = place(create_backbone("test_resnet", 10), CPU).train()

    def losses_of(positions: list[int]) -> dict[str, Tensor]:
        images_BCHW = plain.mixed(plain.normalized(plain.shifted(split.images_BCHW[positions])))
        return {"loss": plain.distance(model(images_BCHW), white_box(images_BCHW).detach(), 3.0, factor)}

    run = distill.train(recipe, few_digits, black_box=white_box, seed=5, device=CPU)
    compare(
        run,
        "model.",
        model,
        lambda: plain.train_plainly(recipe, list(model.parameters()), losses_of, num_images=128, seed=5),
    )


@pytest.mark.parametrize("goal", ["robust", "detrimental"])
def test_a_pair_trains_as_the_plain_program_does(few_digits: ImageData, white_box: nn.Module, goal: str) -> None:
    recipe, split = vary(PAIR, goal=Goal(goal)), few_digits.splits["train"]
    torch.manual_seed(5)
    trained = pair.Pair(white_box, recipe)
    # Both passes normalize with the white box's statistics.
    place(trained, CPU).eval()

    def losses_of(positions: list[int]) -> dict[str, Tensor]:
        images_BCHW = plain.normalized(split.images_BCHW[positions])
        answer_BK = white_box(images_BCHW)
        kd = plain.distance(trained.student(images_BCHW), answer_BK, 3.0, 9.0)
        probs_BK = trained.run_options(images_BCHW, trained.draw(images_BCHW).selection_BLO).softmax(-1)
        hinge = plain.hinge(goal, probs_BK, answer_BK, 0.05)
        return {"loss": 2.0 * hinge + 0.7 * kd, "hinge": hinge, "kd": kd}

    run = pair.train(recipe, few_digits, white_box=white_box, seed=5, device=CPU)
    names = {"student.": trained.student.model, "policy.": trained.policy}
    both = nn.ModuleDict({name.rstrip("."): module for name, module in names.items()})
    parameters = list(both.parameters())
    result = compare(
        run,
        "",
        both,
        lambda: plain.train_plainly(recipe, parameters, losses_of, num_images=128, seed=5, clip=0.5),
    )
    moved = [
        name for name, buffer in white_box.named_buffers() if not buffer.equal(result.checkpoint[f"student.{name}"])
    ]
    assert moved == [], "frozen statistics moved"
