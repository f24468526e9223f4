"""Made-up numbers of trials: no two are equal, so that whoever mixes up splits, goals or seeds is noticed."""

import random
from dataclasses import dataclass

from orchestrator.plan import Node
from search_spaces.stages.registry import Stage

WHITE_BOX = {"validation": 0.9711, "test": 0.9642}
NUM_EPOCHS_TO_SETTLE = 8


@dataclass(frozen=True, slots=True)
class Quality:
    """What a pair comes to: validation, then test."""

    drop: tuple[float, float]
    gap: tuple[float, float]


DEFAULTS = {
    "robust": Quality((0.004, 0.007), (0.001, 0.003)),
    "detrimental": Quality((0.021, 0.034), (0.002, 0.005)),
}
QUALITIES = {
    "A/detrimental/seed3": Quality((0.61, 0.55), (0.002, 0.004)),
    "A/detrimental/seed5": Quality((0.13, 0.08), (0.003, 0.005)),
    "B/detrimental/seed3/trial2": Quality((-0.2, -0.25), (0.1, 0.11)),
    "B/detrimental/seed3/trial3": Quality((0.72, 0.66), (0.004, 0.006)),
    "B/detrimental/seed3/confirm1": Quality((0.58, 0.52), (0.003, 0.002)),
    "B/detrimental/seed3/confirm2": Quality((0.49, 0.02), (0.005, 0.001)),
    "B/detrimental/seed5": Quality((0.05, 0.06), (0.03, 0.04)),
    "B/detrimental/seed5/trial1": Quality((0.4, 0.35), (0.05, 0.06)),
    "B/detrimental/seed5/trial3": Quality((0.33, 0.29), (0.003, 0.005)),
    "B/detrimental/seed5/confirm2": Quality((0.31, 0.27), (0.002, 0.004)),
    "C/detrimental/seed3/trial3": Quality((-0.15, -0.12), (0.09, 0.08)),
    "C/detrimental/seed3/trial4": Quality((0.07, 0.19), (0.001, 0.003)),
    "C/detrimental/seed5": Quality((0.04, 0.31), (0.004, 0.006)),
    "C/detrimental/seed5/trial2": Quality((0.25, 0.03), (0.002, 0.001)),
    "C/detrimental/seed5/confirm1": Quality((0.22, 0.015), (0.005, 0.002)),
    "C/detrimental/seed5/confirm2": Quality((0.18, 0.012), (0.001, 0.004)),
}
"""By what follows network and option set in the name of the trial."""


def short_name(node: Node) -> str:
    """Returns the part of a pair's name that `QUALITIES` goes by."""
    return node.name.split("/", 3)[-1]


def jitter(*about: object) -> float:
    """Returns a number in [0, 1) that depends on nothing but what it is about."""
    return random.Random("/".join(map(str, about))).random()


def metrics_of(node: Node, splits: tuple[str, ...] = ("validation", "test"), *, epoch: int = 0) -> dict[str, float]:
    """Returns the metrics of a trial, by split; with an epoch, what it measured after that one."""
    if node.stage is not Stage.PAIR:
        return {f"{split}/accuracy": round(0.9 + 0.08 * jitter(node.name, split, epoch), 5) for split in splits}
    assert node.cell
    quality = QUALITIES.get(short_name(node), DEFAULTS[node.cell.goal])
    share = min(1.0, epoch / NUM_EPOCHS_TO_SETTLE) if epoch else 1.0
    metrics: dict[str, float] = {}
    for place, split in enumerate(("validation", "test")):
        if split not in splits:
            continue
        gap = quality.gap[place] + 0.0009 * jitter(node.name, split, epoch, "gap")
        drop = share * quality.drop[place] + 0.004 * jitter(node.name, split, epoch, "drop")
        fp = WHITE_BOX[split] - gap
        one = {"accuracy_white_box": WHITE_BOX[split], "accuracy_fp": fp, "accuracy_q": fp - drop}
        one |= {"accuracy_delta": -drop, "parity_gap": gap}
        one["drop_standard_error"] = 0.011 + 0.009 * jitter(node.name, split, epoch, "noise")
        metrics |= {f"{split}/{name}": round(value, 6) for name, value in one.items()}
    return metrics


def epoch_row(node: Node, epoch: int) -> dict[str, float]:
    """Returns what a trial reported after an epoch, but for its time."""
    losses = ("loss", "hinge", "kd") if node.stage is Stage.PAIR else ("loss",)
    row = {f"train/{name}": round((1 + jitter(node.name, epoch, name)) / epoch, 6) for name in losses}
    return row | {"learning_rate": round(0.04 / epoch, 6)} | metrics_of(node, ("validation",), epoch=epoch)
