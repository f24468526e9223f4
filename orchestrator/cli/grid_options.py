"""Options that change a grid: what a sweep runs, and how it is searched."""

from collections.abc import Callable
from typing import Any

import click

from orchestrator.cli.completion import datasets, grids
from orchestrator.cli.help import search, together, what
from search_spaces.dataset_kinds import DATASET_FORMS
from search_spaces.errors import ConfigError
from search_spaces.names import CROP_MODES, GRIDS, INTERPOLATIONS, MAX_SEED, PRUNERS, SAMPLERS, SEARCH_UNTIL, Goal
from search_spaces.pixels import channels_text, parse_image_size, parse_mean, parse_std

SEARCH_FIELDS = ("trials", "gpu_hours", "sampler", "pruner", "keep_searching", "until", "confirm_seeds")
"""Fields of `Search` that options set, in the order in which a sweep's name tells them."""


class Read(click.ParamType[Any]):
    """A value that a function reads and returns in its written form, which a job of a cluster gets again."""

    def __init__(self, name: str, read: Callable[[object], Any]) -> None:
        self.name, self.read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the text."""
        try:
            return self.read(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


view_options = together(
    what(
        "--image-size",
        type=Read("image size", parse_image_size),
        metavar="PIXELS|HxW",
        help="Height and width that networks see, in pixels: 224 for a square, 48x192 for others. "
        "[default: the dataset's]",
    ),
    what(
        "--mean",
        type=Read("mean", lambda text: channels_text(parse_mean(text))),
        metavar="R,G,B",
        help="Subtracted from the channels, as shares of 255, such as 0.5,0.5,0.5. [default: ImageNet's]",
    ),
    what(
        "--std",
        type=Read("std", lambda text: channels_text(parse_std(text))),
        metavar="R,G,B",
        help="What the differences are divided by, as shares of 255. [default: ImageNet's]",
    ),
    what(
        "--interpolation",
        type=click.Choice(INTERPOLATIONS),
        help=f"Filter that images are resized with. [default: {INTERPOLATIONS[0]}]",
    ),
    what(
        "--crop",
        type=click.FloatRange(0, 1, min_open=True),
        help="Share of the resized image's height and width that networks see, timm's crop_pct. "
        "[default: 0.875 of photographs, else 1]",
    ),
    what(
        "--crop-mode",
        type=click.Choice(CROP_MODES),
        help=f"How images of another shape fit: cut, stretched, or padded on the right. [default: {CROP_MODES[0]}]",
    ),
)
"""What networks see of the images of a dataset."""
grid_options = together(
    what(
        "--grid",
        default="quick",
        show_default=True,
        shell_complete=grids,
        help=f"{', '.join(GRIDS)} (the paper's) or a .yaml file.",
    ),
    what("--name", help="Name of the sweep. [default: the grid and what was changed of it]"),
    what(
        "--seed",
        "seeds",
        multiple=True,
        type=click.IntRange(min=0, max=MAX_SEED),
        help="Of everything random; repeatable: pairs are trained with each, what they share with the first. "
        "[default: 0, or the file's]",
    ),
    what("--dataset", shell_complete=datasets, help=f"In place of the grid's: {', '.join(DATASET_FORMS)}."),
    view_options,
    what(
        "--train-images",
        type=click.IntRange(min=1),
        help="Keep so many training images, validation included, every class with its share. [default: all]",
    ),
    what(
        "--test-images",
        type=click.IntRange(min=1),
        help="Keep so many test images, every class with its share. [default: all]",
    ),
    what(
        "--drop-duplicates",
        is_flag=True,
        default=None,
        help="Leave training images out whose content is that of a test image (folder: and local parquet:).",
    ),
    what("--teacher-weights", help="Where the teacher starts: imagenet, scratch or a file of weights."),
    what("--teacher", metavar="URI", help="A teacher that is given, such as timm:NAME@FILE; none is trained."),
    what("--architecture", "architectures", multiple=True, help="White box to distil, any timm name; repeatable."),
    what(
        "--white-box",
        "white_boxes",
        multiple=True,
        metavar="URI",
        help="A white box that is given, such as timm:NAME@FILE, hf:FOLDER or python:MODULE:FUNCTION, in place of "
        "teacher and distillation; repeatable.",
    ),
    what(
        "--option-set",
        "option_sets",
        multiple=True,
        help="I (3..10 bits), II (4..10), III (5..10) or one of the grid file's; repeatable.",
    ),
    what(
        "--budget",
        "budgets",
        multiple=True,
        type=click.IntRange(min=1),
        help="Sum of the bit-widths over all sites of an image, in place of levels A, B, C; repeatable.",
    ),
    what(
        "--goal",
        "goals",
        multiple=True,
        type=click.Choice([goal.value for goal in Goal]),
        help="Of the pairs; repeatable.",
    ),
    what("--epochs-scale", type=float, help="Multiply the epochs of all stages, for example by 0.5."),
    what(
        "--set",
        "overrides",
        multiple=True,
        metavar="STAGE.FIELD=VALUE",
        help="Any field of a recipe or the dataset, such as pair.margin=0.05, pair.robust.margin=0.05 or "
        "dataset.split_seed=1; wins over everything else; repeatable.",
    ),
    search(
        "--search-trials",
        "trials",
        type=click.IntRange(min=0),
        help="Per searched cell beyond its first; cells with a hit leave theirs to the others.",
    ),
    search(
        "--search-gpu-hours",
        "gpu_hours",
        type=click.FloatRange(min=0, min_open=True),
        help="Start no search trial after so many hours of GPUs in them (of cores where trials have no GPU).",
    ),
    search("--sampler", type=click.Choice(SAMPLERS), help="Of the search. [default: tpe]"),
    search("--pruner", type=click.Choice(PRUNERS), help="Ends bad search trials early. [default: where epochs allow]"),
    search(
        "--keep-searching", is_flag=True, default=None, help="Search on in cells that have a hit, a catastrophic pair."
    ),
    search(
        "--search-until",
        "until",
        type=click.Choice(SEARCH_UNTIL),
        help="What ends the search of a cell: any hit, or one that the validation images show. [default: hit]",
    ),
    search(
        "--confirm-seeds",
        type=click.IntRange(min=0),
        help="Further seeds on which the pair that a search found is trained again.",
    ),
)
