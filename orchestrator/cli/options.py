"""Options that several commands share. What their values stand for is in `values`, which takes longer to import."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import click

from orchestrator.cli.completion import sweeps
from orchestrator.cli.help import Decorator, limit, other, together, what, where
from orchestrator.store.defaults import STALLED_MINUTES, STORAGE
from search_spaces.uris import TRUSTED_HOSTS

FILE = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)
# What a machine of a cluster sets in its environment, so that the command is the same there.
storage_option = where(
    "--storage",
    default=STORAGE,
    show_default=True,
    envvar="DPTQ_STORAGE",
    show_envvar=True,
    help="Folder or URI (s3://, gs://) that holds all trials and sweeps.",
)
json_option = other("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
sweep_argument = click.argument("name", metavar="[SWEEP]", required=False, shell_complete=sweeps)
"""A sweep that was launched before; without it the one that was launched last."""
data_dir_option = where(
    "--data-dir",
    default=Path("data"),
    show_default=True,
    envvar="DPTQ_DATA_DIR",
    show_envvar=True,
    type=FILE,
    help="Folder of oxford-iiit-pet and cifar10, and of the cache of decoded images.",
)
launched_data_dir_option = where(
    "--data-dir",
    envvar="DPTQ_DATA_DIR",
    show_envvar=True,
    type=FILE,
    help="Folder of datasets, also of `folder:` and `parquet:` data that was moved into it. "
    "[default: that of the launch]",
)
image_options = together(
    what(
        "--labels",
        metavar="FILE",
        help="Names of the network's classes, one a line, to find those of the data; or `none`: what counts as right "
        "is then the network's answer at full precision. [default: by the network's own names]",
    ),
    what("--image-size", help="Pixels that the network sees, such as 224 or 48x192. [default: its own, or the data's]"),
    what("--mean", help="Of red, green and blue, as shares of 255, such as 0.5,0.5,0.5. [default: the network's own]"),
    what("--std", help="Likewise, what differences are divided by. [default: the network's own]"),
    what("--interpolation", help="Filter of the resizing. [default: the network's own]"),
    what(
        "--crop", type=click.FloatRange(min=0, max=1, min_open=True), help="Share of an image that is seen, its middle."
    ),
    what("--crop-mode", help="How an image of another shape fits: center, squash or pad."),
)
"""How images are prepared for a network that is given, and which of its classes are those of the data."""
download_option = where("--download", is_flag=True, help="Fetch the dataset into --data-dir first, if it is not there.")


def _trust(context: click.Context, parameter: click.Parameter, is_trusted: bool) -> None:
    if is_trusted:
        os.environ[TRUSTED_HOSTS] = "*"


trust_option = where(
    "--trust-storage",
    is_flag=True,
    expose_value=False,
    callback=_trust,
    help="Let the storage say which hosts get this machine's credentials, such as the MLflow server of the launch.",
)
place_options = together(
    where(
        "--address",
        envvar="DPTQ_ADDRESS",
        show_envvar=True,
        help="Ray cluster to join: auto or host:port; `launch` also takes http://HOST:8265. [default: this machine]",
    ),
    where(
        "--shared-storage",
        is_flag=True,
        envvar="DPTQ_SHARED_STORAGE",
        show_envvar=True,
        help="All machines of the cluster mount the folder --storage at its path (NFS); not needed on object stores.",
    ),
    tracking_option := where(
        "--tracking-uri",
        envvar="DPTQ_TRACKING_URI",
        show_envvar=True,
        help="MLflow: sqlite:///... or http(s)://... [default: a database in the storage]",
    ),
    trust_option,
)
"""Of commands that run something: on which machines, and where MLflow keeps it."""
price_option = limit(
    "--price-per-hour", type=POSITIVE, help="Of a GPU, or of a core where a trial has no GPU; in any currency."
)


def cluster_options(declare: Callable[..., Decorator]) -> Decorator:
    """Returns the options that name machines and their prices, under a heading."""
    return together(
        declare(
            "--cluster",
            "cluster_file",
            type=FILE,
            help="Cluster file to take machines and prices from: of `ray up`, or a RayCluster or RayJob of KubeRay.",
        ),
        declare("--prices", "price_file", type=FILE, help="Prices that win over those in cluster/files/prices.yaml."),
    )


limit_options = together(
    limit("--max-hours", type=POSITIVE, help="Start no trial after so many hours; `resume` goes on."),
    limit("--max-gpu-hours", type=POSITIVE, help="Start no trial after so many GPU-hours of the sweep."),
    limit(
        "--max-cost",
        type=POSITIVE,
        help="Start no trial once the sweep cost so much, at --price-per-hour or --cluster.",
    ),
    price_option,
    cluster_options(limit),
    other(
        "--on-event",
        envvar="DPTQ_ON_EVENT",
        help="Shell command (with DPTQ_EVENT set and JSON on its input) or http(s) URL (gets a POST) to tell "
        "of failed trials, a cap, a stall and the end. Never kept: give it to `resume` again. "
        "[env: DPTQ_ON_EVENT]",
    ),
    other(
        "--stalled-minutes",
        type=POSITIVE,
        help=f"Without any finished epoch, after which --on-event hears of a stall. [default: {STALLED_MINUTES:g}]",
    ),
    other("--verify", is_flag=True, help="Compare all files of finished trials with their checksums first."),
)
"""From which `values.limits_of` makes the limits of a launch."""


def echo_json(value: object) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2))
