"""What the numbers support: which setting should be the default on this device, per network, and which kernels go.

Pure functions of the outcomes; nobody has to agree with them, but they say why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.gpu.record import DONE, FAILED, STOPPED, Outcome

TODAY = {
    "tf32": "convolutions",
    "layout": "default",
    "quantizer": "default",
    "knapsack": "default",
    "white_box": "float32",
    "student": "float32",
    "benchmark": "off",
    "graph": "passes",
}
"""The defaults of the packages, setting by setting; a test holds them against `pair_step.Variant`."""
TARGETS = {"step_ms": 17.0, "quantized_over_full": 1.35, "busy_percent": 85.0}
"""What a pair of ResNet18 at 224 pixels and batch 64 should reach on an H100."""
WORTH = 0.97
"""Ratio of times from which on a change is worth its code; what lies above is noise."""
REFERENCE_NETWORK = "resnet18"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What one setting does to one network."""

    network: str
    setting: str
    value: str
    ratio: float
    """Time with the value over time with today's, all else equal; the best where several pairs differ in it alone."""
    verdict: str
    """`change`, `keep`, or `wrong` where what it computes is not right."""


def changes(variant: dict[str, str]) -> list[str]:
    """Names the settings of a variant that differ from today's.

    Examples:
        >>> changes(TODAY | {"graph": "step"})
        ['graph step']
    """
    return [f"{name.replace('_', ' ')} {value}" for name, value in variant.items() if value != TODAY[name]]


def decide(outcomes: Sequence[Outcome]) -> list[Decision]:
    """Compares every two variants of a network that differ in one setting, which one of them has as it is today."""
    best: dict[tuple[str, str, str], Decision] = {}
    steps = steps_of(outcomes)
    wrong = [each.item for each in outcomes if is_wrong(each)]
    for before in steps:
        for after in steps:
            setting = _only_change(before, after)
            if setting is None:
                continue
            value, ratio = after["variant"][setting], after["ms"] / before["ms"]
            # Kernels must also have passed their own check.
            is_right = after["is_right"] and not any(f"{setting} {value}" in name for name in wrong)
            verdict = "wrong" if not is_right else "change" if ratio <= WORTH else "keep"
            key = (before["network"], setting, value)
            if key not in best or ratio < best[key].ratio:
                best[key] = Decision(
                    network=before["network"], setting=setting, value=value, ratio=ratio, verdict=verdict
                )
    return list(best.values())


def is_wrong(outcome: Outcome) -> bool:
    """Tells whether a check of correctness found something, or did not come to its end."""
    is_bad = outcome.status in (FAILED, STOPPED) or outcome.result.get("is_right") is False
    return outcome.section == "correctness" and is_bad


def steps_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Returns the timed variants."""
    return [each.result for each in outcomes if each.status == DONE and "variant" in each.result]


def fastest(outcomes: Sequence[Outcome], network: str) -> dict[str, Any] | None:
    """Returns the fastest right variant of a network, None if there is none."""
    right = [step for step in steps_of(outcomes) if step["network"] == network and step["is_right"]]
    return min(right, key=lambda step: step["ms"], default=None)


def never_win(decisions: Sequence[Decision]) -> list[str]:
    """Names the values that were measured and make no network faster: their code may be deleted."""
    values = dict.fromkeys((decision.setting, decision.value) for decision in decisions)
    winners = {(decision.setting, decision.value) for decision in decisions if decision.verdict == "change"}
    return [f"{setting.replace('_', ' ')} {value}" for setting, value in values if (setting, value) not in winners]


def best_packing(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """Returns the fewest trials side by side that reach 97 % of the best throughput, None if none was measured."""
    rounds = [each.result for each in outcomes if each.section == "packing" and each.status == DONE]
    if not rounds:
        return None
    most = max(found["images_per_second"] for found in rounds)
    enough = [found for found in rounds if found["images_per_second"] >= WORTH * most]
    return min(enough, key=lambda found: found["processes"])


def _only_change(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Names the one setting in which two steps of a network differ, if the first has it as it is today."""
    if before["network"] != after["network"]:
        return None
    differing = [name for name in TODAY if before["variant"][name] != after["variant"][name]]
    if len(differing) != 1 or before["variant"][differing[0]] != TODAY[differing[0]]:
        return None
    return differing[0]
