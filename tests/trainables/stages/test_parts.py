"""Parts of a network that learn at a pace of their own, against numbers computed by hand."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe, TrainingRecipe
from trainables.checkpoints import ResumePoint
from trainables.models.backbones import create_backbone
from trainables.optim import Part
from trainables.stages.pair import Pair
from trainables.training_loop import run_epochs

RECIPE = TrainingRecipe(
    architecture="none",
    epochs=4,
    batch_size=2,
    optimizer="sgd",
    learning_rate=0.1,
    final_learning_rate=0.1,
    momentum=0.5,
    weight_decay=0.0,
)


class Two(nn.Module):
    """Two parts of two values each."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.other = nn.Parameter(torch.zeros(2, dtype=torch.float64))


def train(recipe: TrainingRecipe, module: Two, clip: float | None, part: Part, resume: ResumePoint | None = None):
    # The gradients are (3, 4) and (6, 8), of norms 5 and 10.
    direction = torch.tensor([3.0, 4.0], dtype=torch.float64)

    def step(positions_B: Tensor) -> dict[str, Tensor]:
        return {"loss": (module.one @ direction) + 2 * (module.other @ direction)}

    run = run_epochs(
        recipe, module, step, num_images=2, evaluate=dict, seed=0, gradient_clip=clip, parts=[part], resume=resume
    )
    return [report.snapshot() for report in run]


@pytest.mark.parametrize(
    ("rate", "own", "clip", "moves"),
    [
        # Without a clip of its own the norm of both is sqrt(125) = 11.18.
        (1.0, None, 11.18033988749895, ([0.3, 0.4], [0.6, 0.8])),
        (2.0, None, 5.590169943749475, ([0.15, 0.2], [0.6, 0.8])),
        # Each by itself: the other's size no longer shortens the first.
        (1.0, 5.0, 5.0, ([0.3, 0.4], [0.3, 0.4])),
        (1.0, 20.0, 2.5, ([0.15, 0.2], [0.6, 0.8])),
        (0.5, 1.0, None, ([0.3, 0.4], [0.03, 0.04])),
    ],
)
def test_a_part_has_its_own_rate_and_clip(rate: float, own: float | None, clip: float | None, moves: tuple) -> None:
    module = Two()
    part = Part(parameters=[module.other], rate_factor=rate, gradient_clip=own)
    train(vary(RECIPE, epochs=1), module, clip, part)
    assert (-module.one).tolist() == pytest.approx(moves[0], abs=1e-5)
    assert (-module.other).tolist() == pytest.approx(moves[1], abs=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_training_with_a_part_goes_on_as_an_undisturbed_one(optimizer: str) -> None:
    recipe = vary(RECIPE, optimizer=optimizer)
    whole, resumed = Two(), Two()
    points = train(recipe, whole, 1.0, Part(parameters=[whole.other], rate_factor=3.0, gradient_clip=0.5))
    part = Part(parameters=[resumed.other], rate_factor=3.0, gradient_clip=0.5)
    train(recipe, resumed, 1.0, part, ResumePoint.from_bytes(points[1].to_bytes(), source="a test"))
    assert resumed.one.tolist() == whole.one.tolist()
    assert resumed.other.tolist() == whole.other.tolist()


PAIR = PairRecipe(
    architecture="test_resnet", budget=82, epochs=1, batch_size=2, optimizer="sgd", learning_rate=0.02, weight_decay=0.0
)


def test_a_policy_of_its_own_pace_is_a_part_and_any_other_is_none() -> None:
    white_box = create_backbone("test_resnet", 10)
    assert Pair(white_box, PAIR).parts() == []
    pair = Pair(white_box, vary(PAIR, policy_learning_rate=0.06, policy_gradient_clip=0.5))
    (part,) = pair.parts()
    assert part.rate_factor == pytest.approx(3)
    assert part.gradient_clip == 0.5
    assert list(map(id, part.parameters)) == list(map(id, pair.policy.parameters()))


@pytest.mark.parametrize("field", ["policy_learning_rate", "policy_gradient_clip"])
def test_a_pace_of_a_policy_that_does_not_learn_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}=0.5: the policy does not learn"):
        vary(PAIR, train=["student"], **{field: 0.5})
