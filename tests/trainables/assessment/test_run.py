"""The Python interface, and what the steps of an assessment keep for going on."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError
from search_spaces.stages.assessment import LADDER_RUNGS, NETWORK_STEPS, Ladder
from trainables.assessment.ladder import draw
from trainables.assessment.parts import Part, run_part, steps_of
from trainables.assessment.record import Assessment
from trainables.assessment.run import assess
from trainables.assessment.subject import Images, Subject, quantizable
from trainables.models.links import find_links, rescale

NUM_SITES, BUDGET = 2, 9
OPTIONS = (3, 4, 5, 6)


class Stripes(nn.Module):
    """Tells horizontal from vertical stripes, exactly, with two sites."""

    def __init__(self) -> None:
        super().__init__()
        self.edges, self.mix = nn.Conv2d(3, 2, 3, bias=False), nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, 2)
        torch.manual_seed(0)
        with torch.no_grad():
            kernel = torch.tensor([[-1.0, -1, -1], [2, 2, 2], [-1, -1, -1]])
            self.edges.weight.copy_(torch.stack([kernel, kernel.T])[:, None].repeat(1, 3, 1, 1) / 3)
            self.mix.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0.5, 0], [0, 0.5]])[:, :, None, None])
            self.mix.bias.zero_()
            self.head.weight.copy_(torch.tensor([[1.0, -1, 1, -1], [-1, 1, -1, 1]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.mix(torch.relu(self.edges(x))))
        return self.head(x.mean((2, 3)))


def stripes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images of both classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(count) % 2
    rows_11HW = ((torch.arange(8) % 2) * 2.0 - 1)[None, None, :, None].expand(1, 3, 8, 8)
    images_BCHW = torch.cat([rows_11HW if label == 0 else rows_11HW.mT for label in labels_B.tolist()])
    return images_BCHW + 0.6 * torch.randn(count, 3, 8, 8, generator=generator), labels_B


@pytest.fixture(scope="module")
def found() -> Assessment:
    images_BCHW, labels_B = stripes(60, seed=0)
    return assess(Stripes(), images_BCHW, labels_B, budgets=[BUDGET], bit_widths=OPTIONS, draws=3, max_passes=25)


def subject() -> Subject:
    device = torch.device("cpu")
    network = quantizable(Stripes(), weight_bit_width=16, device=device)
    images = [Images.of_tensors(*stripes(count, seed), device) for count, seed in ((20, 1), (30, 2))]
    return Subject(network=network, selection=images[0], test=images[1], class_names=("rows", "columns"))


def test_five_lines_of_python_give_the_ladder_a_verdict_and_the_network_as_it_was() -> None:
    model, (images_BCHW, labels_B) = Stripes(), stripes(60, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    steps: list[str] = []
    found = assess(
        model, images_BCHW, labels_B, budgets=[6], bit_widths=OPTIONS, draws=2, max_passes=5,
        class_names=["rows", "columns"], on_step=lambda step: steps.append(step.name),
    )  # fmt: skip
    assert [rung.rung for rung in found.rungs] == ["fp", "int8", *LADDER_RUNGS]
    assert steps == [*NETWORK_STEPS, *LADDER_RUNGS]
    assert found.rung("fp").accuracy == 1.0
    assert set(found.rung("fp").class_shares) == {"rows", "columns"}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


def test_the_ladder_goes_from_benign_to_hostile(found: Assessment) -> None:
    drops = {rung.rung: rung.drop for rung in found.rungs}
    assert drops["best_static"] <= drops["worst_static"] <= drops["worst_per_image"]
    assert drops["random"] <= drops["worst_random_per_image"] <= drops["worst_per_image"]
    assert found.num_images == 42
    assert found.rung("random").draws == 3


def test_without_labels_right_is_what_the_network_answers_at_full_precision() -> None:
    images_BCHW, labels_B = stripes(40, seed=3)
    wrong = assess(Stripes(), images_BCHW, 1 - labels_B, budgets=[6], bit_widths=OPTIONS, draws=2, max_passes=3)
    none = assess(Stripes(), images_BCHW, None, budgets=[6], bit_widths=OPTIONS, draws=2, max_passes=3)
    assert (wrong.rung("fp").accuracy, none.rung("fp").accuracy) == (0.0, 1.0)
    assert none.labels == "none"


def test_every_random_draw_meets_the_budget_and_the_worst_per_image_is_the_draw_of_the_smallest_lead() -> None:
    ladder, part, seen = Ladder(budget=BUDGET, bit_widths=OPTIONS, draws=4, max_passes=3), Part(BUDGET), subject()
    list(run_part(seen, ladder, part, seed=7, scanned_images=10))
    draws = torch.stack([draw(seen, ladder, 7, number) for number in range(4)])
    assert (draws.sum(2) == BUDGET).all()
    chosen, leads_DB = part.rungs["worst_random_per_image"], part.rungs["random"].leads_DB
    assert torch.equal(chosen.leads_DB[0], leads_DB.amin(0))
    assert chosen.bit_width_BL is not None
    assert torch.equal(chosen.bit_width_BL, draws[leads_DB.argmin(0), torch.arange(30)])


def test_with_ranges_over_a_batch_every_rung_is_what_the_images_answer_together() -> None:
    ladder, part = Ladder(budget=6, bit_widths=(2, 3, 4), draws=4, max_passes=12), Part(6)
    device = torch.device("cpu")
    network = quantizable(Stripes(), weight_bit_width=16, device=device, range_scope="batch")
    seen = replace(subject(), network=network)
    list(run_part(seen, ladder, part, seed=1, scanned_images=10))
    for measured in part.rungs.values():
        if measured.bit_width_BL is not None:
            with torch.no_grad():
                together_BK = network(seen.test.all(), measured.bit_width_BL)
            assert torch.equal(measured.predictions_DB[0], together_BK.argmax(1))


def test_an_assessment_says_where_it_quantized_and_what_shared_a_range() -> None:
    images_BCHW, labels_B = stripes(40, seed=3)
    found = assess(
        Stripes(), images_BCHW, labels_B, budgets=[9], bit_widths=OPTIONS, draws=2, max_passes=3,
        sites="inputs", range_scope="batch",
    )  # fmt: skip
    assert (found.sites, found.range_scope, found.num_sites) == ("inputs", "batch", 3)
    assert found.rung("int8").budget == 24


@pytest.mark.parametrize("ladder", [None, Ladder(budget=BUDGET, bit_widths=OPTIONS, draws=2, max_passes=3)])
def test_a_part_that_goes_on_from_any_step_ends_like_one_that_never_stopped(ladder: Ladder | None) -> None:
    def finish(part: Part, num_done: int) -> Iterator[dict[str, Tensor]]:
        for _ in run_part(subject(), ladder, part, seed=0, scanned_images=10, num_done=num_done):
            yield {name: tensor.clone() for name, tensor in part.tensors().items()}

    budget = ladder.budget if ladder else None
    states = list(finish(Part(budget), 0))
    for num_done, state in enumerate(states[:-1], start=1):
        # A file may return its tensors in any order.
        shuffled = dict(sorted(state.items(), reverse=True))
        part = Part.from_tensors(shuffled, budget)
        resumed = list(finish(part, num_done))[-1]
        assert resumed.keys() == states[-1].keys()
        assert list(part.rungs) == [step for step in steps_of(ladder) if step in part.rungs]
        # Tables hold the time of nothing, so that they are equal to the byte.
        assert all(torch.equal(resumed[name], states[-1][name]) for name in resumed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda images, labels: (images[:, :1], labels), "shape \\[B, 3, H, W\\]"),
        (lambda images, labels: ((images * 9).byte(), labels), "floating, normalized"),
        (lambda images, labels: (images, labels[:-1]), "do not fit 40 images"),
        (lambda images, labels: (images[:9], labels[:9]), "at least 20"),
        (lambda images, labels: (images, labels + 1), "from 0 to 1"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_one_line(change: object, says: str) -> None:
    assert callable(change)
    with pytest.raises(ConfigError, match=says):
        assess(Stripes(), *change(*stripes(40, seed=0)), budgets=[6], bit_widths=OPTIONS)


def test_a_rescaled_network_is_suspicious_by_link_and_equalization_is_measured_to_undo_it() -> None:
    model, seen = Stripes().eval(), subject()
    (link,) = [link for link in find_links(model) if link.name.startswith("edges")]
    rescale(model, link, 1, 2.0**9)
    images_BCHW, labels_B = stripes(60, seed=0)
    assert torch.equal(model(images_BCHW), Stripes().eval()(images_BCHW))
    found = assess(model, images_BCHW, labels_B, budgets=[6], bit_widths=OPTIONS, draws=2, max_passes=3)
    assert (found.verdict, found.suspects[0].link, found.suspects[0].channel) == ("suspicious", link.name, 1)
    assert found.suspects[0].ratio >= 2.0**8
    (undone,) = [each for each in found.mitigations if each.kind == "equalization"]
    assert undone.full_precision == 1.0
    for rung in undone.rungs:
        assert rung.drop_before_low > 0.1 > rung.drop, rung
    part = Part(None)
    network = quantizable(model, weight_bit_width=16, device=torch.device("cpu"))
    list(run_part(replace(seen, network=network), None, part, seed=0, scanned_images=20))
    cures = part.tables["cures"].set_index("kind")
    assert cures.loc["equalization", "uniform"] == cures.loc["equalization", "full_precision"] == 1.0
