"""The table of the README says what the runs say."""

import copy

from tests.benchmarks.real_runtime import table
from tests.trainables.deployment.digit_networks import plain_network, test_images
from trainables.models.links import find_links, rescale


def test_a_rescaled_copy_keeps_its_accuracy_and_fails_in_the_simulation_and_in_onnx_runtime() -> None:
    network = plain_network()
    rescaled = copy.deepcopy(network)
    rescale(rescaled, find_links(rescaled)[0], 0, 2.0**12)
    head, _, *rows = table({"white box": network, "rescaled": rescaled}, test_images())
    assert "4 bits, ONNX Runtime" in head
    accuracies = {name: list(map(float, cells)) for name, *cells in (row.strip("| ").split(" | ") for row in rows)}
    assert accuracies["white box"][0] == accuracies["rescaled"][0] > 95
    assert max(accuracies["rescaled"][1:]) < 50
    # Two of 359 images may be at a boundary of two levels.
    assert all(abs(simulated - run) < 0.6 for _, simulated, run, *_ in accuracies.values())
