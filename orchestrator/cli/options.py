"""Options that several subcommands share, and what they stand for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cluster.files.node_types import read_cluster
from cluster.files.prices import CPU, price_per_paid_hour, read_prices
from orchestrator.launch.limits import Limits
from orchestrator.launch.notifications import check_target
from orchestrator.plan import Plan
from orchestrator.store.store import Store
from orchestrator.store.sweep import STALLED_MINUTES, Caps, LaunchOptions, Sweep, latest_sweep_name
from orchestrator.workers.entry_points import num_sites

Command = TypeVar("Command", bound=Callable[..., Any])
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


def open_sweep(storage: str, name: str | None) -> tuple[Sweep, Plan]:
    """Opens a sweep that was launched before, the latest one unless named, with its plan.

    Raises:
        ConfigError: There is no such sweep.
    """
    store = Store(storage, create=False)
    sweep = Sweep(store, name or latest_sweep_name(store))
    return sweep, sweep.load_plan(num_sites)


def echo_json(value: object) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2))


FILE = click.Path(path_type=Path)
cluster_options = (
    click.option(
        "--cluster",
        "cluster_file",
        type=FILE,
        help="Cluster file to take machines and prices from: of `ray up`, or a RayCluster or RayJob of KubeRay.",
    ),
    click.option("--prices", "price_file", type=FILE, help="Prices that win over those in cluster/files/prices.yaml."),
)


def caps_from_options(values: dict[str, Any], kept: Caps) -> Caps:
    """Takes the caps of a launch out of a command's arguments.

    Args:
        values: The arguments.
        kept: Caps that apply where the arguments name none.

    Raises:
        ConfigError: A file with machines or prices cannot be read, or a machine has no price.
    """
    limits = {
        name: getattr(kept, name) if (given := values.pop(name)) is None else given
        for name in ("max_hours", "max_gpu_hours", "max_cost")
    }
    price, cluster_file, price_file = (values.pop(name) for name in ("price_per_hour", "cluster_file", "price_file"))
    if price is not None and cluster_file is not None:
        raise click.UsageError("--price-per-hour and --cluster both say the price: leave one out.")
    if price_file is not None and cluster_file is None:
        raise click.UsageError("--prices says what machines cost: name them with --cluster FILE.")
    if price is None and cluster_file is None:
        price = kept.price_per_hour
    if limits["max_cost"] is not None and price is None and cluster_file is None:
        raise click.UsageError(
            "--max-cost needs --price-per-hour, the price of a GPU (or a core without one), or --cluster FILE, whose "
            "machines have prices."
        )
    return Caps(**limits, price_per_hour=price if cluster_file is None else _price_of(cluster_file, price_file))


def _price_of(cluster_file: Path, price_file: Path | None) -> float:
    """Returns the price per hour of a GPU, or of a core without one, and says which machine's it is."""
    price, machine = price_per_paid_hour(read_cluster(cluster_file), read_prices(price_file))
    unit = "core" if machine.kind == CPU else machine.kind
    market = "on spot" if machine.node_type.is_spot else "on demand"
    click.echo(f"priced at {price:.4g} per {unit}-hour: {machine.node_type.machine} {market}, from {cluster_file}")
    return price


POSITIVE = click.FloatRange(min=0, min_open=True)
NOTHING_KEPT = LaunchOptions()


def limit_options(command: Command) -> Command:
    """Adds the options from which `limits_of` makes the limits of a launch."""
    for option in reversed(
        (
            click.option("--max-hours", type=POSITIVE, help="Start no trial after so many hours; `resume` goes on."),
            click.option("--max-gpu-hours", type=POSITIVE, help="Start no trial after so many GPU-hours of the sweep."),
            click.option(
                "--max-cost",
                type=POSITIVE,
                help="Start no trial once the sweep cost so much, at --price-per-hour or --cluster.",
            ),
            price_option,
            *cluster_options,
            click.option(
                "--on-event",
                envvar="DPTQ_ON_EVENT",
                help="Shell command (with DPTQ_EVENT set and JSON on its input) or http(s) URL (gets a POST) to tell "
                "of failed trials, a cap, a stall and the end. Never kept: give it to `resume` again. "
                "[env: DPTQ_ON_EVENT]",
            ),
            click.option(
                "--stalled-minutes",
                type=POSITIVE,
                help="Without any finished epoch, after which --on-event hears of a stall. "
                f"[default: {STALLED_MINUTES:g}]",
            ),
            verify_option,
        )
    ):
        command = option(command)
    return command


def limits_of(values: dict[str, Any], kept: LaunchOptions = NOTHING_KEPT) -> Limits:
    """Takes the values of `limit_options` out of a command's arguments.

    Args:
        values: The arguments.
        kept: Of an earlier launch, what applies where the arguments say nothing.

    Raises:
        ConfigError: --on-event is neither a command nor a URL, or a file with prices or machines is wrong.
    """
    limits = Limits(
        caps=caps_from_options(values, kept.caps),
        on_event=values.pop("on_event"),
        stalled_minutes=values.pop("stalled_minutes") or kept.stalled_minutes,
        verify=values.pop("verify"),
    )
    check_target(limits.on_event)
    return limits
