"""The stage `assess`: one part of the assessment of a network that is given, which trains nothing.

It reports after every step, so that a part that is interrupted goes on with its next rung.
"""

from functools import partial

import torch
from torch import Tensor

from search_spaces.budgets import placement_of, scope_of
from search_spaces.stages.assessment import AssessRecipe
from trainables.assessment.companions import measure_companions, summarize_companions
from trainables.assessment.facts import class_index, names_of
from trainables.assessment.parts import Part, run_part, summarize
from trainables.assessment.quantized_file import measure_quantized_file
from trainables.assessment.subject import Images, Subject, equalized, quantizable, with_own_answers
from trainables.attacks.pixels import Pixels
from trainables.checkpoints import ResumePoint
from trainables.data.images import TEST, VALIDATION, ImageData, Split
from trainables.models.given import GivenNetwork
from trainables.training_loop import EpochReport, StageResult, StageRun

CHECKED_IMAGES = 8
"""Images on which equalization checks that full precision is unchanged."""


def run(
    recipe: AssessRecipe,
    data: ImageData,
    *,
    model: GivenNetwork,
    seed: int,
    device: torch.device,
    resume: ResumePoint | None = None,
) -> StageRun:
    """Measures one part; see `registry.start_stage`.

    Yields:
        A report per step with accuracy, drop, flips and passes_per_image on the test split.

    Returns:
        `<rung>/<figure>` of every rung and num_sites; the allocations `<rung>.bit_widths` as the checkpoint; the tables
        rungs and classes, those of the part about the network (sites, channels and cures), of companions, and of a
        quantized file.

    Raises:
        ConfigError: The network cannot be quantized.
        InfeasibleBudgetError: No allocation over its sites meets the budget.
    """
    torch.manual_seed(seed)
    subject = subject_of(recipe, model, data, device)
    budget = recipe.ladder.budget if recipe.ladder else None
    part = Part.from_tensors(resume.tensors, budget) if resume else Part(budget)
    num_done = resume.epoch if resume else 0
    scanned = recipe.scanned_images
    if recipe.companions:
        steps = measure_companions(subject, recipe.companions, part, seed=seed, num_done=num_done)
    elif recipe.quantized_file:
        file = recipe.quantized_file
        steps = measure_quantized_file(subject, file, part, scanned_images=scanned, num_done=num_done)
    else:
        steps = run_part(subject, recipe.ladder, part, seed=seed, scanned_images=scanned, num_done=num_done)
    for step in steps:
        yield EpochReport(
            epoch=step.number,
            num_epochs=step.num_steps,
            seconds=step.seconds,
            metrics=step.figures,
            snapshot=partial(_snapshot, part, step.number),
        )
    metrics, tables = summarize_companions(part) if recipe.companions else summarize(subject, part)
    tensors = part.tensors()
    return StageResult(
        metrics=metrics | {"num_sites": subject.network.num_sites, "num_images": len(subject.test)},
        checkpoint={name: tensor for name, tensor in tensors.items() if name.endswith(".bit_widths")},
        predictions={"image_id": data.splits[TEST].image_ids_B, "label": subject.test.labels_B, **_predictions(part)},
        tables=tables,
    )


def _snapshot(part: Part, num_done: int) -> ResumePoint:
    return ResumePoint(num_done, {name: tensor.clone() for name, tensor in part.tensors().items()})


def _predictions(part: Part) -> dict[str, Tensor]:
    """Returns the predicted class of every test image on every rung without draws."""
    alone = {rung: each.predictions_DB for rung, each in part.rungs.items() if len(each.predictions_DB) == 1}
    return {f"prediction_{rung}": predictions_DB[0] for rung, predictions_DB in alone.items()}


def subject_of(recipe: AssessRecipe, model: GivenNetwork, data: ImageData, device: torch.device) -> Subject:
    """Returns what a part measures: the network, quantizable, with the images of the data.

    Args:
        recipe: Of the part.
        model: The network, just opened.
        data: As the network sees it, on `device`.
        device: Where it runs.

    Raises:
        ConfigError: The network cannot be quantized.
    """
    has_labels = recipe.labels == "dataset"
    names = data.class_names if has_labels else ()
    # Without labels the numbers of the data mean nothing, and are replaced below.
    nothing_C = torch.zeros(max(1, data.num_classes), dtype=torch.int64)
    index_C = class_index(model, names, recipe.class_names) if has_labels else nothing_C
    selection = Images.of_split(_selection(data.splits[VALIDATION]), data.view, index_C)
    test = Images.of_split(data.splits[TEST], data.view, index_C)
    module = model.module
    if recipe.equalize:
        module = equalized(module, selection.read(0, min(len(selection), CHECKED_IMAGES)).cpu())
    network = quantizable(
        module,
        weight_bit_width=recipe.weight_bit_width,
        device=device,
        sites=placement_of(recipe.sites),
        range_scope="batch" if recipe.companions else scope_of(recipe.range_scope),
    )
    if not has_labels:
        selection, test = with_own_answers(network, selection), with_own_answers(network, test)
    names = names_of(model, names, index_C[: len(names)], recipe.class_names)
    valid = Pixels.of_view(data.view).on(device)
    return Subject(network=network, selection=selection, test=test, class_names=names, valid_pixels=valid)


def _selection(split: Split) -> Split:
    """Returns the images that static allocations are chosen on, in random order, since the first of them are taken."""
    return split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(0)))
