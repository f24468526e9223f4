"""The nodes that break a network in a runtime, by putting them back to full precision and measuring again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx

from trainables.assessment.paired import drop_interval
from trainables.deployment.record import LARGEST_DROP, Culprits, Reverted
from trainables.runtimes.onnx_int8 import int8_model, integer_nodes, layers_of_nodes

# B = images, K = classes.

REVERTED_IMAGES = 128
"""Most images that nodes are reverted on one by one."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which of several runs of one step it is."""

    number: int
    """From 0."""
    of: int


WHOLE = Part(0, 1)


class Answers(Protocol):
    """Runs a model over the images."""

    def of_model(self, step: str, model: onnx.ModelProto, count: int | None = None, part: Part = WHOLE) -> np.ndarray:
        """Returns logits_BK of the first images, one per run."""


def find_culprits(plain: onnx.ModelProto, answers: Answers, *, labels_B: np.ndarray, full_BK: np.ndarray) -> Culprits:
    """Finds nodes with which at full precision ONNX Runtime's int8 does not fail any more.

    Every node is reverted by itself first. Nodes are then left out in the order of what that gives back until the
    network no longer fails, and last those are put in again that it does not need to do without.

    Args:
        plain: The network at full precision.
        answers: Runs models.
        labels_B: What counts as right.
        full_BK: Answers at full precision.
    """
    nodes = integer_nodes(int8_model(plain))
    layers = layers_of_nodes(plain)
    few = min(REVERTED_IMAGES, len(labels_B))
    right_B = labels_B[:few]

    def reverted(place: int, node: str) -> Reverted:
        part = Part(place, len(nodes))
        logits_BK = answers.of_model("every node reverted", int8_model(plain, [node]), few, part)
        return Reverted(
            node=node,
            layer=layers.get(node, ""),
            accuracy=float((logits_BK.argmax(1) == right_B).mean()),
            largest_difference=float(np.abs(logits_BK - full_BK[:few]).max()),
        )

    alone = sorted(
        (reverted(place, node) for place, node in enumerate(nodes)),
        # Where several nodes break it together, one of them gives no accuracy back, but brings the answers nearer.
        key=lambda each: (-each.accuracy, each.largest_difference),
    )

    def accuracy_without(excluded: Sequence[str]) -> tuple[float, bool]:
        logits_BK = answers.of_model(f"{len(excluded)} nodes reverted", int8_model(plain, excluded))
        is_right_B, was_right_B = logits_BK.argmax(1) == labels_B, full_BK.argmax(1) == labels_B
        return float(is_right_B.mean()), _fails(was_right_B, is_right_B)

    chosen: list[str] = []
    accuracy, fails = 0.0, True
    for each in alone:
        chosen.append(each.node)
        accuracy, fails = accuracy_without(chosen)
        if not fails:
            break
    # The last one was needed.
    for node in chosen[:-1] if not fails else []:
        others = [each for each in chosen if each != node]
        accuracy_of_others, fails_without = accuracy_without(others)
        if not fails_without:
            chosen, accuracy = others, accuracy_of_others
    return Culprits(nodes=tuple(chosen), accuracy=accuracy, reverted=tuple(alone), num_images=few)


def _fails(was_right_B: np.ndarray, is_right_B: np.ndarray) -> bool:
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    counts = [int(((was_right_B == was) & (is_right_B == now)).sum()) for was, now in pairs]
    return drop_interval(*counts)[0] > LARGEST_DROP
