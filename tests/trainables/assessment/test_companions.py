"""Who shares a batch: measured as passes one by one tell, and a channel that one image makes loud is found."""

import pandas as pd
import pytest
import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.stages.companions import Companions
from tests.trainables.assessment.test_run import Stripes, stripes
from trainables.assessment.companions import COLUMNS, TABLE, measure_companions, summarize_companions
from trainables.assessment.parts import Part
from trainables.assessment.subject import Images, Subject, quantizable
from trainables.attacks.companions import predict, predict_beside, predict_in_batches
from trainables.attacks.pixels import Pixels
from trainables.quant.student import QuantizedStudent

CPU = torch.device("cpu")
SETTINGS = Companions(budgets=(10,), bit_widths=(3, 4, 5, 6), batch_sizes=(1, 2, 8), draws=3, candidates=6, steps=8)


class Alarmed(Stripes):
    """A channel that nothing reads stays silent on stripes, and becomes very loud where an image is white all over."""

    LOUDNESS = 50_000.0

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            edges, mix = self.edges.weight, self.mix.weight
            self.edges = torch.nn.Conv2d(3, 3, 3)
            self.edges.weight[:2], self.edges.weight[2] = edges, self.LOUDNESS / 27
            # The mean of nine pixels of stripes with noise is far below 2.
            self.edges.bias.copy_(torch.tensor([0.0, 0.0, -2 * self.LOUDNESS]))
            biases = self.mix.bias.clone()
            self.mix = torch.nn.Conv2d(3, 4, 1)
            self.mix.weight.zero_()
            self.mix.weight[:, :2] = mix
            self.mix.bias.copy_(biases)


def subject(model: torch.nn.Module, *, loud: bool = False) -> Subject:
    """A network whose pixels reach from -3 to 3; the last validation image is white if it is to be loud."""
    network = quantizable(model, weight_bit_width=16, device=CPU, range_scope="batch")
    images_BCHW, labels_B = stripes(24, seed=1)
    if loud:
        images_BCHW[-1] = 3.0
    selection, test = Images.of_tensors(images_BCHW, labels_B, CPU), Images.of_tensors(*stripes(30, seed=2), CPU)
    ends = Pixels(torch.full((3, 1, 1), -3.0), torch.full((3, 1, 1), 3.0))
    return Subject(network=network, selection=selection, test=test, class_names=("rows", "columns"), valid_pixels=ends)


def measured(subject: Subject) -> pd.DataFrame:
    part = Part(None)
    steps = list(measure_companions(subject, SETTINGS, part, seed=0))
    assert [step.name for step in steps] == list(SETTINGS.measured)
    return part.tables[TABLE]


def drops(table: pd.DataFrame, budget: int) -> dict[str, float]:
    """The largest drop of every kind of companion."""
    return table[table["budget"] == budget].groupby("companion")["drop"].max().to_dict()


@pytest.fixture(scope="module")
def alarmed() -> pd.DataFrame:
    return measured(subject(Alarmed(), loud=True))


def student() -> QuantizedStudent:
    return QuantizedStudent(Stripes().eval().requires_grad_(False), range_scope="batch").eval()


def test_batches_side_by_side_in_one_pass_are_batches_one_by_one() -> None:
    network, (images_BCHW, _) = student(), stripes(12, seed=0)
    images_BCHW = images_BCHW * torch.logspace(-1, 1, 12)[:, None, None, None]
    bits_L = torch.tensor([2, 3])
    with torch.no_grad():
        together = network.in_batches_of(4)(images_BCHW, bits_L.expand(12, -1))
        one_by_one = torch.cat([network(part, bits_L.expand(4, -1)) for part in images_BCHW.split(4)])
        whole = network(images_BCHW, bits_L.expand(12, -1))
    assert torch.equal(together, one_by_one)
    assert not torch.equal(together, whole)
    with pytest.raises(ConfigError, match="12 images are no batches of 5"):
        network.in_batches_of(5)(images_BCHW, bits_L.expand(12, -1))


def answer(network: QuantizedStudent, batch: list[Tensor], bits_L: Tensor) -> int:
    """The class of the first image of a batch."""
    with torch.no_grad():
        return int(network(torch.stack(batch), bits_L.expand(len(batch), -1))[0].argmax())


def test_answers_alone_beside_a_companion_and_in_random_batches_are_those_of_such_batches() -> None:
    network, (images_BCHW, _) = student(), stripes(13, seed=4)
    companion, bits_L = 4 * torch.randn(3, 8, 8), torch.tensor([2, 2])
    alone = [answer(network, [image], bits_L) for image in images_BCHW]
    beside = [answer(network, [image, companion], bits_L) for image in images_BCHW]
    assert predict(network, images_BCHW, bits_L).tolist() == alone
    assert predict_beside(network, images_BCHW, companion, bits_L).tolist() == beside
    order = torch.randperm(13, generator=torch.Generator().manual_seed(5)).tolist()
    order += order[:2]
    expected = {}
    for place, position in enumerate(order[:13]):
        start = place - place % 5
        mates = [images_BCHW[other] for other in order[start : start + 5] if other != position]
        expected[position] = answer(network, [images_BCHW[position], *mates], bits_L)
    generator = torch.Generator().manual_seed(5)
    found = predict_in_batches(network, images_BCHW, bits_L, batch_size=5, generator=generator)
    assert found.tolist() == [expected[position] for position in range(13)]


def test_a_healthy_network_at_8_bits_loses_nothing_to_any_companion_of_valid_pixels() -> None:
    table = measured(subject(Stripes()))
    assert list(table.columns) == list(COLUMNS)
    assert set(drops(table, 16).values()) == {0.0}


def test_one_loud_image_takes_all_others_with_it_and_random_batches_rarely_show_it(alarmed: pd.DataFrame) -> None:
    found = drops(alarmed, 16)
    assert found["alone"] == found["batch"] == 0.0
    assert found["real"] == pytest.approx(0.5)
    typical = alarmed[(alarmed["companion"] == "real") & alarmed["which"].str.startswith("typical")]
    assert (typical["drop"] == 0).all()


def test_an_optimization_within_valid_pixels_makes_the_silent_channel_loud(alarmed: pd.DataFrame) -> None:
    without_a_loud_image = drops(measured(subject(Alarmed())), 16)
    assert without_a_loud_image["real"] == 0.0
    assert without_a_loud_image["optimized"] == pytest.approx(0.5)
    white = alarmed[(alarmed["which"] == "white") & (alarmed["budget"] == 16)]
    assert white["drop"].item() == pytest.approx(0.5)


def test_a_part_that_goes_on_from_any_step_ends_like_one_that_never_stopped(alarmed: pd.DataFrame) -> None:
    seen, part = subject(Alarmed(), loud=True), Part(None)
    steps = measure_companions(seen, SETTINGS, part, seed=0)
    for _ in range(3):
        next(steps)
    resumed = Part.from_tensors(part.tensors(), None)
    list(measure_companions(seen, SETTINGS, resumed, seed=0, num_done=3))
    pd.testing.assert_frame_equal(resumed.tables[TABLE], alarmed)
    metrics, tables = summarize_companions(resumed)
    assert metrics == {"companions/16b_worst_drop": pytest.approx(0.5), "companions/10b_worst_drop": pytest.approx(0.5)}
    assert list(tables) == [TABLE]
