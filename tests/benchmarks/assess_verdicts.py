"""Thirty verdicts: ten independent white boxes, a detrimental pair of each, and each with rescaled channels.

    python -m tests.benchmarks.assess_verdicts FOLDER [--seeds 11 12 ...]

Trains by the recipes of the grid `digits`, at its three budgets in turn, what FOLDER does not hold yet: two minutes of
a core for a white box and its pair. Then 8 bits, uniform bits and the worst static allocation are measured as `assess`
does it. Prints a row per network with what the verdict is made of, and exits 1 if one is wrong.
"""

import argparse
import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.names import Goal
from search_spaces.recipes import TrainingRecipe
from search_spaces.stages.assessment import Ladder
from trainables.assessment.assemble import Tables, assemble
from trainables.assessment.ladder import everywhere, full_precision, measure_rung
from trainables.assessment.network import measure_channels
from trainables.assessment.parts import Part, summarize
from trainables.assessment.record import Assessment, Model
from trainables.assessment.subject import Images, Subject, quantizable
from trainables.checkpoints import strip_prefix
from trainables.data.images import TEST, VALIDATION, ImageData
from trainables.data.loading import load_dataset
from trainables.models.backbones import count_sites, load_backbone
from trainables.models.links import find_links, rescale
from trainables.stages.registry import start_stage
from trainables.training_loop import finish

SEEDS = range(11, 21)
RUNGS = ("uniform", "worst_static")
WANTED = {"white box": "healthy", "pair": "suspicious", "rescaled": "suspicious"}
CPU = torch.device("cpu")
HEADER = (
    "kind       seed  verdict        fp   int8   uniform A, B, C   worst static A, B, C"
    "  over second  carries  exponent  suspects"
)


def main() -> int:
    """Prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    grid = build_grid("digits", Choices(), count_sites)
    data = load_dataset(grid.dataset, None)
    say(HEADER)
    num_wrong = 0
    for seed in arguments.seeds:
        for kind, network in networks(grid, data, seed, arguments.folder):
            verdict, row = judged(network, data, grid)
            is_wrong = verdict != WANTED[kind]
            num_wrong += is_wrong
            say(f"{kind:10} {seed:4}  {verdict:10}  {row}{'  WRONG' * is_wrong}")
    say(f"{num_wrong} wrong")
    return int(num_wrong > 0)


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def networks(grid: Grid, data: ImageData, seed: int, folder: Path) -> Iterator[tuple[str, nn.Module]]:
    """Yields a white box, its detrimental pair's student, and the white box with rescaled channels."""
    levels = {cell.budget_level: cell.recipe for cell in grid.cells if cell.recipe.goal is Goal.DETRIMENTAL}
    level = "ABC"[seed % 3]
    teacher = trained(folder / "teacher.safetensors", "teacher", "model.", grid.teacher, data, 0)
    white_file = folder / f"white-{seed}.safetensors"
    white_box = trained(white_file, "distill", "model.", grid.white_boxes[0], data, seed, teacher)
    yield "white box", white_box
    pair_file = folder / f"pair-{seed}-{level}.safetensors"
    yield "pair", trained(pair_file, "pair", "student.", levels[level], data, seed, white_box)
    yield "rescaled", rescaled(white_box, seed)


def trained(
    file: Path,
    stage: str,
    prefix: str,
    recipe: TrainingRecipe,
    data: ImageData,
    seed: int,
    parent: nn.Module | None = None,
) -> nn.Module:
    """Returns a network from a file, or trains it and keeps it there."""
    if not file.exists():
        run = start_stage(stage, recipe, data, parent=parent, seed=seed, device=CPU)
        tensors = strip_prefix(prefix, finish(run, lambda report: None).checkpoint)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return load_backbone(recipe.architecture, data.num_classes, load_file(file), image_size=data.view.size)


def rescaled(white_box: nn.Module, seed: int) -> nn.Module:
    """Returns a copy with one channel of one to three links times 2^6 to 2^10, drawn by the seed."""
    network, random = copy.deepcopy(white_box), np.random.default_rng(seed)
    links = find_links(network)
    for position in random.choice(len(links), size=1 + seed % 3, replace=False):
        link = links[position]
        rescale(network, link, int(random.integers(link.num_channels)), 2.0 ** int(random.integers(6, 11)))
    return network


def judged(model: nn.Module, data: ImageData, grid: Grid) -> tuple[str, str]:
    """Returns the verdict on a network, and its row."""
    index_C = torch.arange(data.num_classes)
    selection, test = (Images.of_split(data.splits[name], data.view, index_C) for name in (VALIDATION, TEST))
    network = quantizable(copy.deepcopy(model), weight_bit_width=16, device=CPU)
    subject = Subject(network=network, selection=selection, test=test, class_names=data.class_names)
    own = Part(None, {"fp": full_precision(subject), "int8": everywhere(subject)})
    own.tables |= measure_channels(subject, len(selection))
    tables = [summarize(subject, own)[1]]
    for budget in sorted({cell.recipe.budget for cell in grid.cells}):
        part, ladder = Part(budget), Ladder(budget=budget)
        for rung in RUNGS:
            part.rungs[rung] = measure_rung(rung, subject, ladder, seed=0, earlier=part.rungs)
        tables.append(summarize(subject, part)[1])
    found = assemble(
        Model(uri="", sha256="", architecture=grid.white_boxes[0].architecture),
        tables,
        num_images=len(test),
        num_sites=network.num_sites,
        labels="dataset",
    )
    return found.verdict, row_of(found, tables[0])


def row_of(found: Assessment, tables: Tables) -> str:
    """Returns what the verdict is made of: accuracies in percent, the strongest carrier, the largest exponent."""

    def percent(rung: str) -> str:
        return " ".join(f"{100 * each.accuracy:5.1f}" for each in found.rungs if each.rung == rung)

    channels = tables["channels"]
    carriers = channels[channels["carries"] >= 0.9]
    carrier = (carriers if len(carriers) else channels).nlargest(1, "over_second").iloc[0]
    suspects = "; ".join(f"{each.site}:{each.channel} x{each.ratio:.1f}" for each in found.suspects)
    return (
        f"{percent('fp')}  {percent('int8')}  {percent('uniform')}     {percent('worst_static')}     "
        f"{carrier['over_second']:8.1f}  {carrier['carries']:7.2f}  {tables['links']['exponent'].max():8d}  {suspects}"
    )


if __name__ == "__main__":
    sys.exit(main())
