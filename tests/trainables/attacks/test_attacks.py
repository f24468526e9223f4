"""Attacks against brute force on a small network, and what every allocation must hold."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.budgets import count_allocations
from search_spaces.errors import InfeasibleBudgetError
from trainables.attacks.per_image import worst_per_image, worst_random_per_image
from trainables.attacks.scores import GradientScores, Loss, MeasuredScores, losses
from trainables.attacks.space import Space
from trainables.attacks.static import best_static, worst_static
from trainables.attacks.uniform import uniform
from trainables.data.augment import evaluation_batch
from trainables.data.images import ImageData
from trainables.data.view import View
from trainables.quant.quantizable import Differentiable, Quantizable
from trainables.quant.student import QuantizedStudent

OPTIONS = (1, 2, 4)
SPACE = Space(num_sites=4, bit_widths=OPTIONS, budget=8)


@dataclass(frozen=True)
class Small:
    network: QuantizedStudent
    images: Tensor
    labels_B: Tensor


@pytest.fixture(scope="module")
def small(digits: ImageData) -> Small:
    """A network with 4 sites, trained for seconds, and test digits."""
    torch.manual_seed(0)
    channels = (3, 8, 16, 16, 16)
    layers = [
        layer
        for before, after in itertools.pairwise(channels)
        for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())
    ]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    train, test = digits.splits["train"], digits.splits["test"]
    images, labels_B = evaluation_batch(train.images_BCHW, View(32, 32)), train.labels_B
    for _ in range(6):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), labels_B[rows]).backward()
            optimizer.step()
    network = QuantizedStudent(model.eval().requires_grad_(False))
    return Small(network, evaluation_batch(test.images_BCHW[:120], View(32, 32)), test.labels_B[:120])


def all_allocations(space: Space) -> Tensor:
    every = itertools.product(space.bit_widths, repeat=space.num_sites)
    return torch.tensor([row for row in every if sum(row) == space.budget])


@torch.no_grad()
def predictions(network: Quantizable, images: Tensor, bit_width_L: Tensor) -> Tensor:
    return network(images, bit_width_L.expand(len(images), -1)).argmax(1)


class ForwardOnly:
    """A network without gradients and without anything else than what `Quantizable` asks for."""

    def __init__(self, network: QuantizedStudent) -> None:
        self._network, self.sites, self.num_sites = network, network.sites, network.num_sites
        self.num_images = 0

    def __call__(self, images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        self.num_images += len(images)
        return self._network(images, bit_width_BL)

    observe = None


def test_a_student_is_quantizable_and_differentiable(small: Small) -> None:
    network: Differentiable = small.network
    assert network.num_sites == len(network.sites) == 4


def test_worst_per_image_breaks_what_brute_force_breaks(small: Small) -> None:
    is_broken_B = torch.stack(
        [predictions(small.network, small.images, row) != small.labels_B for row in all_allocations(SPACE)]
    ).any(0)
    assert 0.2 < is_broken_B.float().mean() < 0.95, "nothing to be found"
    found = worst_per_image(small.network, small.images, small.labels_B, SPACE)
    agrees_B = (found.predictions_B != small.labels_B) == is_broken_B
    assert agrees_B.float().mean() >= 0.98


def test_worst_per_image_finds_more_than_as_many_random_draws(small: Small) -> None:
    space = Space(num_sites=4, bit_widths=tuple(range(1, 9)), budget=14)
    arguments = (small.network, small.images, small.labels_B, space)
    searched, drawn = worst_per_image(*arguments, max_passes=60), worst_random_per_image(*arguments, num_draws=60)
    right_after = [(each.predictions_B == small.labels_B).sum() for each in (searched, drawn)]
    assert right_after[0] < right_after[1]


@pytest.mark.parametrize("scored", [False, True])
def test_what_is_found_keeps_the_budget_is_repeatable_and_true(small: Small, scored: bool) -> None:
    scorer = GradientScores(small.network, OPTIONS, "lead") if scored else None
    first, second = (
        worst_per_image(small.network, small.images, small.labels_B, SPACE, scorer=scorer, max_passes=40, seed=3)
        for _ in range(2)
    )
    assert first.bit_width_BL.equal(second.bit_width_BL)
    assert first.bit_width_BL.sum(1).eq(SPACE.budget).all()
    assert torch.isin(first.bit_width_BL, torch.tensor(OPTIONS)).all()
    with torch.no_grad():
        logits_BK = small.network(small.images, first.bit_width_BL)
    assert first.predictions_B.equal(logits_BK.argmax(1))
    is_broken_B = first.predictions_B != small.labels_B
    assert first.passes_B.max() <= 40
    assert first.passes_B[is_broken_B].min() <= 5, "an image that is broken leaves"


def test_passes_are_counted_as_they_happen_and_forward_is_all_that_is_needed(small: Small) -> None:
    network = ForwardOnly(small.network)
    shares: list[float] = []
    found = worst_per_image(
        network, small.images, small.labels_B, SPACE, max_passes=30, batch_size=50, on_progress=shares.append
    )
    assert network.num_images == found.passes_B.sum()
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_gradient_scores_are_the_change_that_fine_steps_make(small: Small) -> None:
    # First order: the steps must be small, and those of the sites that follow far smaller.
    options = (8, 9, 16)
    images, labels_B = small.images[:40], small.labels_B[:40]
    bit_width_BL = torch.full((40, 4), 16)
    names: tuple[Loss, ...] = ("cross_entropy", "lead")
    for loss in names:
        estimated, measured = (
            kind(small.network, options, loss)(images, labels_B, bit_width_BL)
            for kind in (GradientScores, MeasuredScores)
        )
        assert estimated[:, :, 2].eq(0).all()
        assert measured[:, :, 2].eq(0).all()
        correlation = torch.corrcoef(torch.stack([estimated.flatten(), measured.flatten()]))[0, 1]
        assert correlation > 0.95
        assert (estimated - measured).abs().mean() < 0.1 * measured.abs().mean()


def test_measured_scores_are_the_loss_at_the_changed_allocation(small: Small) -> None:
    images, labels_B = small.images[:6], small.labels_B[:6]
    bit_width_BL = all_allocations(SPACE)[:6]
    scorer = MeasuredScores(small.network, OPTIONS)
    score_BLO = scorer(images, labels_B, bit_width_BL)

    @torch.no_grad()
    def loss_of(image: int, bit_width_L: Tensor) -> Tensor:
        return losses(small.network(images[image, None], bit_width_L[None]), labels_B[image, None], "cross_entropy")[0]

    for image, site, option in itertools.product(range(6), range(4), range(3)):
        changed_L = bit_width_BL[image].clone()
        changed_L[site] = OPTIONS[option]
        expected = loss_of(image, changed_L) - loss_of(image, bit_width_BL[image])
        assert score_BLO[image, site, option] == pytest.approx(float(expected), abs=1e-5)
    assert scorer.num_passes == 1 + 4 * 2


@pytest.mark.parametrize("scored", [True, False])
def test_best_and_worst_static_are_those_of_brute_force(small: Small, scored: bool) -> None:
    accuracies = [
        float((predictions(small.network, small.images, row) == small.labels_B).double().mean())
        for row in all_allocations(SPACE)
    ]
    batches = list(zip(small.images.split(50), small.labels_B.split(50), strict=True))
    scorer = GradientScores(small.network, OPTIONS) if scored else None
    best, worst = (find(small.network, batches, SPACE, scorer) for find in (best_static, worst_static))
    assert best.accuracy == pytest.approx(max(accuracies))
    assert worst.accuracy == pytest.approx(min(accuracies))
    for found in (best, worst):
        here = (predictions(small.network, small.images, found.bit_width_L) == small.labels_B).double().mean()
        assert found.accuracy == pytest.approx(float(here))
        assert int(found.bit_width_L.sum()) == SPACE.budget


@pytest.mark.parametrize("max_passes", [1, 5])
def test_best_static_is_never_worse_than_uniform_and_worst_never_better(small: Small, max_passes: int) -> None:
    batches = [(small.images, small.labels_B)]
    scorer = GradientScores(small.network, OPTIONS)
    best, worst = (
        find(small.network, batches, SPACE, scorer, max_passes=max_passes) for find in (best_static, worst_static)
    )
    same = predictions(small.network, small.images, uniform(1, SPACE)[0]) == small.labels_B
    assert worst.accuracy <= float(same.double().mean()) <= best.accuracy
    assert best.passes <= max_passes


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    widths = tuple(sorted(draw(st.sets(st.integers(1, 12), min_size=1, max_size=5))))
    num_sites = draw(st.integers(1, 9))
    return Space(
        num_sites=num_sites,
        bit_widths=widths,
        budget=draw(st.sampled_from(sorted(count_allocations(num_sites, widths)))),
    )


@given(space=spaces(), seed=st.integers(0, 2**31))
@hypothesis_settings(max_examples=60)
def test_every_step_stays_in_the_space(space: Space, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    score_BLO = torch.randn(5, space.num_sites, len(space.bit_widths), generator=generator)
    around_BL = uniform(5, space)
    near_BL = space.best(score_BLO, around_BL, radius=1)
    assert (near_BL - around_BL).abs().max() <= 1
    moved_BL = space.transfer(near_BL, score_BLO, generator)
    assert ((moved_BL != near_BL).sum(1) <= 2).all()
    for each in (around_BL, near_BL, moved_BL, space.best(score_BLO)):
        assert each.sum(1).eq(space.budget).all()
        assert torch.isin(each, torch.tensor(space.bit_widths)).all()


@given(space=spaces())
@hypothesis_settings(max_examples=60)
def test_uniform_is_the_most_even_of_all(space: Space) -> None:
    if len(space.bit_widths) ** space.num_sites > 5000:
        return
    squares = all_allocations(space).square().sum(1)
    assert uniform(2, space).square().sum(1).eq(squares.min()).all()


def test_transfers_reach_every_pair_of_sites() -> None:
    space = Space(num_sites=3, bit_widths=(3, 4, 5), budget=12)
    moved_BL = space.transfer(uniform(300, space), torch.zeros(300, 3, 3), torch.Generator().manual_seed(0))
    assert {tuple(row) for row in moved_BL.tolist()} == set(itertools.permutations((3, 4, 5)))


def test_a_transfer_prefers_what_is_predicted_to_gain() -> None:
    space = Space(num_sites=3, bit_widths=(3, 4, 5), budget=12)
    score_BLO = torch.zeros(300, 3, 3)
    score_BLO[:, 0, 2] = score_BLO[:, 2, 0] = 1.0
    moved_BL = space.transfer(uniform(300, space), score_BLO, torch.Generator().manual_seed(0))
    assert (moved_BL == torch.tensor([5, 4, 3])).all(1).float().mean() > 0.4


def test_a_budget_without_an_allocation_is_refused() -> None:
    with pytest.raises(InfeasibleBudgetError, match="nearest feasible budget is 6"):
        Space(num_sites=3, bit_widths=(2, 4), budget=5)
