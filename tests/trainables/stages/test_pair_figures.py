"""What a search climbs, against NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from trainables.evaluation import Classified
from trainables.stages.pair_figures import accuracies, slopes


def seen(logits_BK: np.ndarray) -> Classified:
    images = torch.arange(len(logits_BK))
    return Classified(labels_B=images % 3, image_ids_B=images, logits_BK=torch.tensor(logits_BK, dtype=torch.float32))


def test_lag_and_divergence_are_the_means_that_their_definitions_say() -> None:
    draw = np.random.default_rng(0)
    white_box, full, quantized = (3 * draw.normal(size=(40, 5)) for _ in range(3))
    found = slopes("validation", seen(white_box), seen(full), seen(quantized))
    lags = []
    for teacher, student in zip(white_box, softmax(quantized, axis=1), strict=True):
        asked = int(np.argmax(teacher))
        lags.append(max(np.delete(student, asked)) - student[asked])
    assert found["validation/lag_q"] == pytest.approx(np.mean(lags), abs=1e-6)
    expected = entropy(softmax(white_box, axis=1), softmax(full, axis=1), axis=1).mean()
    assert found["validation/divergence_fp"] == pytest.approx(expected, abs=1e-5)


def test_the_lag_grows_while_no_image_changes_its_class() -> None:
    healthy = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
    shaken = 0.2 * healthy
    before, after = (slopes("test", seen(healthy), seen(healthy), seen(each)) for each in (healthy, shaken))
    drops = [
        accuracies("test", seen(healthy), seen(healthy), seen(each))["test/accuracy_q"] for each in (healthy, shaken)
    ]
    assert drops == [1.0, 1.0]
    assert -1 < before["test/lag_q"] < after["test/lag_q"] < 0
    assert before["test/divergence_fp"] == pytest.approx(0.0, abs=1e-12)
