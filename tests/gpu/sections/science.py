"""A first result of the paper's grid: a good white box on CIFAR-10, its pairs on ResNet18, and the rescaled network.

Every training can be cut off between two epochs and goes on in a second call. What another machine needs besides the
results, the white box, is published in parts.
"""

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import paper
from search_spaces.budgets import OPTION_SETS
from search_spaces.datasets import dataset_spec
from search_spaces.errors import UnavailableError
from search_spaces.recipes import Goal, PairRecipe, TeacherRecipe
from tests.gpu.cifar_network import cifar_resnet18, load_white_box, publish_white_box, train_in_bfloat16
from tests.gpu.jobs import Context, Item, NotHereError
from tests.gpu.made_images import made_data
from tests.gpu.resumable import Training, affordable_epochs
from tests.gpu.sections.rescaled import measure_rescaled
from trainables.data.images import TEST, VALIDATION, ImageData
from trainables.data.loading import load_dataset
from trainables.evaluation import classify
from trainables.memory_format import place
from trainables.stages import pair
from trainables.stages.classifier import train_classifier

ARCHITECTURE = "resnet18"
CELLS: tuple[tuple[str, str, Goal], ...] = (
    ("II", "B", Goal.DETRIMENTAL),  # the paper's own example: 88.09, -24.39
    ("II", "B", Goal.ROBUST),
    ("III", "C", Goal.DETRIMENTAL),  # the paper found none: 19.00, +0.51
    ("III", "B", Goal.DETRIMENTAL),  # its largest drop: -64.78
    ("I", "B", Goal.DETRIMENTAL),  # its other hit: -26.11
    ("II", "C", Goal.DETRIMENTAL),  # its smallest drop: -11.74
    ("III", "A", Goal.DETRIMENTAL),  # one feasible allocation, so the policy decides nothing
    ("I", "C", Goal.DETRIMENTAL),
    ("I", "A", Goal.DETRIMENTAL),
    ("II", "A", Goal.DETRIMENTAL),
    ("III", "C", Goal.ROBUST),
    ("III", "B", Goal.ROBUST),
    ("I", "B", Goal.ROBUST),
    ("II", "C", Goal.ROBUST),
    ("III", "A", Goal.ROBUST),
    ("I", "C", Goal.ROBUST),
    ("I", "A", Goal.ROBUST),
    ("II", "A", Goal.ROBUST),
)
"""All cells of ResNet18, in the order of what each one tells."""
WHITE_BOX = "white box"
WHITE_BOX_SECONDS, PAIR_SECONDS = 75.0, 60.0
"""Aims: epochs are as many as fit."""
WHITE_BOX_EPOCHS, PAIR_EPOCHS = (12, 40), (6, 30)
"""The fewest and the most; with fewer, neither the network nor the pair says anything."""
SPLITS = (VALIDATION, TEST)


def items(context: Context) -> list[Item]:
    """Lists the white box, the paper's example, the rescaled network, and the other cells."""
    data = _Data(context)
    cells = [
        Item(f"{option_set}-{level} {goal}", partial(train_pair, cell=(option_set, level, goal), data=data), 400)
        for option_set, level, goal in (CELLS[:1] if context.is_tiny else CELLS)
    ]
    rescaled = Item("rescaled", partial(rescale, data=data), seconds=60)
    return [Item(WHITE_BOX, partial(train_white_box, data=data), seconds=400), *cells[:2], rescaled, *cells[2:]]


class _Data:
    """The images on the device, loaded when the first item asks for them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loaded: ImageData | None = None

    def load(self) -> ImageData:
        """Returns CIFAR-10; stripes in the tiny form."""
        if self._loaded is None:
            context = self._context
            try:
                data = (
                    made_data(size=16, num_images=64, num_classes=4)
                    if context.is_tiny
                    else load_dataset(dataset_spec("cifar10"), context.brought)
                )
            except UnavailableError as error:
                raise NotHereError(f"CIFAR-10 did not travel along: {error}") from error
            self._loaded = data.to(context.device)
        return self._loaded


def train_white_box(context: Context, *, data: _Data) -> dict[str, Any]:
    """Trains the network that all pairs start from, on the labels; the accuracy is that of float32."""
    images = data.load()

    def start(epochs: int, resume: Any) -> Any:
        # Labels and bfloat16: the point is a good white box in a minute, and a distillation needs a teacher first.
        recipe = TeacherRecipe(
            architecture=ARCHITECTURE,
            weights="scratch",
            epochs=epochs,
            batch_size=16 if context.is_tiny else 256,
            optimizer="sgd",
            learning_rate=0.02 if context.is_tiny else 0.1,
            weight_decay=5e-4,
            label_smoothing=0.0,
            augmentations=("padded_crop", "horizontal_flip"),
        )
        torch.manual_seed(0)
        model = train_in_bfloat16(cifar_resnet18(images.num_classes), context.device)
        return train_classifier(recipe, model, images, _loss, seed=0, device=context.device, resume=resume)

    training = Training(context, WHITE_BOX)
    epochs = training.plan(
        lambda: affordable_epochs(
            start, WHITE_BOX_SECONDS, limits=(2, 2) if context.is_tiny else WHITE_BOX_EPOCHS, probes=2
        )
    )
    result = training.finish(lambda resume: start(epochs, resume), epochs=epochs)
    publish_white_box(result.checkpoint, context.work)
    white_box = place(load_white_box(context, images.num_classes), context.device)
    accuracies = {name: classify(white_box, images.splits[name], images.view).accuracy for name in SPLITS}
    return training.summary() | {f"{name}/accuracy": value for name, value in accuracies.items()}


def _loss(images_BCHW: Tensor, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits_BK.float(), labels_B)


def train_pair(context: Context, *, cell: tuple[str, str, Goal], data: _Data) -> dict[str, Any]:
    """Trains a pair of a cell of Table 1 by our recipe, and says what the paper printed for it."""
    option_set, level, goal = cell
    images = data.load()
    white_box = place(load_white_box(context, images.num_classes), context.device)

    def start(epochs: int, resume: Any) -> Any:
        recipe = PairRecipe(
            architecture=ARCHITECTURE,
            goal=goal,
            bit_widths=OPTION_SETS[option_set],
            budget=paper.total_bits(ARCHITECTURE, option_set, level),
            epochs=epochs,
            # Twice the paper's, and so half the launches, which are what a small image costs.
            batch_size=16 if context.is_tiny else 128,
            optimizer="sgd",
            # At 0.05 both pairs of the first run answered one class from the first epoch on.
            learning_rate=0.01,
            weight_decay=1e-4,
            augmentations=("padded_crop", "horizontal_flip", "mixup"),
        )
        return pair.train(recipe, images, white_box=white_box, seed=0, device=context.device, resume=resume)

    training = Training(context, f"{option_set}-{level} {goal}")
    epochs = training.plan(
        lambda: affordable_epochs(start, PAIR_SECONDS, limits=(1, 1) if context.is_tiny else PAIR_EPOCHS),
        shared_as="pairs",
    )
    result = training.finish(lambda resume: start(epochs, resume), epochs=epochs)
    allocations = result.predictions["bit_width"][result.predictions["split"] == 1].unique(dim=0)
    printed = paper.TABLE_1[(ARCHITECTURE, option_set, level)][0 if goal is Goal.ROBUST else 2 :][:2]
    found = {"allocations": len(allocations), "paper_fp_percent": printed[0], "paper_delta_pp": printed[1]}
    gap, drop = result.metrics["test/parity_gap"], -result.metrics["test/accuracy_delta"]
    return training.summary() | found | result.metrics | {"is_hit": gap <= 0.01 and drop >= 0.1}


def rescale(context: Context, *, data: _Data) -> dict[str, Any]:
    """Makes the white box fail without training."""
    images = data.load()
    start = time.time()
    rows = measure_rescaled(load_white_box(context, images.num_classes), images, context)
    return {"rows": rows, "seconds_of_all": time.time() - start}
