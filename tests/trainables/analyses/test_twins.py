"""Twins of a pair: the same student under other allocations and ranges, beside passes written out here."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.analyses import Twins
from tests.trainables.analyses.tables import rows_of
from trainables.analyses import twins as module
from trainables.analyses.trained_pair import Row, Subject
from trainables.analyses.twins import twins
from trainables.attacks.static import StaticAllocation
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION
from trainables.quant.random_allocation import random_allocations

SETTINGS = Twins(num_attacked=8, max_passes=20)


@pytest.fixture
def subject(create_subject: Callable[..., Subject]) -> Subject:
    return create_subject(noise=0.01)


@pytest.fixture
def rows(subject: Subject) -> dict[str, Row]:
    return {row["twin"]: row for row in rows_of(twins(SETTINGS, subject))}


def images_of(subject: Subject, split: str) -> Tensor:
    return evaluation_batch(subject.data.splits[split].images_BCHW, subject.data.view)


def accuracy(subject: Subject, logits_BK: Tensor) -> float:
    return (logits_BK.argmax(dim=1) == subject.data.splits[TEST].labels_B).double().mean().item()


def most_common(subject: Subject) -> Tensor:
    chosen = Counter(map(tuple, subject.pair.bit_widths(images_of(subject, VALIDATION)).tolist())).most_common()
    return torch.tensor(min(each for each, count in chosen if count == chosen[0][1]))


def test_own_twin_counts_allocations_answers_and_the_loudest_channel(subject: Subject, rows: dict[str, Row]) -> None:
    own, images = rows["own"], images_of(subject, TEST)
    bits = subject.pair.bit_widths(images)
    allocations = Counter(map(tuple, bits.tolist()))
    assert own["num_allocations"] == len(allocations)
    assert own["share_first"] == max(allocations.values()) / len(images)
    logits_BK = subject.student(images, bits)
    assert own["accuracy_q"] == accuracy(subject, logits_BK)
    answers = Counter(logits_BK.argmax(1).tolist())
    assert own["num_answers"] == len(answers)
    assert own["share_two"] == pytest.approx(sum(count for _, count in answers.most_common(2)) / len(images))
    largest: dict[int, float] = {}

    def show(site: int, x: Tensor) -> None:
        maxima = x.flatten(2).abs().amax(2) if x.dim() > 2 else x.abs()
        # Silent channels lose nothing to a loud one.
        means = sorted(mean for mean in maxima.mean(0).tolist() if mean)
        largest[site] = means[-1] / means[-2] if len(means) > 1 else 1.0

    subject.student.observe(images, None, show)
    assert own["channel_ratio"] == pytest.approx(max(largest.values()), rel=1e-4)
    assert own["channel_site"] == subject.site_names[max(largest, key=lambda site: largest[site])]


def test_static_twins_are_chosen_on_validation_and_give_all_images_the_same(
    subject: Subject, rows: dict[str, Row]
) -> None:
    images, common_L = images_of(subject, TEST), most_common(subject)
    bits = common_L.expand(len(images), -1)
    assert rows["common"]["accuracy_q"] == accuracy(subject, subject.student(images, bits))
    assert rows["int8"]["accuracy_q"] == accuracy(subject, subject.student(images, torch.full_like(bits, 8)))
    for name in ("common", "uniform", "int8", "static_ranges", "per_channel", "worst_static"):
        assert (rows[name]["num_allocations"], rows[name]["share_first"]) == (1, 1.0)
    subject.student.range_scope = "channel"
    assert rows["per_channel"]["accuracy_q"] == accuracy(subject, subject.student(images, bits))


def test_static_ranges_are_the_extremes_over_the_validation_images(subject: Subject, rows: dict[str, Row]) -> None:
    ends: dict[int, Any] = {}

    def show(site: int, x: Tensor) -> None:
        ends[site] = (min(0.0, x.min().item()), max(0.0, x.max().item()))

    subject.student.observe(images_of(subject, VALIDATION), None, show)
    common_L = most_common(subject)

    def quantize(x: Tensor, site: int) -> Tensor:
        low, high = ends[site]
        if low == high:
            return x  # silent
        levels = 2 ** int(common_L[site]) - 1
        scale = (high - low) / levels
        zero = round(-low / scale)
        return ((x / scale).round() + zero).clamp(0, levels).sub(zero) * scale

    logits_BK = subject.student.run_marked(images_of(subject, TEST), quantize)
    assert rows["static_ranges"]["accuracy_q"] == pytest.approx(accuracy(subject, logits_BK), abs=0.03)


def test_shuffled_and_untrained_twins_and_the_search_on_its_own_images(rows: dict[str, Row]) -> None:
    own, shuffled, attacked = rows["own"], rows["shuffled"], rows["worst_per_image"]
    assert (shuffled["num_allocations"], shuffled["share_first"]) == (own["num_allocations"], own["share_first"])
    assert rows["untrained"] != own | {"twin": "untrained"}
    assert attacked["num_images"] == 8
    assert attacked["num_static_lost"] is not None
    assert attacked["accuracy_q"] <= attacked["accuracy_fp"]
    assert all(row["num_static_lost"] is None for name, row in rows.items() if name != "worst_per_image")
    assert len(rows) == 10


def test_where_a_range_spans_a_batch_no_search_looks_at_single_images(create_subject: Callable[..., Subject]) -> None:
    subject = create_subject(noise=0.01, range_scope="batch")
    assert not {"worst_static", "worst_per_image"} & {unit.key for unit in twins(SETTINGS, subject)}


def test_what_training_hid_is_the_worst_static_allocation_where_the_search_misses_it(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = images_of(subject, VALIDATION), subject.data.splits[VALIDATION].labels_B
    draws = random_allocations(40, 15, subject.recipe.bit_widths, subject.recipe.budget, 0)

    def on_validation(bits_L: Tensor) -> float:
        logits_BK = subject.student(images, bits_L.expand(len(images), -1))
        return (logits_BK.argmax(dim=1) == labels).double().mean().item()

    best, *_, worst = sorted(draws, key=on_validation, reverse=True)
    assert on_validation(worst) < on_validation(best)
    found = StaticAllocation(bit_width_L=best, accuracy=1.0, lead=1.0, passes=20)
    monkeypatch.setattr(module, "worst_static", lambda *_, **settings: found)
    subject.bit_width_BL = lambda name: worst.expand(len(subject.split(name)), -1)
    (unit,) = [unit for unit in twins(SETTINGS, subject) if unit.key == "worst_static"]
    (row,) = unit.rows()
    tested = images_of(subject, TEST)
    assert row["accuracy_q"] == accuracy(subject, subject.student(tested, worst.expand(len(tested), -1)))
