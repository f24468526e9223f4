"""Options that several subcommands share, and what they stand for."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from orchestrator.deferred import num_sites
from orchestrator.plan import Plan, build_plan
from orchestrator.store import Store
from orchestrator.sweeps import Sweep, latest_sweep_name
from search_spaces.datasets import DATASET_FORMS, dataset_slug
from search_spaces.grids import Choices, build_grid
from search_spaces.recipes import Goal
from search_spaces.search import PRUNERS, SAMPLERS

Command = TypeVar("Command", bound=Callable[..., Any])

PIPE_WIDTH = 130
DEFAULT_STORAGE = "dptq-sweeps"

# What a machine of a cluster sets in its environment, so that the command is the same there.
storage_option = click.option(
    "--storage",
    default=DEFAULT_STORAGE,
    show_default=True,
    envvar="DPTQ_STORAGE",
    show_envvar=True,
    help="Folder or URI (s3://, gs://) that holds all trials and sweeps.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
sweep_argument = click.argument("name", metavar="[SWEEP]", required=False)
"""A sweep that was launched before; without it the one that was launched last."""
data_dir_option = click.option(
    "--data-dir",
    default=Path("data"),
    show_default=True,
    envvar="DPTQ_DATA_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Folder of oxford-iiit-pet and cifar10, and of the cache of decoded images.",
)
address_option = click.option(
    "--address",
    envvar="DPTQ_ADDRESS",
    show_envvar=True,
    help="Ray cluster to join: auto or host:port; `launch` also takes http://HOST:8265. [default: this machine]",
)
tracking_option = click.option(
    "--tracking-uri",
    envvar="DPTQ_TRACKING_URI",
    show_envvar=True,
    help="MLflow: sqlite:///... or http(s)://... [default: a database in the storage]",
)
shared_option = click.option(
    "--shared-storage",
    is_flag=True,
    envvar="DPTQ_SHARED_STORAGE",
    show_envvar=True,
    help="All machines of the cluster mount the folder --storage at its path (NFS); not needed on object stores.",
)
price_option = click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0, min_open=True),
    help="Of a GPU, or of a core where a trial has no GPU; in any currency.",
)
verify_option = click.option(
    "--verify", is_flag=True, help="Compare all files of finished trials with their checksums first."
)


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


def open_sweep(storage: str, name: str | None) -> tuple[Sweep, Plan]:
    """Opens a sweep that was launched before, the latest one unless named, with its plan.

    Raises:
        ConfigError: There is no such sweep.
    """
    store = Store(storage, create=False)
    sweep = Sweep(store, name or latest_sweep_name(store))
    return sweep, sweep.load_plan(num_sites)


def make_console() -> Console:
    """Returns the terminal, or a wide page where there is none: a pipe has no width, and names must not be cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def line_printer(console: Console) -> Callable[[str], None]:
    """Returns what prints a line as it is, however long."""
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def written(paths: Sequence[str]) -> str:
    """Says in one line what a report wrote; the page comes last."""
    return f"wrote {len(paths)} files, to be read from {paths[-1]}"


def echo_json(value: object) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2))
