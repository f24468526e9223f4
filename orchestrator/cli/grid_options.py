"""Options that change a grid, and the plan that they ask for."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import click

from orchestrator.cli.options import Command
from orchestrator.plan import Plan, build_plan
from orchestrator.workers.entry_points import num_sites
from search_spaces.datasets import DATASET_FORMS, dataset_slug
from search_spaces.grids.build import Choices, build_grid
from search_spaces.recipes import Goal
from search_spaces.search import PRUNERS, SAMPLERS

SEARCH_OPTIONS = {
    "trials": click.option(
        "--search-trials",
        type=click.IntRange(min=0),
        help="Per searched cell beyond its first; cells that have their pair leave theirs to the others.",
    ),
    "gpu_hours": click.option(
        "--search-gpu-hours",
        type=click.FloatRange(min=0, min_open=True),
        help="Start no search trial after so many hours of GPUs in them (of cores where trials have no GPU).",
    ),
    "sampler": click.option("--sampler", type=click.Choice(SAMPLERS), help="Of the search. [default: tpe]"),
    "pruner": click.option(
        "--pruner", type=click.Choice(PRUNERS), help="Ends bad search trials early. [default: where epochs allow]"
    ),
    "keep_searching": click.option(
        "--keep-searching", is_flag=True, default=None, help="Search on in cells that have their catastrophic pair."
    ),
    "confirm_seeds": click.option(
        "--confirm-seeds",
        type=click.IntRange(min=0),
        help="Further seeds on which the pair that a search found is trained again.",
    ),
}
"""By the field of `Search` that each sets."""


def choices_of(values: Mapping[str, Any]) -> Choices:
    """Makes the user's choices of the values of a command's options, those of `grid_options` among them."""
    options = {"trials": "search_trials", "gpu_hours": "search_gpu_hours"}
    search = {field: values[options.get(field, field)] for field in SEARCH_OPTIONS}
    others = {field.name: values[field.name] for field in dataclasses.fields(Choices) if field.name != "search"}
    return Choices(**others, search={field: value for field, value in search.items() if value is not None})


def grid_options(command: Command) -> Command:
    """Adds the options that say what to run."""
    for option in reversed(
        (
            click.option(
                "--grid",
                default="quick",
                show_default=True,
                help="quick, smoke, cifar10, full (the paper's) or a .yaml file.",
            ),
            click.option("--name", help="Name of the sweep. [default: the grid and what was changed of it]"),
            click.option(
                "--seed",
                "seeds",
                multiple=True,
                type=click.IntRange(min=0),
                help="Of everything random; repeatable: pairs are trained with each, what they share with the first. "
                "[default: 0, or the file's]",
            ),
            click.option("--dataset", help=f"In place of the grid's: {', '.join(DATASET_FORMS)}."),
            click.option(
                "--image-size",
                type=click.IntRange(min=8),
                help="Height and width that networks see, in pixels. [default: the dataset's]",
            ),
            click.option(
                "--train-images",
                type=click.IntRange(min=1),
                help="Keep so many training images, validation included, every class with its share. [default: all]",
            ),
            click.option(
                "--test-images",
                type=click.IntRange(min=1),
                help="Keep so many test images, every class with its share. [default: all]",
            ),
            click.option(
                "--teacher-weights", help="Where the teacher starts: imagenet, scratch or a .safetensors file."
            ),
            click.option(
                "--architecture", "architectures", multiple=True, help="White box, any timm name; repeatable."
            ),
            click.option(
                "--option-set",
                "option_sets",
                multiple=True,
                help="I (3..10 bits), II (4..10), III (5..10) or one of the grid file's; repeatable.",
            ),
            click.option(
                "--budget",
                "budgets",
                multiple=True,
                type=click.IntRange(min=1),
                help="Sum of the bit-widths over all sites of an image, in place of levels A, B, C; repeatable.",
            ),
            click.option(
                "--goal",
                "goals",
                multiple=True,
                type=click.Choice([goal.value for goal in Goal]),
                help="Of the pairs; repeatable.",
            ),
            *SEARCH_OPTIONS.values(),
            click.option("--epochs-scale", type=float, help="Multiply the epochs of all stages, for example by 0.5."),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="STAGE.FIELD=VALUE",
                help="Any field of a recipe or the dataset, such as pair.margin=0.05, pair.robust.margin=0.05 or "
                "dataset.split_seed=1; wins over everything else; repeatable.",
            ),
        )
    ):
        command = option(command)
    return command


def plan_from_options(grid: str, choices: Choices) -> Plan:
    """Builds the plan that the options ask for.

    Raises:
        ConfigError: A name is unknown, or a budget that the user asked for cannot be met.
    """
    plan = build_plan(build_grid(grid, choices, num_sites), num_sites)
    if plan.refused and (choices.budgets or not plan.has_pairs):
        # A named grid may hold cells that the paper printed and nobody can run; a budget typed by hand is a mistake.
        plan.raise_first_refusal()
    return plan


def default_name(grid: str, choices: Choices) -> str:
    """Names a sweep after its grid and what was changed of it.

    Args:
        grid: The grid's own name; of a file, the one that stands in it.
        choices: What was changed.

    Examples:
        >>> default_name("quick", Choices(seeds=(1,), budgets=(82,)))
        'quick-82b-seed1'
        >>> default_name("quick", Choices(epochs_scale=0.5, overrides=("pair.margin=0.05",)))
        'quick-epochs0.5-pair.margin-0.05'
        >>> default_name("quick", Choices(dataset="folder:/data/my flowers", image_size=64, train_images=500))
        'quick-folder-my-flowers-64px-500train'
    """
    parts = [grid, dataset_slug(choices.dataset) if choices.dataset else None, *_size_parts(choices)]
    parts += [*choices.architectures, *choices.option_sets, *(f"{budget}b" for budget in choices.budgets)]
    parts += choices.goals
    parts += ["own-weights"] if choices.teacher_weights else []
    parts += [f"epochs{choices.epochs_scale:g}"] if choices.epochs_scale is not None else []
    parts += [f"{name.replace('_', '-')}-{value}" for name, value in choices.search.items()]
    parts += [re.sub(r"[^\w.]+", "-", override).strip("-") for override in choices.overrides]
    parts += [f"seed{'-'.join(map(str, choices.seeds))}"] if any(choices.seeds) else []
    return "-".join(part for part in parts if part)


def _size_parts(choices: Choices) -> list[str]:
    sizes = {"px": choices.image_size, "train": choices.train_images, "test": choices.test_images}
    return [f"{size}{unit}" for unit, size in sizes.items() if size is not None]
