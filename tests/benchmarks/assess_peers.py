"""Which tools notice that a network was made to fail: theirs and `assess`, on the same networks and images.

    python -m tests.benchmarks.assess_peers FOLDER [--seeds 11 12 ...] [--only AIMET]

The networks are those of `assess_verdicts`: white boxes, which are healthy, a detrimental pair of each, and each with
rescaled channels; FOLDER keeps them. Every tool calibrates on the same images of the training split, and is measured
on the test split. A tool *notices* a network where its own output meets the rule in `TOOLS`, which is what a user of
it would look at; our bound of 2 percentage points stands in wherever a tool names none. A tool that is not installed
is a row that says so: `make bench-assess` installs them all.
"""

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from search_spaces.grids.build import Choices, build_grid
from tests.benchmarks import quantization_tools as tools
from tests.benchmarks.assess_verdicts import SEEDS, networks, say
from trainables.assessment.run import assess
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, TRAIN, VALIDATION
from trainables.data.loading import load_dataset
from trainables.models.backbones import count_sites

NUM_CALIBRATION_IMAGES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool and what it takes for it to notice something."""

    name: str
    package: str
    """What must be importable."""
    rule: str
    """When it notices a network, in words."""
    examine: Callable[[nn.Module, tools.Pictures], tools.Finding]


def ours(model: nn.Module, pictures: tools.Pictures) -> tools.Finding:
    """Runs `assess` at 8 bits and its three default budgets."""
    found = assess(model, *pictures.test, selection=pictures.selection)
    suspects = ", ".join(f"{each.site}:{each.channel} x{each.ratio:.0f}" for each in found.suspects[:2])
    static = max((rung.drop for rung in found.rungs if rung.rung in ("int8", "uniform", "worst_static")), default=0.0)
    detail = f"{found.verdict}, static drops up to {100 * static:.1f} pp"
    return tools.Finding(found.verdict != "healthy", f"{detail}, {suspects}" if suspects else detail)


TOOLS = (
    Tool(
        name="AIMET QuantAnalyzer, 8 bits",
        package="aimet_torch",
        rule="W8A32, W32A8 or a score of per_layer_quant_enabled.json is more than 2 pp below FP32",
        examine=tools.aimet(8),
    ),
    Tool(
        name="AIMET QuantAnalyzer, 4 bits",
        package="aimet_torch",
        rule="the same with activations at 4 bits, the fewest that it takes; weights at 8",
        examine=tools.aimet(4),
    ),
    Tool(
        name="ONNX Runtime, static and qdq_loss_debug",
        package="onnxruntime",
        rule="accuracy of quantize_static's file more than 2 pp lower, or a weight or tensor of less than 10 dB",
        examine=tools.onnxruntime_static,
    ),
    Tool(
        name="ONNX Runtime, quantize_dynamic",
        package="onnxruntime",
        rule="accuracy of its int8 file more than 2 pp lower, image by image",
        examine=tools.onnxruntime_dynamic,
    ),
    Tool(
        name="ModelOpt auto_quantize, INT8",
        package="modelopt",
        rule="accuracy at 8 effective bits more than 2 pp lower, or a layer's score 1,000 times the median",
        examine=tools.modelopt,
    ),
    Tool(name="dptq-sweep assess", package="trainables", rule="verdict is not healthy", examine=ours),
)


def main() -> None:
    """Prints the rules, a row per tool and network, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS[:1])
    parser.add_argument("--only", default="", help="run the tools whose names have this in them")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    grid = build_grid("digits", Choices(), count_sites)
    data = load_dataset(grid.dataset, None)
    chosen = [tool for tool in TOOLS if arguments.only in tool.name]
    train, validation, test = (
        tools.Labelled(evaluation_batch(split.images_BCHW, data.view), split.labels_B)
        for split in (data.splits[name] for name in (TRAIN, VALIDATION, TEST))
    )
    calibration_BCHW = train.images_BCHW[:NUM_CALIBRATION_IMAGES]
    pictures = tools.Pictures(calibration_BCHW, validation, test)
    say(f"{len(test.images_BCHW)} images, {len(calibration_BCHW)} to calibrate on, {torch.get_num_threads()} thread")
    for tool in chosen:
        say(f"{tool.name} notices a network where: {tool.rule}")
    say(f"{'tool':40}  {'network':9}  seed  notices  seconds  processor s  what it says")
    counts: dict[str, dict[str, list[float]]] = {}
    for seed in arguments.seeds:
        for kind, network in networks(grid, data, seed, arguments.folder):
            for tool in chosen:
                examined = timed(tool, network, pictures)
                if examined is None:
                    say(f"{tool.name:40}  {kind:9}  {seed:4}  not installed")
                    continue
                finding, seconds, processor_seconds = examined
                counts.setdefault(tool.name, {}).setdefault(kind, []).append(finding.notices)
                counts[tool.name].setdefault("seconds", []).append(processor_seconds)
                answer = "yes" if finding.notices else "no"
                say(
                    f"{tool.name:40}  {kind:9}  {seed:4}  {answer:7}  {seconds:7.1f}  {processor_seconds:11.1f}  "
                    f"{finding.detail}"
                )
    say(f"\n{'tool':40}  rescaled  pair  white box  processor s")
    for tool in chosen:
        say(f"{tool.name:40}  {summary(counts.get(tool.name), len(arguments.seeds))}")


def timed(tool: Tool, network: nn.Module, pictures: tools.Pictures) -> tuple[tools.Finding, float, float] | None:
    """Returns what a tool finds, with wall and processor seconds; None where it is not installed."""
    if find_spec(tool.package) is None:
        return None
    start, processor_start = time.perf_counter(), time.process_time()
    with redirect_stdout(sys.stderr):
        finding = tool.examine(copy.deepcopy(network), pictures)
    return finding, time.perf_counter() - start, time.process_time() - processor_start


def summary(counts: dict[str, list[float]] | None, num_networks: int) -> str:
    """Returns how many networks of each kind a tool noticed, and its median processor seconds."""
    if counts is None:
        return "not installed"
    noticed = [f"{sum(counts[kind]):.0f} of {num_networks}" for kind in ("rescaled", "pair", "white box")]
    seconds = sorted(counts["seconds"])[len(counts["seconds"]) // 2]
    return f"{noticed[0]:>8}  {noticed[1]:>6}  {noticed[2]:>7}  {seconds:11.1f}"


if __name__ == "__main__":
    sys.exit(main())
