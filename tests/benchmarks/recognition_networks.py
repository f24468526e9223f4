"""The networks of the recognition benchmark, trained where a folder does not hold them yet.

    python -m tests.benchmarks.recognition_networks FOLDER [--attacked 101 102 ...] [--healthy 201 202 ...]

Of every attacked seed there are five, by the recipes of the grid `digits`: a white box, its detrimental pair, the white
box with one channel of every link rescaled, and the two attacks once more by somebody who knows what a detector looks
at. The trained one pays for channels that stand out (`hide_weight`). The rescaled one scales most channels of every
link, so that none is above the others: the few that are left lose their levels. Healthy seeds have a white box only, of
fewer epochs.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from search_spaces.grids.build import Choices, Grid, build_grid
from search_spaces.model import vary
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe
from tests.benchmarks.assess_verdicts import CPU, say, trained
from trainables.checkpoints import strip_prefix
from trainables.data.images import ImageData
from trainables.data.loading import load_dataset
from trainables.models.backbones import count_sites, load_backbone
from trainables.models.links import find_links, rescale
from trainables.stages.registry import start_stage
from trainables.training_loop import finish

ATTACKED = tuple(range(101, 111))
HEALTHY = tuple(range(201, 231))
HEALTHY_EPOCHS = 8
HIDDEN_EPOCHS = 16
HIDE_WEIGHT = 1.0
SHARE_RESCALED = 0.6
"""Of the channels of a link, where the attack hides."""
KINDS = ("white box", "pair", "rescaled", "hidden pair", "hidden rescaled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A network of the benchmark."""

    seed: int
    """Of its white box: what shares one is one cluster."""
    kind: str
    """One of `KINDS`."""
    level: str
    """Budget level that its pair was trained for."""
    model: nn.Module

    @property
    def is_attack(self) -> bool:
        """Whether somebody made it fail."""
        return self.kind != "white box"


def networks(
    folder: Path, grid: Grid, data: ImageData, attacked: list[int], healthy: list[int], *, trains: bool = True
) -> Iterator[Made]:
    """Yields the networks, seed by seed; trains what is not there, or leaves it out."""
    teacher = trained(folder / "teacher.safetensors", "teacher", "model.", grid.teacher, data, 0)
    recipe, short = grid.white_boxes[0], vary(grid.white_boxes[0], epochs=HEALTHY_EPOCHS)
    for seed in [*attacked, *healthy]:
        file = folder / f"white-{seed}.safetensors"
        if not trains and not file.exists():
            continue
        white_box = trained(file, "distill", "model.", recipe if seed in attacked else short, data, seed, teacher)
        level = "ABC"[seed % 3] if seed in attacked else ""
        yield Made(seed=seed, kind="white box", level=level, model=white_box)
        if seed in attacked:
            yield from attacks(folder, grid, data, seed, level, white_box, trains=trains)


def attacks(
    folder: Path, grid: Grid, data: ImageData, seed: int, level: str, white_box: nn.Module, *, trains: bool
) -> Iterator[Made]:
    """Yields the attacks on one white box."""
    recipe = next(
        cell.recipe for cell in grid.cells if cell.budget_level == level and cell.recipe.goal is Goal.DETRIMENTAL
    )
    files = {kind: folder / f"{kind.split()[0]}-{seed}-{level}.safetensors" for kind in ("pair", "hidden pair")}
    if trains or files["pair"].exists():
        model = trained(files["pair"], "pair", "student.", recipe, data, seed, white_box)
        yield Made(seed=seed, kind="pair", level=level, model=model)
    yield Made(seed=seed, kind="rescaled", level=level, model=rescaled(white_box, seed))
    if trains or files["hidden pair"].exists():
        model = hidden_pair(files["hidden pair"], recipe, data, seed, white_box)
        yield Made(seed=seed, kind="hidden pair", level=level, model=model)
    model = rescaled(white_box, seed, SHARE_RESCALED)
    yield Made(seed=seed, kind="hidden rescaled", level=level, model=model)


def hidden_pair(file: Path, recipe: PairRecipe, data: ImageData, seed: int, white_box: nn.Module) -> nn.Module:
    """Returns the student of a pair that pays for being seen; its metrics lie beside the file."""
    if not file.exists():
        recipe = vary(recipe, epochs=HIDDEN_EPOCHS, hide_weight=HIDE_WEIGHT)
        result = finish(start_stage("pair", recipe, data, parent=white_box, seed=seed, device=CPU), lambda report: None)
        file.with_suffix(".json").write_text(json.dumps(result.metrics))
        tensors = strip_prefix("student.", result.checkpoint)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return load_backbone(recipe.architecture, data.num_classes, load_file(file), image_size=data.view.size)


def rescaled(white_box: nn.Module, seed: int, share: float | None = None) -> nn.Module:
    """Returns a copy with one channel of every link, or a share of them, times 2^6 to 2^10, drawn by the seed."""
    network, random = copy.deepcopy(white_box), np.random.default_rng(seed)
    for link in find_links(network):
        factor = 2.0 ** int(random.integers(6, 11))
        count = 1 if share is None else round(share * link.num_channels)
        for channel in random.choice(link.num_channels, size=count, replace=False).tolist():
            rescale(network, link, channel, factor)
    return network


def opened(folder: Path) -> tuple[Grid, ImageData]:
    """Returns the grid of the recipes and the data; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    grid = build_grid("digits", Choices(), count_sites)
    return grid, load_dataset(grid.dataset, None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder and the seeds."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attacked", type=int, nargs="*", default=list(ATTACKED))
    parser.add_argument("--healthy", type=int, nargs="*", default=list(HEALTHY))


def main() -> int:
    """Trains what is not there, and names it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    arguments = parser.parse_args()
    for made in networks(arguments.folder, *opened(arguments.folder), arguments.attacked, arguments.healthy):
        say(f"{made.seed} {made.kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
