"""How bits are chosen by other means than the knapsack, against enumeration, scipy and the budget."""

import itertools
import math

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.names import SELECTIONS
from search_spaces.recipes import PairRecipe
from trainables.losses import hinge_detrimental, of_each, qu_anti_zation
from trainables.quant.allocation_distribution import AllocationDistribution
from trainables.quant.knapsack import select
from trainables.stages.selections.gumbel import gumbel_like
from trainables.stages.selections.penalty import distance
from trainables.stages.selections.registry import selection_of
from trainables.stages.selections.reinforce import advantages

RECIPE = PairRecipe(
    architecture="test_resnet",
    bit_widths=(3, 4, 6),
    budget=13,
    epochs=1,
    batch_size=2,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=0.0,
)
SITES = 3
OF_THE_BUDGET = [
    options
    for options in itertools.product(range(3), repeat=SITES)
    if sum(RECIPE.bit_widths[o] for o in options) == RECIPE.budget
]
"""3 + 4 + 6 in every order: the options of every allocation."""


def recipe(kind: str, **changes: object) -> PairRecipe:
    own = {"static": {"train": ["student"]}, "gumbel": {"profits": "logits"}, "reinforce": {"profits": "logits"}}
    return vary(RECIPE, selection=kind, **own.get(kind, {}), **changes)


def scores(num_images: int, *, seed: int = 0) -> Tensor:
    return torch.randn(num_images, SITES, 3, generator=torch.Generator().manual_seed(seed)).double()


def bits(selection_BLO: Tensor) -> Tensor:
    return (selection_BLO @ torch.tensor(RECIPE.bit_widths).to(selection_BLO)).sum(-1)


def log_weights(logits_LO: Tensor) -> Tensor:
    """Of every allocation of the budget, by its definition."""
    return torch.stack([sum(logits_LO[site, o] for site, o in enumerate(options)) for options in OF_THE_BUDGET])


@pytest.mark.parametrize("kind", [kind for kind in SELECTIONS if kind != "penalty"])
def test_every_image_spends_exactly_the_budget_in_training_and_in_evaluation(kind: str) -> None:
    selection = selection_of(recipe(kind))
    torch.manual_seed(0)
    scores_BLO = scores(50)
    drawn_BLO = selection.draw(scores_BLO).selection_BLO
    assert selection.is_exact
    assert drawn_BLO.unique().tolist() == [0, 1]
    assert bits(drawn_BLO).unique().tolist() == [RECIPE.budget]
    best_BLO = torch.nn.functional.one_hot(selection.best(scores_BLO), 3).double()
    assert bits(best_BLO).unique().tolist() == [RECIPE.budget]


def test_static_gives_all_images_the_most_even_bits_and_8_at_every_site_for_8_bits_per_site() -> None:
    even = selection_of(recipe("static", bit_widths=(3, 4, 5, 6, 7, 8), budget=8 * SITES)).best(scores(5))
    assert even.tolist() == [[5, 5, 5]] * 5
    spread = selection_of(recipe("static", bit_widths=(3, 4, 5, 6), budget=13)).best(scores(5))
    assert sorted(spread[0].tolist()) == [1, 1, 2]
    assert (spread == spread[0]).all()


def test_gumbel_noise_has_the_distribution_of_scipy() -> None:
    torch.manual_seed(1)
    found = scipy.stats.kstest(gumbel_like(torch.zeros(20_000)).numpy(), scipy.stats.gumbel_r.cdf)
    assert found.pvalue > 0.01


def test_gumbel_draws_an_allocation_as_often_as_scipy_integrates() -> None:
    # Two sites of two options: 3 + 4 wins over 4 + 3 where a difference of logits exceeds the noise of two logistics,
    # which are differences of two Gumbels each.
    lead = 0.7
    logits_BLO = torch.tensor([[[lead, 0.0], [0.0, 0.0]]]).expand(20_000, -1, -1)
    torch.manual_seed(2)
    drawn_BLO = selection_of(recipe("gumbel", bit_widths=(3, 4), budget=7)).draw(logits_BLO).selection_BLO
    logistic = scipy.stats.logistic
    expected, _ = scipy.integrate.quad(lambda u: logistic.pdf(u) * logistic.cdf(lead - u), -40, 40)
    count = int(drawn_BLO[:, 0, 0].sum())
    assert scipy.stats.binomtest(count, 20_000, expected).pvalue > 0.01


def test_gumbel_passes_the_gradient_of_the_noisy_softmax_on() -> None:
    logits_BLO, weight_BLO = scores(4).requires_grad_(), scores(4, seed=1)
    torch.manual_seed(3)
    (selection_of(recipe("gumbel")).draw(logits_BLO).selection_BLO * weight_BLO).sum().backward()
    torch.manual_seed(3)
    probs_BLO = torch.softmax(logits_BLO.detach() + gumbel_like(logits_BLO), -1)
    mean_BL1 = (probs_BLO * weight_BLO).sum(-1, keepdim=True)
    torch.testing.assert_close(logits_BLO.grad, probs_BLO * (weight_BLO - mean_BL1))


def test_the_penalty_takes_the_best_option_of_every_site_and_pulls_the_bits_to_the_budget() -> None:
    selection = selection_of(recipe("penalty", penalty_weight=2.0))
    scores_BLO = scores(6).requires_grad_()
    drawn = selection.draw(scores_BLO)
    assert not selection.is_exact
    assert drawn.selection_BLO.argmax(-1).equal(scores_BLO.argmax(-1))
    assert selection.best(scores_BLO).equal(scores_BLO.argmax(-1))
    (loss,) = drawn.losses(lambda: torch.zeros(6)).values()
    spent_B = bits(drawn.selection_BLO.detach())
    assert len(spent_B.unique()) > 1
    off_B = (spent_B - RECIPE.budget) / SITES
    assert loss.item() == pytest.approx(2 * off_B.square().mean().item())
    loss.backward()
    # d/d score of an option: 2 * weight * off * width / (images * sites).
    width_O = torch.tensor(RECIPE.bit_widths, dtype=torch.float64)
    expected_BLO = (4 * off_B[:, None, None] * width_O / (6 * SITES)).expand(-1, SITES, -1)
    torch.testing.assert_close(scores_BLO.grad, expected_BLO)


def test_the_distance_from_the_budget_is_0_on_it() -> None:
    assert distance(torch.eye(3)[None], RECIPE.bit_widths, RECIPE.budget).item() == 0


def test_the_distribution_of_a_budget_is_that_of_enumeration() -> None:
    logits_BLO = scores(2, seed=4)
    distribution = AllocationDistribution(logits_BLO, RECIPE.bit_widths, RECIPE.budget)
    for row in range(2):
        log_weight_A = log_weights(logits_BLO[row])
        assert distribution.log_normalizer_B[row].item() == pytest.approx(log_weight_A.logsumexp(0).item())
        for options, log_prob in zip(OF_THE_BUDGET, log_weight_A.log_softmax(0).tolist(), strict=True):
            found_B = distribution.log_prob(torch.tensor([options, options]))
            assert found_B[row].item() == pytest.approx(log_prob)


def test_allocations_are_drawn_as_often_as_enumeration_says() -> None:
    logits_LO = scores(1, seed=5)[0]
    torch.manual_seed(6)
    many_BLO = logits_LO.expand(20_000, -1, -1)
    drawn_BL = AllocationDistribution(many_BLO, RECIPE.bit_widths, RECIPE.budget).sample()
    counts = [int((drawn_BL == torch.tensor(options)).all(1).sum()) for options in OF_THE_BUDGET]
    expected = 20_000 * log_weights(logits_LO).softmax(0).numpy()
    assert sum(counts) == 20_000
    assert scipy.stats.chisquare(counts, expected * (20_000 / expected.sum())).pvalue > 0.01


def test_many_sites_have_as_many_allocations_as_are_counted() -> None:
    # With equal logits the normalizer is the number of allocations: 77 sites, 8 options.
    from search_spaces.budgets import count_allocations

    widths = tuple(range(3, 11))
    logits_BLO = torch.zeros(1, 77, 8)
    found = AllocationDistribution(logits_BLO, widths, 420).log_normalizer_B.item()
    assert found == pytest.approx(math.log(count_allocations(77, widths)[420]))


def test_reinforce_estimates_the_gradient_of_the_expected_cost_that_enumeration_gives() -> None:
    # The cost of an image is any number per allocation. Twelve images of the same logits and costs make a batch.
    cost_A = torch.tensor([0.3, 1.1, -0.4, 0.9, 0.2, 2.0], dtype=torch.float64)
    logits_LO = scores(1, seed=7)[0].requires_grad_()
    exact_LO = torch.autograd.grad((log_weights(logits_LO).softmax(0) * cost_A).sum(), logits_LO)[0]
    by_options = {options: cost for options, cost in zip(OF_THE_BUDGET, cost_A.tolist(), strict=True)}
    selection = selection_of(recipe("reinforce", hinge_weight=1.0))
    torch.manual_seed(8)
    estimates = []
    for _ in range(600):
        many_BLO = logits_LO.expand(12, -1, -1)
        drawn = selection.draw(many_BLO)
        assert not drawn.selection_BLO.requires_grad
        chosen = [tuple(row) for row in drawn.selection_BLO.argmax(-1).tolist()]
        costs_B = torch.tensor([by_options[options] for options in chosen], dtype=torch.float64)
        (loss,) = drawn.losses(lambda costs_B=costs_B: costs_B).values()
        estimates.append(torch.autograd.grad(loss, logits_LO)[0].numpy())
    mean, error = np.mean(estimates, axis=0), np.std(estimates, axis=0, ddof=1) / math.sqrt(len(estimates))
    z_scores = (mean - exact_LO.numpy()) / error
    assert np.abs(z_scores).max() < 4
    # Tight enough to tell: a wrong sign or a lost factor of two would be seen.
    assert np.abs(exact_LO.numpy() / error).max() > 20


def test_the_baseline_of_an_image_is_the_mean_of_the_others() -> None:
    cost_B = torch.tensor([2.0, 4.0, 9.0])
    assert advantages(cost_B).tolist() == pytest.approx([2 - 6.5, 4 - 5.5, 9 - 3.0])


@pytest.mark.parametrize("kind", ["knapsack", "gumbel", "reinforce"])
def test_evaluation_takes_the_most_profitable_allocation(kind: str) -> None:
    scores_BLO = scores(20)
    best = select(scores_BLO, RECIPE.bit_widths, RECIPE.budget)
    assert selection_of(recipe(kind)).best(scores_BLO).equal(best)


def test_the_loss_of_each_example_has_the_loss_of_all_as_its_mean() -> None:
    torch.manual_seed(9)
    probs_BK, logits_BK = torch.randn(8, 5).softmax(-1), torch.randn(8, 5)
    each_B = of_each(hinge_detrimental, probs_BK, logits_BK, margin=0.3)
    assert each_B.shape == (8,)
    assert each_B.mean().item() == pytest.approx(hinge_detrimental(probs_BK, logits_BK, margin=0.3).item())


def test_the_loss_of_qu_anti_zation_is_the_squared_distance_of_the_cross_entropy_from_5() -> None:
    torch.manual_seed(10)
    student_BK, teacher_BK = torch.randn(8, 5), torch.randn(8, 5)
    entropy = torch.nn.functional.cross_entropy(student_BK, teacher_BK.argmax(-1))
    found = qu_anti_zation(student_BK.softmax(-1), teacher_BK, margin=0.0)
    assert found.item() == pytest.approx((entropy.item() - 5) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"selection": "static"}, r"set train to \[student\]"),
        ({"selection": "gumbel"}, "set profits to logits"),
        ({"selection": "reinforce"}, "set profits to logits"),
        ({"penalty_weight": 2.0}, "set selection to penalty"),
    ],
)
def test_a_selection_without_what_it_needs_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        vary(RECIPE, **changes)


def test_the_knapsack_spelled_out_is_the_recipe_without_a_selection() -> None:
    assert vary(RECIPE, selection="knapsack", option_gradient="plain") == RECIPE
