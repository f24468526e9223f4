"""The stages: exact resume, what trains and what stays, and who feels which loss."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, NonFiniteLossError
from search_spaces.model import vary
from search_spaces.recipes import DistillRecipe, TeacherRecipe
from tests.trainables.stages.small_pair import SMALL_PAIR
from trainables.checkpoints import ResumePoint, strip_prefix
from trainables.data.images import ImageData
from trainables.data.loading import load_dataset
from trainables.models.backbones import count_sites, create_backbone, load_backbone
from trainables.stages import distill, pair, teacher
from trainables.training_loop import EpochReport, StageResult, StageRun, finish

COLUMNS = ("prediction_fp", "prediction_q", "label")
CPU = torch.device("cpu")
TEACHER = TeacherRecipe(
    architecture="test_resnet",
    weights="scratch",
    epochs=4,
    batch_size=32,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=0.05,
    augmentations=("padded_crop",),
)
DISTILL = DistillRecipe(
    architecture="test_resnet",
    epochs=4,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-4,
    augmentations=("padded_crop", "mixup"),
)
PAIR = vary(SMALL_PAIR, epochs=4)
Start = Callable[[ResumePoint | None], StageRun]


@pytest.fixture
def starts(few_digits: ImageData, white_box: nn.Module) -> dict[str, Start]:
    """Every stage, ready to start or to go on."""
    common = {"seed": 5, "device": CPU}
    return {
        "teacher": lambda resume: teacher.train(TEACHER, few_digits, resume=resume, **common),
        "distill": lambda resume: distill.train(DISTILL, few_digits, black_box=white_box, resume=resume, **common),
        "pair": lambda resume: pair.train(PAIR, few_digits, white_box=white_box, resume=resume, **common),
    }


def run(start: Start, resume: ResumePoint | None = None) -> tuple[list[EpochReport], dict[int, bytes], StageResult]:
    """Runs a stage, keeping every report and every state as bytes."""
    reports: list[EpochReport] = []
    states: dict[int, bytes] = {}

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        states[report.epoch] = report.snapshot().to_bytes()

    return reports, states, finish(start(resume), on_epoch)


@pytest.mark.parametrize("stage", ["teacher", "distill", "pair"])
def test_two_and_two_epochs_equal_four_bit_for_bit(starts: dict[str, Start], stage: str) -> None:
    reports, states, whole = run(starts[stage])
    resume = ResumePoint.from_bytes(states[2], source="test")
    later_reports, _, resumed = run(starts[stage], resume)
    assert [report.epoch for report in later_reports] == [3, 4]
    assert [report.metrics for report in later_reports] == [report.metrics for report in reports[2:]]
    assert resumed.metrics == whole.metrics
    assert resumed.checkpoint.keys() == whole.checkpoint.keys()
    for name, tensor in whole.checkpoint.items():
        assert resumed.checkpoint[name].equal(tensor), name
    for name, column in whole.predictions.items():
        assert resumed.predictions[name].equal(column), name


def test_teacher_learns_the_digits(few_digits: ImageData) -> None:
    recipe = vary(TEACHER, epochs=12)
    result = finish(teacher.train(recipe, few_digits, seed=0, device=CPU))
    assert result.metrics["validation/accuracy"] > 0.5
    share_right = (result.predictions["prediction"] == result.predictions["label"]).float().mean().item()
    both = (result.metrics["validation/accuracy"] + result.metrics["test/accuracy"]) / 2
    assert share_right == pytest.approx(both, abs=1e-6)


def test_distillation_uses_no_label(few_digits: ImageData, white_box: nn.Module) -> None:
    unlabelled = ImageData(
        splits={name: _relabelled(split) for name, split in few_digits.splits.items()},
        class_names=few_digits.class_names,
        view=few_digits.view,
    )
    recipe = vary(DISTILL, epochs=1)
    first, second = (
        finish(distill.train(recipe, data, black_box=white_box, seed=0, device=CPU))
        for data in (few_digits, unlabelled)
    )
    assert all(second.checkpoint[name].equal(tensor) for name, tensor in first.checkpoint.items())


def _relabelled(split):  # type: ignore[no-untyped-def]
    return type(split)(
        images_BCHW=split.images_BCHW, labels_B=torch.zeros_like(split.labels_B), image_ids_B=split.image_ids_B
    )


def test_pair_reports_what_its_predictions_say(few_digits: ImageData, white_box: nn.Module) -> None:
    # Ranges so narrow that quantization changes which images are right.
    recipe = vary(PAIR, epochs=1, scale_quantile=0.6)
    result = finish(pair.train(recipe, few_digits, white_box=white_box, seed=5, device=CPU))
    rows = result.predictions
    for number, name in enumerate(("validation", "test")):
        here = rows["split"] == number
        right = {
            key: (rows[key][here] == rows["label"][here]).double().mean().item()
            for key in ("prediction_white_box", "prediction_fp", "prediction_q")
        }
        assert result.metrics[f"{name}/accuracy_fp"] == right["prediction_fp"]
        assert result.metrics[f"{name}/accuracy_q"] == right["prediction_q"]
        assert result.metrics[f"{name}/accuracy_delta"] == right["prediction_q"] - right["prediction_fp"]
        assert result.metrics[f"{name}/parity_gap"] == right["prediction_white_box"] - right["prediction_fp"]
        lost = [int(fp == y) - int(q == y) for fp, q, y in zip(*(rows[k][here].tolist() for k in COLUMNS), strict=True)]
        expected = statistics.stdev(lost) / len(lost) ** 0.5
        assert expected > 0
        assert result.metrics[f"{name}/drop_standard_error"] == pytest.approx(expected)
        sides = {
            "parity": ("prediction_white_box", "prediction_fp"),
            "drop": ("prediction_fp", "prediction_q"),
        }
        labels = rows["label"][here].tolist()
        for what, (before, after) in sides.items():
            is_right = [
                [p == y for p, y in zip(rows[key][here].tolist(), labels, strict=True)] for key in (before, after)
            ]
            changes = list(zip(*is_right, strict=True))
            assert result.metrics[f"{name}/{what}_lost"] == changes.count((True, False))
            assert result.metrics[f"{name}/{what}_gained"] == changes.count((False, True))
        assert result.metrics[f"{name}/num_images"] == len(labels)


def test_every_image_gets_exactly_the_budget(starts: dict[str, Start]) -> None:
    _, _, result = run(starts["pair"])
    bit_width_BL = result.predictions["bit_width"].int()
    assert (bit_width_BL.sum(dim=1) == PAIR.budget).all()
    assert set(bit_width_BL.unique().tolist()) <= set(PAIR.bit_widths)


def make_pair(white_box: nn.Module, **changes: object) -> tuple[pair.Pair, Tensor, Tensor]:
    torch.manual_seed(0)
    trained = pair.Pair(white_box, vary(PAIR, **changes))
    images_BCHW = torch.randn(8, 3, 32, 32)
    return trained, images_BCHW, white_box(images_BCHW)


def test_policy_feels_the_hinge_alone(white_box: nn.Module) -> None:
    trained, images_BCHW, logits_BK = make_pair(white_box)
    losses = pair.pair_losses(trained, images_BCHW, logits_BK)
    policy = list(trained.policy.parameters())
    from_kd = torch.autograd.grad(losses["kd"], policy, allow_unused=True, retain_graph=True)
    from_hinge = torch.autograd.grad(losses["hinge"], policy, retain_graph=True)
    from_both = torch.autograd.grad(losses["loss"], policy)
    assert all(gradient is None for gradient in from_kd)
    assert any(gradient.abs().sum() > 0 for gradient in from_hinge)
    for hinge, both in zip(from_hinge, from_both, strict=True):
        torch.testing.assert_close(both, hinge)


def test_weights_scale_their_parts_of_the_loss(white_box: nn.Module) -> None:
    trained, images_BCHW, logits_BK = make_pair(white_box, hinge_weight=3.0, kd_weight=0.5)
    losses = pair.pair_losses(trained, images_BCHW, logits_BK)
    torch.testing.assert_close(losses["loss"], 3 * losses["hinge"] + 0.5 * losses["kd"])


@pytest.mark.parametrize(("mode", "passes"), [("frozen", 0), ("fp_pass", 1), ("both", 2)])
def test_batch_norm_mode_says_which_passes_move_the_statistics(white_box: nn.Module, mode: str, passes: int) -> None:
    trained, images_BCHW, logits_BK = make_pair(white_box, batch_norm=mode)
    norms = [m for m in trained.student.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [int(norm.num_batches_tracked) for norm in norms]
    pair.pair_losses(trained, images_BCHW, logits_BK)
    assert [int(norm.num_batches_tracked) - count for norm, count in zip(norms, before, strict=True)] == [passes] * len(
        norms
    )


@pytest.mark.parametrize("updates_statistics", [True, False])
def test_batch_norm_alone_is_frozen_while_a_pair_trains(updates_statistics: bool) -> None:
    torch.manual_seed(1)
    trained = pair.Pair(create_backbone("test_resnet", 10), PAIR)
    trained.student.model.add_module("dropout", nn.Dropout())
    trained.eval()
    trained.set_batch_norm(updates_statistics=updates_statistics)
    for module in trained.student.modules():
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        assert module.training is (updates_statistics if is_norm else True)


@pytest.mark.parametrize("train", [("student",), ("policy",)])
def test_parts_that_do_not_train_stay_as_they_are(
    few_digits: ImageData, white_box: nn.Module, train: tuple[str, ...]
) -> None:
    recipe = vary(PAIR, epochs=1, train=train)
    torch.manual_seed(5)
    start = pair.Pair(white_box, recipe)
    result = finish(pair.train(recipe, few_digits, white_box=white_box, seed=5, device=CPU))
    tensors = {f"student.{name}": t for name, t in start.student.model.state_dict().items()}
    tensors |= {f"policy.{name}": t for name, t in start.policy.state_dict().items()}
    changed = {name.split(".")[0] for name, tensor in tensors.items() if not tensor.equal(result.checkpoint[name])}
    assert changed == set(train)


def test_training_leaves_the_white_box_alone(few_digits: ImageData, white_box: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in white_box.state_dict().items()}
    finish(pair.train(vary(PAIR, epochs=1), few_digits, white_box=white_box, seed=0, device=CPU))
    assert all(tensor.equal(before[name]) for name, tensor in white_box.state_dict().items())


def test_evaluation_is_deterministic_and_independent_of_the_batch(white_box: nn.Module) -> None:
    trained, images_BCHW, _ = make_pair(white_box)
    trained.eval()
    with torch.no_grad():
        together = trained.bit_widths(images_BCHW)
        alone = torch.cat([trained.bit_widths(image[None]) for image in images_BCHW])
    assert together.equal(trained.bit_widths(images_BCHW))
    assert together.equal(alone)


def test_diverging_training_ends_with_a_named_error(few_digits: ImageData, white_box: nn.Module) -> None:
    recipe = vary(PAIR, learning_rate=1e20, gradient_clip=1e30)
    with pytest.raises(NonFiniteLossError, match="lower the learning rate"):
        finish(pair.train(recipe, few_digits, white_box=white_box, seed=0, device=CPU))


def test_batch_above_the_training_split_is_refused(few_digits: ImageData) -> None:
    with pytest.raises(ConfigError, match="batch_size=500 is above the 128 training images"):
        finish(teacher.train(vary(TEACHER, batch_size=500), few_digits, seed=0, device=CPU))


def test_student_tensors_load_into_timm(starts: dict[str, Start], white_box: nn.Module) -> None:
    _, _, result = run(starts["pair"])
    tensors = {name.removeprefix("student."): t for name, t in result.checkpoint.items() if name.startswith("student.")}
    assert white_box.load_state_dict(tensors).missing_keys == []


def test_networks_for_one_size_only_are_trained_at_that_of_the_images(
    few_digits: ImageData, white_box: nn.Module
) -> None:
    # timm builds test_vit for 160 px; the digits have 32.
    short = {"architecture": "test_vit", "epochs": 1, "batch_size": 128}
    runs = (
        teacher.train(vary(TEACHER, **short), few_digits, seed=0, device=CPU),
        distill.train(vary(DISTILL, **short), few_digits, black_box=white_box, seed=0, device=CPU),
    )
    for run in runs:
        # Four patches of 16 px, and the class token.
        assert finish(run).checkpoint["model.pos_embed"].shape[1] == 5


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["test_vit", "vit_tiny_patch16_224"])
def test_a_vision_transformer_becomes_a_pair(few_digits: ImageData, architecture: str) -> None:
    # timm builds these for 160 and 224 px; the digits have 32.
    slow = {"architecture": architecture, "epochs": 2, "learning_rate": 0.01}
    black_box = load_backbone("test_resnet", 10, create_backbone("test_resnet", 10).state_dict())
    distilled = finish(distill.train(vary(DISTILL, **slow), few_digits, black_box=black_box, seed=0, device=CPU))
    tensors = strip_prefix("model.", distilled.checkpoint)
    white_box = load_backbone(architecture, 10, tensors, image_size=few_digits.view.size)
    num_sites = count_sites(architecture)
    recipe = vary(PAIR, **slow, budget=6 * num_sites)
    result = finish(pair.train(recipe, few_digits, white_box=white_box, seed=0, device=CPU))
    bit_width_BL = result.predictions["bit_width"]
    assert bit_width_BL.shape == (128, num_sites)
    assert set(bit_width_BL.sum(dim=1).tolist()) == {6 * num_sites}
    moved = strip_prefix("student.", result.checkpoint)
    assert any(not moved[name].equal(tensor) for name, tensor in tensors.items())


def test_every_stage_trains_on_images_that_are_no_squares() -> None:
    spec = DatasetSpec(name="digits", image_size="16x48", crop_mode="squash", mean=(0.5, 0.5, 0.5), train_images=100)
    data = load_dataset(spec.model_copy(update={"test_images": 40}))
    every = ("random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup")
    common: dict[str, Any] = {"seed": 0, "device": CPU}
    for architecture in ("test_resnet", "test_vit"):
        short = {"architecture": architecture, "epochs": 1, "augmentations": every}
        trained = finish(teacher.train(vary(TEACHER, **short), data, **common))
        tensors = strip_prefix("model.", trained.checkpoint)
        white_box = load_backbone(architecture, 10, tensors, image_size=(16, 48))
        budget = 5 * count_sites(architecture)
        result = finish(pair.train(vary(PAIR, **short, budget=budget), data, white_box=white_box, **common))
        assert set(result.predictions["bit_width"].sum(dim=1).tolist()) == {budget}


def test_a_pair_is_trained_of_any_module_which_stays_as_it_is(few_digits: ImageData) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    network = nn.Sequential(*layers)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = vary(PAIR, architecture="mine", budget=5, epochs=1)
    result = finish(pair.train(recipe, few_digits, white_box=network))
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    # As with the network that a worker gives it: frozen, in evaluation mode.
    frozen = finish(pair.train(recipe, few_digits, white_box=network.eval().requires_grad_(False)))
    assert frozen.metrics == result.metrics
    moved = strip_prefix(pair.STUDENT, result.checkpoint)
    assert moved.keys() == before.keys()
    assert not moved["0.weight"].equal(before["0.weight"])
    assert set(result.predictions["bit_width"].flatten().tolist()) == {5}
