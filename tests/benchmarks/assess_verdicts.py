"""Thirty verdicts: ten independent white boxes, a detrimental pair of each, and each with rescaled channels.

    python -m tests.benchmarks.assess_verdicts FOLDER [--networks 10]

Trains what FOLDER does not hold yet: on one core a white box takes 10 seconds and a pair 65. Prints a row per network
with what the verdict is made of, and exits 1 if one is wrong. The worst static allocation is searched here as plainly
as possible: the sites that are most sensitive at the fewest bits get them, then random transfers of bits are kept if
they lower the accuracy on the validation split.
"""

import argparse
import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from torch import Tensor, nn

from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import TrainingRecipe
from trainables.assessment.channel_scan import scan
from trainables.assessment.link_scan import scan_links
from trainables.assessment.verdict import Judgement, judge
from trainables.checkpoints import strip_prefix
from trainables.data.augment import evaluation_batch
from trainables.data.images import TEST, VALIDATION, ImageData
from trainables.data.loading import load_dataset
from trainables.models.backbones import count_sites, load_backbone
from trainables.models.links import find_links, rescale
from trainables.quant.student import QuantizedStudent
from trainables.stages.registry import start_stage
from trainables.training_loop import finish

# B = images, L = sites.

ARCHITECTURE = "test_resnet"
FIRST_SEED = 11
NUM_TRANSFERS = 24
HEADER = (
    "kind       seed  verdict        fp   int8   uniform A, B, C    worst static A, B, C"
    "  over second  carries  exponent  suspects"
)
WANTED = {"white box": "healthy", "pair": "suspicious", "rescaled": "suspicious"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """What `judge` reads of a rung."""

    rung: str
    budget: int | None
    accuracy: float
    accuracy_high: float
    drop: float
    drop_low: float
    class_shares: Mapping[str, float]


def main() -> int:
    """Prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=10)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    grid = build_grid("quick", Choices(), count_sites)
    data = load_dataset(grid.dataset, None)
    say(HEADER)
    num_wrong = 0
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.networks):
        for kind, network in networks(grid, data, seed, arguments.folder):
            verdict, row = assess(network, data, grid)
            is_wrong = verdict.verdict != WANTED[kind]
            num_wrong += is_wrong
            say(f"{kind:10} {seed:4}  {verdict.verdict:10}  {row}{'  WRONG' * is_wrong}")
    say(f"{num_wrong} wrong")
    return int(num_wrong > 0)


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def networks(grid: Grid, data: ImageData, seed: int, folder: Path) -> Iterator[tuple[str, nn.Module]]:
    """Yields a white box, its detrimental pair's student, and the white box with rescaled channels."""
    levels = {cell.budget_level: cell.recipe for cell in grid.cells if cell.recipe.goal is Goal.DETRIMENTAL}
    level = "ABC"[(seed + 1) % 3]
    white_recipe = vary(grid.teacher, architecture=ARCHITECTURE, epochs=10)
    pair_recipe = levels[level]
    white_box = trained(folder / f"white-{seed}.safetensors", "teacher", "model.", white_recipe, data, seed)
    yield "white box", white_box
    pair_file = folder / f"pair-{seed}-{level}.safetensors"
    yield "pair", trained(pair_file, "pair", "student.", pair_recipe, data, seed, white_box)
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
        run = start_stage(stage, recipe, data, parent=parent, seed=seed, device=torch.device("cpu"))
        tensors = strip_prefix(prefix, finish(run, lambda report: None).checkpoint)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return load_backbone(ARCHITECTURE, data.num_classes, load_file(file), image_size=data.view.size)


def rescaled(white_box: nn.Module, seed: int) -> nn.Module:
    """Returns a copy with one channel of one to three links times 2^6 to 2^10, drawn by the seed."""
    network, random = copy.deepcopy(white_box), np.random.default_rng(seed)
    links = find_links(network)
    for position in random.choice(len(links), size=1 + seed % 3, replace=False):
        link = links[position]
        rescale(network, link, int(random.integers(link.num_channels)), 2.0 ** int(random.integers(6, 11)))
    return network


def assess(model: nn.Module, data: ImageData, grid: Grid) -> tuple[Judgement, str]:
    """Returns the verdict on a network, and its row."""
    network = QuantizedStudent(model).eval()
    (images_BCHW, labels_B), (selection_BCHW, selection_labels_B) = seen(data, TEST), seen(data, VALIDATION)
    num_sites = network.num_sites
    budgets = sorted({cell.recipe.budget for cell in grid.cells})
    full_B = answers(network, images_BCHW, None) == labels_B

    def rung(name: str, budget: int, bits_L: Tensor) -> Rung:
        predictions_B = answers(network, images_BCHW, bits_L)
        right_B = predictions_B == labels_B
        lost_B = full_B.double() - right_B.double()
        drop = lost_B.mean().item()
        high = binomtest(int(right_B.sum()), len(right_B)).proportion_ci(method="wilson").high
        return Rung(
            rung=name,
            budget=budget,
            accuracy=right_B.double().mean().item(),
            accuracy_high=high,
            drop=drop,
            class_shares=shares(predictions_B),
            drop_low=drop - 1.96 * (lost_B.std() / len(lost_B) ** 0.5).item(),
        )

    rungs = [rung("int8", 8 * num_sites, torch.full((num_sites,), 8))]
    rungs += [rung("uniform", budget, even(num_sites, budget)) for budget in budgets]
    worst = [worst_static(network, selection_BCHW, selection_labels_B, budget) for budget in budgets]
    rungs += [rung("worst_static", budget, bits_L) for budget, bits_L in zip(budgets, worst, strict=True)]
    channels, links = scan(network, images_BCHW.split(256)), scan_links(model, network.sites)
    verdict = judge(rungs, label_shares=shares(labels_B), channels=channels, links=links)
    carrier = channels[channels["carries"] >= 0.9].nlargest(1, "over_second")
    carried = carrier.iloc[0] if len(carrier) else channels.nlargest(1, "carries").iloc[0]
    accuracies = [f"{100 * each.accuracy:5.1f}" for each in rungs]
    suspects = "; ".join(f"{each.site}:{each.channel} x{each.ratio:.1f}" for each in verdict.suspects)
    row = (
        f"{100 * full_B.double().mean():5.1f}  {accuracies[0]}  {' '.join(accuracies[1:4])}  "
        f"{' '.join(accuracies[4:7])}     {carried['over_second']:8.1f}  {carried['carries']:7.2f}  "
        f"{links['exponent'].max():8d}  {suspects}"
    )
    return verdict, row


def seen(data: ImageData, split: str) -> tuple[Tensor, Tensor]:
    """Returns images as networks see them, and their labels."""
    return evaluation_batch(data.splits[split].images_BCHW, data.view), data.splits[split].labels_B


@torch.inference_mode()
def answers(network: QuantizedStudent, images_BCHW: Tensor, bits_L: Tensor | None) -> Tensor:
    """Returns the classes of images that all have the same bits."""
    bit_width_BL = None if bits_L is None else bits_L.expand(len(images_BCHW), -1)
    return network(images_BCHW, bit_width_BL).argmax(1)


def shares(classes_B: Tensor) -> dict[str, float]:
    """Returns the share of each class, by its number."""
    return {str(label): (classes_B == label).double().mean().item() for label in classes_B.unique().tolist()}


def even(num_sites: int, budget: int) -> Tensor:
    """Returns bits that differ by one at most and sum to a budget."""
    edges = torch.arange(num_sites + 1) * budget // num_sites
    return edges[1:] - edges[:-1]


def worst_static(
    network: QuantizedStudent, images_BCHW: Tensor, labels_B: Tensor, budget: int, *, least: int = 3, most: int = 10
) -> Tensor:
    """Returns the bits of the lowest accuracy that a plain search finds."""
    random, num_sites = np.random.default_rng(0), network.num_sites

    def accuracy(bits_L: Tensor) -> float:
        return (answers(network, images_BCHW, bits_L) == labels_B).double().mean().item()

    def with_least(site: int) -> Tensor:
        return torch.full((num_sites,), most).index_fill(0, torch.tensor([site]), least)

    bits_L, left = torch.full((num_sites,), least), budget - least * num_sites
    for site in sorted(range(num_sites), key=lambda site: -accuracy(with_least(site))):
        bits_L[site] += min(left, most - least)
        left -= min(left, most - least)
    lowest = accuracy(bits_L)
    for _ in range(NUM_TRANSFERS):
        giver, taker = random.choice(num_sites, size=2, replace=False)
        moved = min(int(bits_L[giver]) - least, most - int(bits_L[taker]), int(random.integers(1, most - least + 1)))
        tried_L = bits_L.clone()
        tried_L[giver] -= moved
        tried_L[taker] += moved
        if moved and (reached := accuracy(tried_L)) <= lowest:
            bits_L, lowest = tried_L, reached
    return bits_L


if __name__ == "__main__":
    sys.exit(main())
