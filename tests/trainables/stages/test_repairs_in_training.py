"""Pairs that are trained against a repair: it is applied as it will be, and full precision stays what it is."""

import copy

import pytest
import torch
from torch import Tensor

from search_spaces.budgets import check_spared
from search_spaces.errors import ConfigError
from search_spaces.model import vary
from search_spaces.recipes import PairRecipe
from tests.trainables.models.networks import create, noise
from trainables.assessment.channel_scan import channel_maxima
from trainables.data.images import ImageData
from trainables.models.equalization import Equalizer, equalize
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent
from trainables.stages import pair
from trainables.stages.pair import Pair
from trainables.training_loop import finish

RECIPE = PairRecipe(
    architecture="test_resnet", budget=82, epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.05, weight_decay=0
)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "mobilenetv4_conv_small_035"])
def test_the_equalizer_leaves_the_weights_that_equalization_of_a_copy_does(architecture: str) -> None:
    model, images = create(architecture), noise()
    for link in find_links(model)[::5]:
        rescale(model, link, 2, 2.0**7)
    before, expected = model(images), equalize(model, images).model.state_dict()
    equalizer = Equalizer(model)
    equalizer.apply()
    assert model(images).equal(before)
    assert all(tensor.equal(expected[name]) for name, tensor in model.state_dict().items())
    once = copy.deepcopy(model.state_dict())
    equalizer.apply()
    assert all(tensor.equal(once[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "mobilenetv4_conv_small_035"])
def test_by_data_the_equalizer_does_what_equalization_of_a_copy_does(architecture: str) -> None:
    model, images = create(architecture), noise(4)
    student = QuantizedStudent(model)
    maxima = {site: each.amax(0) for site, each in channel_maxima(student, [images]).items()}
    before, expected = model(images), equalize(model, images, channel_maxima=maxima).model.state_dict()
    Equalizer(model).apply(maxima)
    assert model(images).equal(before)
    assert all(tensor.equal(expected[name]) for name, tensor in model.state_dict().items())
    weights_only = equalize(create(architecture), images).model.state_dict()
    # Of the transformer both find the same.
    is_same = all(tensor.equal(weights_only[name]) for name, tensor in model.state_dict().items())
    assert is_same == (architecture == "test_vit")


def test_a_pair_trained_against_equalization_by_data_is_equalized_on_the_batch_of_the_step(
    few_digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[int, Tensor] | None] = []
    monkeypatch.setattr(Equalizer, "apply", lambda self, maxima=None: calls.append(maxima))
    for by in ("data", "weights"):
        calls.clear()
        finish(pair.train(vary(RECIPE, equalized=by), few_digits, white_box=_ten_classes(create("test_resnet"))))
        # 128 images in batches of 64.
        assert len(calls) == 2
        assert [maxima is None for maxima in calls] == [by == "weights"] * 2
        assert all(len(maxima) == 15 for maxima in calls if maxima is not None)


def test_the_equalizer_leaves_the_mode_of_the_network() -> None:
    model = create("test_resnet").train()
    Equalizer(model)
    assert all(module.training for module in model.modules())


def test_a_pair_trained_against_equalization_is_one_that_equalization_leaves_alone(few_digits: ImageData) -> None:
    white_box = create("test_resnet")
    recipe = vary(RECIPE, equalized="weights")
    kept = finish(pair.train(recipe, few_digits, white_box=_ten_classes(white_box))).checkpoint
    student = Pair(_ten_classes(white_box), recipe).student
    student.model.load_state_dict({name[8:]: tensor for name, tensor in kept.items() if name.startswith("student.")})
    assert equalize(student.model.eval(), noise()).channels == ()
    free = finish(pair.train(RECIPE, few_digits, white_box=_ten_classes(white_box))).checkpoint
    student.model.load_state_dict({name[8:]: tensor for name, tensor in free.items() if name.startswith("student.")})
    assert equalize(student.model.eval(), noise()).channels != ()


def test_a_step_spares_so_many_sites_drawn_anew_and_an_evaluation_none() -> None:
    built = Pair(create("test_resnet"), vary(RECIPE, spared_sites=4))
    built.student.eval()
    images = noise(2)
    selection_BLO = built.draw(images).selection_BLO.detach()

    def spared() -> list[int]:
        # A site at full precision gives its options no gradient.
        leaf = selection_BLO.clone().requires_grad_()
        built.run_options(images, leaf).sum().backward()
        return torch.nonzero((leaf.grad == 0).all(-1).all(0)).flatten().tolist()

    torch.manual_seed(0)
    draws = [spared() for _ in range(4)]
    assert [len(draw) for draw in draws] == [4] * 4
    assert len({tuple(draw) for draw in draws}) > 1
    whole = Pair(create("test_resnet"), RECIPE)
    whole.load_state_dict(built.state_dict())
    bits_BL = built.bit_widths(images)
    assert built.student(images, bits_BL).equal(whole.student.eval()(images, bits_BL))


def test_spared_sites_are_at_full_precision() -> None:
    built = Pair(create("test_resnet"), vary(RECIPE, spared_sites=14, weight_bit_width=None))
    built.student.eval()
    images = noise(2)
    torch.manual_seed(1)
    (left,) = set(range(15)) - set(torch.randperm(15)[:14].tolist())
    drawn = built.draw(images)
    bits_BL = torch.zeros(2, 15, dtype=torch.int64)
    bits_BL[:, left] = built.bit_widths(images)[:, left]
    torch.manual_seed(1)
    torch.testing.assert_close(built.run_options(images, drawn.selection_BLO), built.student(images, bits_BL))


def test_sparing_all_sites_is_refused() -> None:
    with pytest.raises(ConfigError, match="spared_sites=15 leaves none of the 15 sites to quantize: give 14 at most"):
        check_spared(15, 15)
    with pytest.raises(ConfigError, match="leaves none"):
        Pair(create("test_resnet"), vary(RECIPE, spared_sites=15))


def test_equalizing_a_student_that_does_not_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="equalized=weights: the student does not learn"):
        vary(RECIPE, equalized="weights", train=["policy"])


def test_equalization_by_data_of_a_network_quantized_at_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="equalized=data with sites=inputs"):
        vary(RECIPE, equalized="data", sites="inputs")


def test_no_repair_spelled_out_is_the_recipe_without_one() -> None:
    assert vary(RECIPE, equalized=None, spared_sites=0) == RECIPE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "nothing"),
        ({"range_scope": "channel"}, "ranges per channel"),
        ({"scale_quantile": 0.99, "equalized": "weights"}, "ranges to the 0.99 quantile, equalization"),
        ({"equalized": "data"}, "equalization by data"),
        ({"spared_sites": 2}, "2 spared sites"),
    ],
)
def test_a_recipe_names_the_repairs_that_its_training_knows(changes: dict[str, object], words: str) -> None:
    assert vary(RECIPE, **changes).trained_against == words


def _ten_classes(model: torch.nn.Module) -> torch.nn.Module:
    """Gives a network the number of classes of digits."""
    copied = copy.deepcopy(model)
    copied.fc = torch.nn.Linear(model.fc.in_features, 10)
    weight: Tensor = copied.fc.weight
    torch.nn.init.constant_(weight, 0.01)
    return copied
