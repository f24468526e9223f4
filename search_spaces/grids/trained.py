"""What `assess --train` trains: at every budget a policy for the network as it is, robust and detrimental, and a pair.

Each is a trial of the stage `pair` whose white box is the network that is assessed, with the recipe of the grid
`families` at half its learning rate; the same training in a grid has the same uid. What it answers on the test images
becomes a rung.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from search_spaces.errors import ConfigError
from search_spaces.grids.layers import TemplateStack
from search_spaces.grids.named import FAMILIES
from search_spaces.grids.overrides import parse_assignments
from search_spaces.grids.template import Template
from search_spaces.model import Frozen
from search_spaces.models import ModelSpec
from search_spaces.names import Goal
from search_spaces.recipes import WHOLE_PAIR, PairPart, PairRecipe
from search_spaces.stages.assessment import Ladder

TrainedRungName = Literal["policy_robust", "policy_detrimental", "pair"]
TRAINED: dict[TrainedRungName, tuple[Goal, tuple[PairPart, ...]]] = {
    "policy_robust": (Goal.ROBUST, ("policy",)),
    "policy_detrimental": (Goal.DETRIMENTAL, ("policy",)),
    "pair": (Goal.DETRIMENTAL, WHOLE_PAIR),
}
"""Goal and trained parts of every rung; what is not trained stays as it is given."""
NUM_STEPS = 560
"""Steps of every training unless the user says otherwise: those of `families` on digits, 28 epochs of 20."""
# Of a white box at 99.2 % on digits, the rate of `families` (0.06) costs 29.5 points of full precision at 5.5 bits per
# site, and this one 0.6 at a drop of 88.9.
RECIPE = Template(name="assess", pair=FAMILIES.pair | {"learning_rate": 0.03})
_BATCH_SIZE: int = RECIPE.pair["batch_size"]


class TrainedRung(Frozen):
    """One training, which becomes a rung."""

    rung: TrainedRungName
    recipe: PairRecipe


class Trainings(Frozen):
    """All trainings of an assessment."""

    rungs: tuple[TrainedRung, ...]
    class_names: tuple[str, ...]
    """Of the data, which are the network's."""


class TrainingData(Frozen):
    """What is known of the images to train on before they are read."""

    num_images: int
    """Training images, without those of the validation split."""
    class_names: tuple[str, ...]


def check_trainable(model: ModelSpec, *, has_labels: bool, equalize: bool) -> None:
    """Makes sure that a network can be trained, before it is opened.

    Raises:
        ConfigError: It is an ONNX file, the labels do not count, or another network than the given one is assessed.
    """
    if model.kind == "onnx":
        raise ConfigError(
            f"--train needs gradients, and {model.uri} is an ONNX file, which has none: give the network from before "
            "the export."
        )
    if not has_labels:
        raise ConfigError("--train counts by the labels of the data, and --labels none ignores them: leave one out.")
    if equalize:
        raise ConfigError("--train starts from the network as it is, and --equalize rewrites it: leave one out.")


def trainings(
    model: ModelSpec, architecture: str, ladders: Sequence[Ladder], data: TrainingData, overrides: Sequence[str]
) -> Trainings:
    """Returns the trainings of an assessment, budgets in the order of the ladders.

    Args:
        model: The network, with the checksum of its weights.
        architecture: Its name for people.
        ladders: Budgets and options.
        data: To train on.
        overrides: Assignments such as `pair.epochs=8`, in place of the recipe's values.

    Raises:
        ConfigError: An assignment breaks a rule, or there are fewer images than a batch takes.
    """
    stack = TemplateStack(template=RECIPE, options=(("--set ", parse_assignments(overrides)),))
    for stage in ("dataset", "teacher", "distill"):
        stack.check_not_said(stage, "an assessment trains pairs only; its images have options of their own")
    rungs = [
        TrainedRung(rung=name, recipe=recipe)
        for ladder in ladders
        for name, recipe in _recipes(stack, model, architecture, ladder, default_epochs(data.num_images))
    ]
    largest = max((each.recipe.batch_size for each in rungs), default=0)
    if largest > data.num_images:
        raise ConfigError(
            f"--train takes {largest} images per step, and the data has {data.num_images} to train on: give more, or "
            "smaller batches with --set pair.batch_size=N."
        )
    return Trainings(rungs=tuple(rungs), class_names=data.class_names)


def default_epochs(num_images: int) -> int:
    """Returns the epochs that make about `NUM_STEPS` steps, one at least.

    Examples:
        >>> default_epochs(1295), default_epochs(45_000), default_epochs(70)
        (28, 1, 560)
    """
    return max(1, round(NUM_STEPS / max(1, num_images // _BATCH_SIZE)))


def _recipes(
    stack: TemplateStack, model: ModelSpec, architecture: str, ladder: Ladder, epochs: int
) -> Iterator[tuple[TrainedRungName, PairRecipe]]:
    for name, (goal, parts) in TRAINED.items():
        recipe = stack.recipe(
            PairRecipe,
            "pair",
            goal=goal,
            architecture=architecture,
            bit_widths=ladder.bit_widths,
            budget=ladder.budget,
            white_box=model,
            epochs=epochs,
            train=parts,
        )
        if recipe.train != parts:
            raise ConfigError("--set pair.train is for the rungs to set: each trains parts of its own.")
        yield name, recipe
