"""Evaluation in batches equals a plain loop over the images, one at a time."""

import pytest
import torch
from torch import Tensor, nn

from tests.trainables import plain_training as plain
from trainables.data.images import ImageData, Split
from trainables.data.view import View
from trainables.evaluation import (
    EVALUATION_BATCH,
    Classified,
    classifier_outcome,
    classify,
    classify_quantized,
    outputs,
)

NUM_IMAGES = EVALUATION_BATCH + 44
VIEW = View(8, 8)


@pytest.fixture
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(
        images_BCHW=torch.randint(0, 256, (NUM_IMAGES, 3, 8, 8), dtype=torch.uint8, generator=generator),
        labels_B=torch.randint(0, 4, (NUM_IMAGES,), generator=generator),
        image_ids_B=torch.arange(NUM_IMAGES) + 1000,
    )


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()


def test_every_image_is_answered_once_and_in_order(split: Split, network: nn.Module) -> None:
    seen = classify(network, split, VIEW)
    one_by_one = torch.cat([network(plain.normalized(image[None])) for image in split.images_BCHW])
    torch.testing.assert_close(seen.logits_BK, one_by_one.detach())
    assert seen.labels_B.equal(split.labels_B)
    assert seen.image_ids_B.equal(split.image_ids_B)


def test_evaluation_keeps_no_gradients(split: Split, network: nn.Module) -> None:
    assert network[1].weight.requires_grad
    assert not outputs(network, split, VIEW).requires_grad


def test_bit_widths_go_with_their_images_through_all_batches(split: Split) -> None:
    bit_width_BL = torch.arange(2 * NUM_IMAGES).view(NUM_IMAGES, 2)

    def network(images_BCHW: Tensor, bit_width_BL: Tensor) -> Tensor:
        return torch.cat([images_BCHW.flatten(1)[:, :2], bit_width_BL.float()], dim=1)

    seen = classify_quantized(network, split, VIEW, bit_width_BL).logits_BK
    assert seen[:, 2:].equal(bit_width_BL.float())
    torch.testing.assert_close(seen[:, :2], plain.normalized(split.images_BCHW).flatten(1)[:, :2])


def test_accuracy_and_margins_equal_those_by_hand() -> None:
    # Softmax of (2 ln 2, ln 2, 0) is (4, 2, 1) / 7.
    logits_BK = torch.tensor([[2.0, 1.0, 0.0]] * 3) * torch.log(torch.tensor(2.0))
    seen = Classified(labels_B=torch.tensor([0, 1, 0]), image_ids_B=torch.arange(3), logits_BK=logits_BK)
    assert seen.predictions_B.tolist() == [0, 0, 0]
    assert seen.is_right_B.tolist() == [True, False, True]
    assert seen.accuracy == pytest.approx(2 / 3)
    torch.testing.assert_close(seen.margins_B, torch.tensor([2.0, -2.0, 2.0]) / 7)


def test_columns_of_a_classifier_tell_splits_and_images_apart(split: Split, network: nn.Module) -> None:
    data = ImageData(
        splits={"validation": split.take(torch.arange(5)), "test": split.take(torch.arange(5, 12))},
        class_names=("a", "b", "c", "d"),
        view=VIEW,
    )
    metrics, columns = classifier_outcome(network, data, ("validation", "test"))
    whole = classify(network, split, VIEW)
    assert columns["split"].tolist() == [0] * 5 + [1] * 7
    assert columns["image_id"].tolist() == list(range(1000, 1012))
    assert columns["label"].equal(split.labels_B[:12])
    assert columns["prediction"].equal(whole.predictions_B[:12])
    torch.testing.assert_close(columns["margin"], whole.margins_B[:12])
    right = whole.is_right_B.double()
    assert metrics == {
        "validation/accuracy": pytest.approx(right[:5].mean().item()),
        "test/accuracy": pytest.approx(right[5:12].mean().item()),
    }
