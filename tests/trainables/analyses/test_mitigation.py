"""Mitigations: what they leave as it is, whom they are applied to, and the share that they give back."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from search_spaces.analyses import Mitigation
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.mitigation import NUM_RANDOM_DRAWS, mitigation, scale_quantile, worst_sites
from trainables.analyses.trained_pair import Row, Subject
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION

SETTINGS = Mitigation(quantiles=(1.0, 0.99), num_sites=(1, 3, 15, 16))


@pytest.fixture
def subject(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.01)


def rows_of_kind(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def accuracy_of(subject: Subject, split: str, bit_width_BL: torch.Tensor) -> float:
    images = evaluation_batch(subject.data.splits[split].images_BCHW, subject.data.view)
    predictions = subject.student(images, bit_width_BL).argmax(dim=1)
    return (predictions == subject.data.splits[split].labels_B).double().mean().item()


def test_the_quantile_of_the_whole_range_is_no_cure_and_smaller_ones_clip(subject: Subject) -> None:
    rows = rows_of(mitigation(SETTINGS, subject))
    (unmitigated,) = rows_of_kind(rows, "none")
    whole, clipped = rows_of_kind(rows, "scale_quantile")
    assert unmitigated["value"] == whole["value"] == 1.0
    assert unmitigated["accuracy_q"] == whole["accuracy_q"] == subject.quantized(TEST).accuracy
    assert unmitigated["recovered"] == 0
    subject.student.scale_quantile = 0.99
    assert clipped["accuracy_q"] == accuracy_of(subject, TEST, subject.bit_width_BL(TEST))
    assert clipped["accuracy_q"] != unmitigated["accuracy_q"]


def test_the_student_keeps_its_own_quantile_also_after_an_error(create_subject: Callable[..., Subject]) -> None:
    subject = create_subject(scale_quantile=0.999)
    units = mitigation(Mitigation(quantiles=(0.98,), num_sites=()), subject)
    assert units[0].rows()[0]["value"] == 0.999
    units[1].rows()
    assert subject.student.scale_quantile == 0.999
    with pytest.raises(RuntimeError), scale_quantile(subject.student, 0.98):
        raise RuntimeError
    assert subject.student.scale_quantile == 0.999


def test_worst_sites_are_those_whose_quantization_alone_costs_most_on_validation(subject: Subject) -> None:
    chosen_BL = subject.bit_width_BL(VALIDATION)
    accuracies = []
    for site in range(15):
        single_BL = torch.zeros_like(chosen_BL)
        single_BL[:, site] = chosen_BL[:, site]
        accuracies.append(accuracy_of(subject, VALIDATION, single_BL))
    ranking = worst_sites(subject)
    assert sorted(ranking) == list(range(15))
    assert ranking == [site for _, site in sorted(zip(accuracies, range(15), strict=True))]
    assert len(set(accuracies)) < 15, "there must be ties to break"


def test_the_ranking_never_sees_the_test_split(create_subject: Callable[..., Subject], subject: Subject) -> None:
    test = subject.data.splits[TEST]
    other_test = replace(
        test,
        images_BCHW=255 - test.images_BCHW[:10],
        labels_B=test.labels_B[:10].flip(0),
        image_ids_B=test.image_ids_B[:10],
    )
    data = replace(subject.data, splits={**subject.data.splits, TEST: other_test})
    assert worst_sites(create_subject(noise=0.01, data=data)) == worst_sites(subject)


def test_sites_at_full_precision_are_the_worst_and_random_ones_are_nested(subject: Subject) -> None:
    rows = rows_of(mitigation(SETTINGS, subject))
    ranking = worst_sites(subject)
    for row in rows_of_kind(rows, "sites_at_full_precision"):
        assert row["sites"] == sorted(ranking[: int(row["value"])])
        assert row["draw"] is None
    # 16 sites are more than there are.
    assert [row["value"] for row in rows_of_kind(rows, "sites_at_full_precision")] == [1, 3, 15]
    for draw in range(NUM_RANDOM_DRAWS):
        one, three, every = [row["sites"] for row in rows_of_kind(rows, "random_sites") if row["draw"] == draw]
        assert len(one) == 1
        assert set(one) < set(three)
        assert every == list(range(15))
    for row in rows:
        bit_width_BL = subject.bit_width_BL(TEST).clone()
        bit_width_BL[:, row["sites"]] = 0
        if row["kind"] != "scale_quantile":
            assert row["accuracy_q"] == accuracy_of(subject, TEST, bit_width_BL)


def test_random_orders_differ_between_draws_and_are_the_same_for_every_pair(
    create_subject: Callable[..., Subject], subject: Subject
) -> None:
    settings = Mitigation(quantiles=(), num_sites=(1, 3, 8))
    ours, theirs = (
        [row["sites"] for row in rows_of_kind(rows_of(mitigation(settings, each)), "random_sites")]
        for each in (subject, create_subject(noise=0.02, seed=1))
    )
    assert ours == theirs
    for first in (NUM_RANDOM_DRAWS, 2 * NUM_RANDOM_DRAWS):
        draws = ours[first : first + NUM_RANDOM_DRAWS]
        assert [sites for number, sites in enumerate(draws) if sites in draws[:number]] == []


def test_recovered_is_the_share_of_the_drop_and_complete_without_quantization(
    create_subject: Callable[..., Subject],
) -> None:
    subject = create_subject(noise=0.01, weight_bit_width=None)
    rows = rows_of(mitigation(SETTINGS, subject))
    fp, unmitigated = subject.full_precision(TEST).accuracy, subject.quantized(TEST).accuracy
    assert unmitigated < fp
    for row in rows:
        assert row["recovered"] == pytest.approx((row["accuracy_q"] - unmitigated) / (fp - unmitigated))
        assert row["accuracy_fp"] == fp
        lost = (row["num_lost"] - row["num_gained"]) / row["num_images"]
        assert fp - row["accuracy_q"] == pytest.approx(lost)
    complete = [row for row in rows if row["kind"] == "sites_at_full_precision" and row["value"] == 15]
    assert [row["recovered"] for row in complete] == [1.0]


def test_nothing_is_recovered_where_nothing_dropped(create_subject: Callable[..., Subject], subject: Subject) -> None:
    labels_B = subject.quantized(TEST).predictions_B
    splits = {**subject.data.splits, TEST: replace(subject.data.splits[TEST], labels_B=labels_B)}
    gaining = create_subject(noise=0.01, data=replace(subject.data, splits=splits))
    rows = rows_of(mitigation(SETTINGS, gaining))
    assert rows[0]["accuracy_q"] == 1
    assert {row["recovered"] for row in rows} == {None}


def test_the_cost_of_units_is_the_passes_that_they_make(subject: Subject) -> None:
    units = {unit.key: unit.num_images for unit in mitigation(SETTINGS, subject)}
    # 64 images in both splits, 15 sites to rank once.
    assert units["none"] == 2 * 64
    assert units["scale_quantile/0.99"] == 64
    assert units["sites_at_full_precision/1"] == 16 * 64
    assert units["sites_at_full_precision/3"] == 64
    assert units["random_sites/3"] == 5 * 64
