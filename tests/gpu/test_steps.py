"""Variants of a step compute what a step computes, and trainings that are cut off end as if nothing had happened."""

import os
import time
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

from search_spaces.recipes import PairRecipe
from tests.gpu import resumable
from tests.gpu.cifar_network import cifar_resnet18
from tests.gpu.decisions import TODAY
from tests.gpu.graphed_step import GraphedStep
from tests.gpu.jobs import Context, UnfinishedError
from tests.gpu.made_images import made_data
from tests.gpu.pair_step import PARTS, Clock, PairStep, Variant, applied
from tests.gpu.record import Record
from tests.gpu.resumable import Training, affordable_epochs
from tests.gpu.sections.science import CELLS
from tests.gpu.sections.step import FAST, VARIANTS
from trainables.data.images import ImageData
from trainables.data.view import View
from trainables.evaluation import classify
from trainables.memory_format import place
from trainables.models.backbones import create_backbone
from trainables.quant.sites import find_sites
from trainables.stages import pair
from trainables.training_loop import LOSS, StageRun, finish

CPU = torch.device("cpu")
RECIPE = PairRecipe(
    architecture="test_resnet",
    budget=82,
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    augmentations=("mixup",),
)


def build(variant: Variant) -> PairStep:
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return PairStep(RECIPE.model_copy(update={"augmentations": ()}), images_BCHW, view=View(32, 32), variant=variant)


def test_a_graphed_step_trains_as_an_ordinary_one() -> None:
    ordinary, graphed = build(Variant()), GraphedStep(build(Variant(graph="step")))
    for _ in range(3):
        loss = ordinary.run()[LOSS]
        graphed.run()
        torch.testing.assert_close(graphed.loss, loss)
    for ours, theirs in zip(graphed.step.pair.parameters(), ordinary.pair.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "variant", [Variant(layout="channels last"), Variant(white_box="bfloat16"), Variant(student="float16")]
)
def test_a_variant_takes_nearly_the_same_step(variant: Variant) -> None:
    with applied(variant):
        varied, ordinary = build(variant), build(Variant())
        losses = [step.run()[LOSS] for step in (varied, ordinary)]
    torch.testing.assert_close(losses[0].float(), losses[1], rtol=0.05, atol=0.0)
    # Scaled gradients are scaled back before they are clipped.
    for ours, theirs in zip(varied.pair.parameters(), ordinary.pair.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0.3, atol=0.02)


def test_the_parts_of_a_step_add_up_to_its_gradient() -> None:
    whole, split = build(Variant()), build(Variant())
    whole.run()
    clock = Clock(CPU)
    split.by_part(clock)
    assert set(clock.seconds()) == set(PARTS)
    for ours, theirs in zip(split.pair.parameters(), whole.pair.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_flags_and_variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPTQ_QUANTIZER", "torch")
    monkeypatch.delenv("DPTQ_KNAPSACK", raising=False)
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    with applied(FAST):
        assert [flag.allow_tf32 for flag in flags] == [True, True]
    with applied(Variant(tf32="none")):
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    assert [flag.allow_tf32 for flag in flags] == before
    assert os.environ["DPTQ_QUANTIZER"] == "torch"
    assert "DPTQ_KNAPSACK" not in os.environ


def test_every_setting_is_measured_against_a_variant_without_it() -> None:
    assert asdict(Variant()) == TODAY
    compared = set()
    for after in VARIANTS:
        for before in VARIANTS:
            changed = [each.name for each in fields(Variant) if getattr(after, each.name) != getattr(before, each.name)]
            if len(changed) == 1 and getattr(before, changed[0]) == TODAY[changed[0]]:
                compared.add(changed[0])
    assert compared == set(TODAY)
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


def test_the_cifar_network_has_the_sites_of_resnet18() -> None:
    assert len(find_sites(cifar_resnet18(10))) == 20


def test_all_cells_of_resnet18_are_on_the_list_once() -> None:
    assert len(set(CELLS)) == len(CELLS) == 18


@pytest.fixture
def data() -> ImageData:
    return made_data(size=16, num_images=32, num_classes=4)


def start(data: ImageData, epochs: int, resume: object) -> StageRun:
    torch.manual_seed(0)
    white_box = place(create_backbone("test_resnet", data.num_classes).eval().requires_grad_(False), CPU)
    recipe = RECIPE.model_copy(update={"epochs": epochs})
    return pair.train(recipe, data, white_box=white_box, seed=0, device=CPU, resume=resume)  # type: ignore[arg-type]


def training(work: Path, seconds: float) -> Training:
    folders = {"brought": work, "work": work, "folder": work}
    context = Context(device=CPU, is_tiny=True, deadline=time.time() + seconds, record=Record(work), **folders)
    return Training(context, "a pair")


def test_a_training_that_is_cut_off_ends_as_an_undisturbed_one(data: ImageData, tmp_path: Path) -> None:
    expected = finish(start(data, 3, None))
    epochs_done = []
    for _ in range(2):
        with pytest.raises(UnfinishedError) as stopped:
            training(tmp_path, 0.0).finish(lambda resume: start(data, 3, resume), epochs=3)
        epochs_done.append(stopped.value.result["epochs"])
    last = training(tmp_path, 100.0)
    result = last.finish(lambda resume: start(data, 3, resume), epochs=3)
    assert epochs_done == [1, 2]
    assert [point["epoch"] for point in last.curve] == [1, 2, 3]
    assert result.metrics == expected.metrics
    assert all(result.checkpoint[name].equal(tensor) for name, tensor in expected.checkpoint.items())


def test_the_number_of_epochs_is_chosen_once(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([7, 9])
    plan = training(tmp_path, 1.0).plan(lambda: (next(numbers), 1.0))
    assert plan == training(tmp_path, 1.0).plan(lambda: (next(numbers), 1.0)) == 7
    epochs, seconds = affordable_epochs(lambda count, _: start(data, count, None), 1e9, limits=(2, 5))
    assert epochs == 5
    assert seconds > 0
    assert affordable_epochs(lambda count, _: start(data, count, None), 0.0, limits=(2, 5), probes=2)[0] == 2
    assert resumable.SAVE_SECONDS > 0


def test_made_images_can_be_learned(data: ImageData) -> None:
    assert classify(create_backbone("test_resnet", 4).eval(), data.splits["test"], data.view).accuracy <= 1.0
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 32, "validation": 32, "test": 32}
