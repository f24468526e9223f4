"""Figures of a rung against counts made image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.assessment.figures import Reference, class_shares, figures_of, median_draw
from trainables.assessment.paired import drop_interval, wilson_interval

NUM_CLASSES = 3


def reference(labels: list[int], predictions: list[int], margins: list[float] | None = None) -> Reference:
    margins = margins or list(np.linspace(0, 1, len(labels)))
    arrays = (np.array(labels), np.array(predictions), np.array(margins))
    return Reference(labels_B=arrays[0], predictions_B=arrays[1], margins_B=arrays[2], num_classes=NUM_CLASSES)


CLASSES = st.integers(0, NUM_CLASSES - 1)
IMAGES = st.lists(st.tuples(CLASSES, CLASSES, CLASSES), min_size=1, max_size=40)


@given(IMAGES)
def test_figures_are_what_counting_image_by_image_gives(images: list[tuple[int, int, int]]) -> None:
    labels, before, after = (list(column) for column in zip(*images, strict=True))
    figures = figures_of(reference(labels, before), np.array(after))
    right = sum(label == now for label, _, now in images)
    lost = sum(label == was and label != now for label, was, now in images)
    gained = sum(label != was and label == now for label, was, now in images)
    both = sum(label == was == now for label, was, now in images)
    flipped = [was != now for _, was, now in images]
    num_low = max(1, round(0.1 * len(images)))
    assert figures.accuracy == pytest.approx(right / len(images))
    assert (figures.accuracy_low, figures.accuracy_high) == wilson_interval(right, len(images))
    assert figures.drop == pytest.approx((lost - gained) / len(images))
    ends = drop_interval(both, lost, gained, len(images) - both - lost - gained)
    assert (figures.drop_low, figures.drop_high) == ends
    assert figures.flips == pytest.approx(sum(flipped) / len(images))
    # The margins rise from image to image, so the first tenth is that of the smallest ones.
    assert figures.flips_low_margin == pytest.approx(sum(flipped[:num_low]) / num_low)


def test_the_worst_class_is_the_one_that_lost_most_not_the_one_that_is_worst() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    seen = reference(labels, [1, 1, 1, 1, 2, 2])
    figures = figures_of(seen, np.array([1, 1, 1, 0, 0, 0]))
    assert (figures.worst_class, figures.worst_class_drop) == (2, 1.0)
    assert figures.largest_class_share == 0.5
    assert class_shares(seen, np.array([1, 1, 1, 0, 0, 0])) == pytest.approx([0.5, 0.5, 0.0])


def test_a_rung_that_changes_nothing_drops_and_flips_nothing() -> None:
    figures = figures_of(reference([0, 1, 2, 1], [0, 1, 2, 2]), np.array([0, 1, 2, 2]))
    assert (figures.drop, figures.flips, figures.flips_low_margin, figures.worst_class_drop) == (0, 0, 0, 0)
    assert figures.drop_low < 0 < figures.drop_high


@pytest.mark.parametrize(("accuracies", "draw"), [([0.9, 0.1, 0.5], 2), ([0.9, 0.1, 0.5, 0.6], 2), ([0.3], 0)])
def test_the_median_of_an_even_number_of_draws_is_the_lower_of_the_middle_two(
    accuracies: list[float], draw: int
) -> None:
    assert median_draw(np.array(accuracies)) == draw
