"""The main numbers, with the targets that they should reach."""

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.figures import Figure
from tests.gpu import decisions
from tests.gpu.decisions import REFERENCE_NETWORK, TARGETS
from tests.gpu.record import DONE, UNFINISHED, Outcome


def headlines(outcomes: Sequence[Outcome]) -> list[Figure]:
    """Returns the main numbers, those with a target first."""
    checks = [each for each in outcomes if each.section == "correctness"]
    checks = [each for each in checks if "is_right" in each.result or decisions.is_wrong(each)]
    wrong = Figure(
        name="checks that found something wrong", value=sum(map(decisions.is_wrong, checks)), unit="", at_most=0
    )
    networks = dict.fromkeys(step["network"] for step in decisions.steps_of(outcomes))
    return [
        *([wrong] if checks else []),
        *(figure for network in networks for figure in _figures_of_steps(outcomes, network)),
        *_figures_of_packing(outcomes),
        *_figures_of_science(outcomes),
    ]


def _figures_of_steps(outcomes: Sequence[Outcome], network: str) -> list[Figure]:
    steps = [step for step in decisions.steps_of(outcomes) if step["network"] == network]
    best = decisions.fastest(outcomes, network)
    shown = [step for step in steps if not decisions.changes(step["variant"])]
    shown += [best] if best and best not in shown else []
    target = TARGETS["step_ms"] if network == REFERENCE_NETWORK else None
    figures = [
        Figure(name=f"{network}: step of a pair", value=step["ms"], unit="ms", at_most=target, detail=name_of(step))
        for step in shown
    ]
    if ratios := [step for step in steps if "quantized_over_full" in step]:
        least = min(ratios, key=lambda step: step["quantized_over_full"])
        figures.append(
            Figure(
                name=f"{network}: quantized pass / full-precision pass",
                value=least["quantized_over_full"],
                unit="x",
                at_most=TARGETS["quantized_over_full"],
                detail=name_of(least),
            )
        )
    return figures


def _figures_of_packing(outcomes: Sequence[Outcome]) -> list[Figure]:
    best = decisions.best_packing(outcomes)
    if best is None:
        return []
    figures = [
        Figure(name="trials side by side that are enough", value=best["processes"], unit=""),
        Figure(name="images per second of them", value=best["images_per_second"], unit=""),
    ]
    if "busy_percent" in best:
        target = TARGETS["busy_percent"]
        figures.append(Figure(name="the card is busy", value=best["busy_percent"], unit="%", at_least=target))
    return figures


def _figures_of_science(outcomes: Sequence[Outcome]) -> list[Figure]:
    figures = []
    for outcome in found_in(outcomes, "science"):
        accuracy = outcome.result.get("test/accuracy", outcome.result.get("test/accuracy_fp"))
        change = outcome.result.get("test/accuracy_delta")
        detail = "" if change is None else f"{100 * change:+.2f} pp quantized"
        if accuracy is not None:
            figures.append(Figure(name=f"CIFAR-10, {outcome.item}", value=100 * accuracy, unit="%", detail=detail))
    return figures


def found_in(outcomes: Sequence[Outcome], section: str) -> list[Outcome]:
    """Returns what a section has found, the unfinished included."""
    return [each for each in outcomes if each.section == section and each.status in (DONE, UNFINISHED)]


def name_of(step: dict[str, Any]) -> str:
    """Names the variant of a step."""
    return ", ".join(decisions.changes(step["variant"])) or "default"
