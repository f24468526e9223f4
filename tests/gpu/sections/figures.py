"""Figures of what was found: the steps, the sharing of a card, the curves. They need results and Matplotlib, no GPU."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.gpu.decisions import TARGETS
from tests.gpu.headlines import name_of
from tests.gpu.jobs import Context, Item, NotHereError
from tests.gpu.record import DONE, UNFINISHED, Outcome

INCHES = (9.0, 5.0)


def items(context: Context) -> list[Item]:
    """Lists the figures."""
    drawings = {"step": draw_steps, "packing": draw_packing, "curves": draw_curves}
    return [Item(f"{name}.png", partial(draw, name=name, drawing=drawing)) for name, drawing in drawings.items()]


def draw(context: Context, *, name: str, drawing: Callable[[Any, Sequence[Outcome]], None]) -> dict[str, Any]:
    """Draws one figure into the folder of results."""
    if importlib.util.find_spec("matplotlib") is None:
        raise NotHereError("Matplotlib is not installed: `--only figures` elsewhere, with the same --folder, draws it")
    from matplotlib.figure import Figure

    found = [outcome for outcome in context.record if outcome.status in (DONE, UNFINISHED)]
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    drawing(axes, found)
    context.folder.mkdir(parents=True, exist_ok=True)
    path = Path(context.folder / f"{name}.png")
    figure.savefig(path, dpi=120)
    return {"bytes": path.stat().st_size}


def draw_steps(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Draws the milliseconds of every variant as bars, one colour per network."""
    steps = [each.result for each in outcomes if each.section == "step" and "variant" in each.result]
    if not steps:
        raise NotHereError("no step was timed")
    steps.sort(key=lambda step: (step["network"], step["ms"]))
    networks = list(dict.fromkeys(step["network"] for step in steps))
    labels = [f"{step['network']}: {name_of(step)}" for step in steps]
    colours = [f"C{networks.index(step['network'])}" for step in steps]
    axes.barh(range(len(steps)), [step["ms"] for step in steps], color=colours)
    axes.set_yticks(range(len(steps)), labels, fontsize=6)
    axes.invert_yaxis()
    axes.axvline(TARGETS["step_ms"], color="black", linestyle="--", linewidth=1)
    axes.set_xlabel("milliseconds per step of a pair; dashed: the target for ResNet18")


def draw_packing(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Draws images per second over the number of trials that share the card."""
    rounds = sorted(
        (each.result for each in outcomes if each.section == "packing"), key=lambda found: found["processes"]
    )
    if not rounds:
        raise NotHereError("no packing was measured")
    numbers = [found["processes"] for found in rounds]
    axes.plot(numbers, [found["images_per_second"] for found in rounds], marker="o")
    axes.set_xticks(numbers)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("trials side by side")
    axes.set_ylabel("images per second of all together")


def draw_curves(axes: Any, outcomes: Sequence[Outcome]) -> None:
    """Draws the validation accuracy of every training, at full precision and quantized."""
    trained = [each for each in outcomes if each.section == "science" and each.result.get("curve")]
    if not trained:
        raise NotHereError("nothing was trained")
    for number, outcome in enumerate(trained):
        curve = outcome.result["curve"]
        for name, style in (("accuracy", "-"), ("accuracy_fp", "-"), ("accuracy_q", "--")):
            key = f"validation/{name}"
            points = [(point["epoch"], 100 * point[key]) for point in curve if key in point]
            if points:
                label = outcome.item if style == "-" else None
                axes.plot(*zip(*points, strict=True), style, marker=".", color=f"C{number % 10}", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy, percent; dashed: quantized")
    axes.legend(fontsize=7)
