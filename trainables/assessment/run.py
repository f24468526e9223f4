"""An assessment from Python: one function of a network and labelled images, without storage, Ray or MLflow.

    found = assess(model, images, labels, budgets=[60, 82])
    print(found.verdict, found.rung("worst_static", 60).drop)

It runs the same steps as the stage `assess`.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from search_spaces.budgets import OPTION_SETS, budget_from_average, check_budget
from search_spaces.errors import ConfigError
from search_spaces.names import RangeScope, SitePlacement
from search_spaces.stages.assessment import AVERAGE_BITS, LIGHT, Labels, Ladder
from trainables.assessment.assemble import assemble
from trainables.assessment.parts import Part, Step, run_part, summarize
from trainables.assessment.record import Assessment, Model
from trainables.assessment.subject import Images, Network, Subject, logits, quantizable, with_own_answers
from trainables.data.images import stratified_split
from trainables.models.given import fingerprint
from trainables.runtimes.onnxruntime import OnnxNetwork

# B = images, C H W = image.

SELECTION_SHARE = 0.3
"""Share of the images, per class, that static allocations are chosen on where the caller gives no others."""
LEAST_IMAGES = 20
"""Fewer images tell nothing: the interval of a drop would span half of everything."""


def assess(
    model: nn.Module,
    images_BCHW: Tensor,
    labels_B: Tensor | None,
    *,
    budgets: Sequence[int] | None = None,
    selection: tuple[Tensor, Tensor] | None = None,
    class_names: Sequence[str] | None = None,
    bit_widths: Sequence[int] = OPTION_SETS["I"],
    draws: int = 20,
    max_passes: int = 120,
    weight_bit_width: int | None = 16,
    sites: SitePlacement = "outputs",
    range_scope: RangeScope = "example",
    seed: int = 0,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Assessment:
    """Measures how a network fares under dynamic quantization, from benign to hostile allocations.

    Args:
        model: Maps images [B, 3, H, W] to logits [B, K]; it stays as it is. It runs on the device of its parameters. An
            `OnnxNetwork` is one, too.
        images_BCHW: As the network wants them: floating, normalized, at least 20.
        labels_B: Their classes, integers in [0, K). None counts agreement with the network at full precision.
        budgets: Total bits of an image, each feasible; None is 4, 5.5 and 7 bits per site.
        selection: Other images with their labels, on which static allocations are chosen; None parts `images_BCHW`,
            30 % of every class to choose on, and measures on the rest.
        class_names: K names; None numbers the classes.
        bit_widths: Options at every site, ascending.
        draws: Random allocations of every image.
        max_passes: Forward passes per image that the search per image may take.
        weight_bit_width: Of Conv2d and Linear weights in quantized passes; None leaves them.
        sites: Whether the `outputs` of layers are quantized, or their `inputs`, as in runtimes.
        range_scope: What shares a range: an `example`, the whole `batch`, or a `channel` of an example.
        seed: Of everything random.
        on_step: Told of every rung and every other measurement.

    Returns:
        The ladder, the suspects and the verdict; `as_json()` is what the command writes.

    Raises:
        ConfigError: Images and labels do not fit each other or the network, or the network cannot be traced.
        InfeasibleBudgetError: No allocation over the sites meets a budget.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # An ONNX file is read again, which costs less than a copy.
    own = model if isinstance(model, OnnxNetwork) else copy.deepcopy(model)
    network = quantizable(own, weight_bit_width=weight_bit_width, device=device, sites=sites, range_scope=range_scope)
    subject = _subject(network, images_BCHW, labels_B, selection, class_names, seed)
    totals = budgets or [budget_from_average(bits, network.num_sites) for bits in AVERAGE_BITS]
    ladders = [
        Ladder(budget=total, bit_widths=tuple(bit_widths), draws=draws, max_passes=max_passes)
        for total in sorted(totals)
    ]
    for ladder in ladders:
        check_budget(ladder.budget, network.num_sites, ladder.bit_widths)
    tables = []
    parts: list[Ladder | None] = [None, *ladders]
    for part_ladder in parts:
        part = Part(part_ladder.budget if part_ladder else None)
        for step in run_part(subject, part_ladder, part, seed=seed, scanned_images=LIGHT.scanned_images):
            on_step(step)
        tables.append(summarize(subject, part)[1])
    labels: Labels = "none" if labels_B is None else "dataset"
    return assemble(
        Model(uri="", sha256=fingerprint(model), architecture=type(model).__name__),
        tables,
        num_images=len(subject.test),
        num_sites=network.num_sites,
        labels=labels,
        sites=sites,
        range_scope=range_scope,
    )


def _subject(
    network: Network,
    images_BCHW: Tensor,
    labels_B: Tensor | None,
    selection: tuple[Tensor, Tensor] | None,
    class_names: Sequence[str] | None,
    seed: int,
) -> Subject:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    labels = torch.zeros(len(images_BCHW), dtype=torch.int64) if labels_B is None else labels_B.cpu().long()
    _check_images(images_BCHW, labels)
    if selection is None:
        rest, chosen = stratified_split(labels.numpy(), fraction=SELECTION_SHARE, seed=seed)
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))
        places = torch.from_numpy(rest), torch.from_numpy(chosen)[order]
        test, chosen_on = (Images.of_tensors(images_BCHW[place], labels[place], device) for place in places)
    else:
        _check_images(selection[0], selection[1].cpu())
        test = Images.of_tensors(images_BCHW, labels, device)
        chosen_on = Images.of_tensors(selection[0], selection[1], device)
    num_classes = logits(network, Images.of_tensors(images_BCHW[:1], labels[:1], device)).shape[1]
    if labels_B is None:
        test, chosen_on = with_own_answers(network, test), with_own_answers(network, chosen_on)
    for images in (test, chosen_on):
        if not 0 <= int(images.labels_B.min()) <= int(images.labels_B.max()) < num_classes:
            raise ConfigError(
                f"labels from {int(images.labels_B.min())} to {int(images.labels_B.max())} are not those of a network "
                f"with {num_classes} classes: give integers from 0 to {num_classes - 1}."
            )
    names = tuple(class_names or map(str, range(num_classes)))
    if len(names) != num_classes:
        raise ConfigError(f"{len(names)} class_names for the {num_classes} classes of the network: give one each.")
    return Subject(network=network, selection=chosen_on, test=test, class_names=names)


def _check_images(images_BCHW: Tensor, labels_B: Tensor) -> None:
    if images_BCHW.ndim != 4 or images_BCHW.shape[1] != 3 or not images_BCHW.is_floating_point():
        raise ConfigError(
            f"images of shape {list(images_BCHW.shape)} and dtype {images_BCHW.dtype} are none that a network here "
            "sees: give floating, normalized images, shape [B, 3, H, W]."
        )
    if labels_B.shape != images_BCHW.shape[:1] or labels_B.is_floating_point():
        raise ConfigError(
            f"labels of shape {list(labels_B.shape)} and dtype {labels_B.dtype} do not fit {len(images_BCHW)} images: "
            "give one integer each."
        )
    if len(images_BCHW) < LEAST_IMAGES:
        raise ConfigError(f"{len(images_BCHW)} images tell too little: give at least {LEAST_IMAGES}.")
