"""What a cluster file says of costs: the estimate of `plan`, and the price of the cap of `launch` and `resume`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cluster.node_types import read_cluster
from cluster.prices import CPU, price_per_paid_hour, read_prices
from orchestrator.caps import Caps
from orchestrator.commands.options import Command
from orchestrator.estimates import START_SECONDS, Estimate, MachineCost, estimate
from orchestrator.plan import Plan
from orchestrator.progress import format_seconds
from orchestrator.step_times import (
    StepTimes,
    measured_by_others,
    measured_in,
    parse_step_seconds,
    training_of,
)
from orchestrator.store import Store
from orchestrator.trials import State, trial_of

FILE = click.Path(path_type=Path)
MINUTE = 60.0
cluster_options = (
    click.option(
        "--cluster",
        "cluster_file",
        type=FILE,
        help="Cluster file to take machines and prices from: of `ray up`, or a RayCluster or RayJob of KubeRay.",
    ),
    click.option("--prices", "price_file", type=FILE, help="Prices that win over those in cluster/prices.yaml."),
)


def estimate_options(command: Command) -> Command:
    """Adds the options of an estimate."""
    for option in reversed(
        (
            *cluster_options,
            click.option(
                "--step-seconds",
                multiple=True,
                metavar="STAGE=SECONDS",
                help="Time of a training step, such as pair=0.02 or pair/resnet18=0.02; commas part several; "
                "repeatable. [default: as measured on this storage]",
            ),
            click.option(
                "--start-minutes",
                type=click.FloatRange(min=0),
                default=START_SECONDS / MINUTE,
                show_default=True,
                help="From asking for a machine until it runs trials.",
            ),
        )
    ):
        command = option(command)
    return command


def estimate_from_options(
    plan: Plan,
    states: dict[str, State],
    store: Store,
    *,
    cluster_file: Path | None,
    price_file: Path | None,
    step_seconds: tuple[str, ...],
    start_minutes: float,
) -> Estimate | None:
    """Estimates what the rest of a plan takes on the cluster that the options name, None if they name none.

    Raises:
        ConfigError: A file cannot be read, a machine has no price, or nobody knows how long a training takes.
    """
    if cluster_file is None:
        if price_file or step_seconds:
            raise click.UsageError("--prices and --step-seconds are for an estimate: name its --cluster FILE.")
        return None
    nodes = plan.by_uid()
    wanted = {training_of(node, nodes) for node in plan.nodes}
    step_times = StepTimes(
        [*measured_in(store, wanted), *measured_by_others()], by_hand=parse_step_seconds(step_seconds)
    )
    interrupted = (node for node in plan.nodes if states[node.uid] is State.INTERRUPTED)
    return estimate(
        plan,
        states,
        {node.uid: len(trial_of(store, node).epochs()) for node in interrupted},
        read_cluster(cluster_file),
        read_prices(price_file),
        step_times,
        start_seconds=start_minutes * MINUTE,
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


def print_estimate(estimated: Estimate, console: Console) -> None:
    """Prints an estimate: what trials take, what machines cost, and the sums."""
    trainings = _table("training", "trials", "batch", "steps", "s/step", "known from", "device", "share", "hours")
    for each in estimated.trainings:
        trainings.add_row(
            f"{each.training.stage}/{each.training.architecture}",
            str(each.num_trials),
            str(each.batch_size),
            f"{each.steps:,}",
            f"{each.step_time.seconds:.3g}",
            each.step_time.source,
            each.kind,
            f"{each.gpu_share:g}",
            f"{each.hours:,.2f}",
        )
    machines = _table("node type", "machine", "used", "hours", "spot", "on demand", "cost on spot", "on demand")
    for cost in estimated.machines:
        machines.add_row(*_cells(cost))
    console.print(trainings)
    console.print(machines)
    console.print(estimate_line(estimated), highlight=False, soft_wrap=True)


def estimate_line(estimated: Estimate) -> str:
    """Returns the sums of an estimate, and what they rest on, in one line."""
    about = ", some of them approximate" if any(each.machine.is_approximate for each in estimated.machines) else ""
    return (
        f"about {format_seconds(estimated.wall_seconds)} and {estimated.gpu_hours:,.2f} GPU-hours; cost "
        f"{estimated.cost_spot:,.2f} (all workers on spot) to {estimated.cost_on_demand:,.2f} (all on demand), "
        f"{estimated.cost:,.2f} as the file has it; prices of {estimated.prices_checked}{about}; "
        f"{estimated.start_seconds / MINUTE:g} min to start a machine"
    )


def estimate_as_json(estimated: Estimate) -> dict[str, Any]:
    """Returns an estimate as plain values; times are seconds, costs in the currency of the price table."""
    return {
        "wall_seconds": estimated.wall_seconds,
        "gpu_hours": estimated.gpu_hours,
        "cost": estimated.cost,
        "cost_spot": estimated.cost_spot,
        "cost_on_demand": estimated.cost_on_demand,
        "prices_checked": estimated.prices_checked.isoformat(),
        "start_seconds": estimated.start_seconds,
        "trainings": [
            {
                "stage": str(each.training.stage),
                "architecture": each.training.architecture,
                "teacher": each.training.teacher,
                "image_size": each.training.image_size,
                "batch_size": each.batch_size,
                "trials": each.num_trials,
                "steps": each.steps,
                "device": each.kind,
                "step_seconds": each.step_time.seconds,
                "source": each.step_time.source,
                "measured_on": each.step_time.device,
                "gpu_share": each.gpu_share,
            }
            for each in estimated.trainings
        ],
        "machines": [
            {
                "node_type": each.machine.node_type.name,
                "machine": _machine_name(each),
                "is_head": each.is_head,
                "is_spot": each.machine.node_type.is_spot,
                "used": each.number,
                "most": each.most,
                "hours": each.hours,
                "price_spot": each.machine.spot,
                "price_on_demand": each.machine.on_demand,
                "is_approximate": each.machine.is_approximate,
                "cost": each.cost,
                "cost_spot": each.cost_spot,
                "cost_on_demand": each.cost_on_demand,
            }
            for each in estimated.machines
        ],
    }


def _cells(cost: MachineCost) -> list[str]:
    machine, node_type = cost.machine, cost.machine.node_type
    name = ("head" if cost.is_head else node_type.name) + (" (spot)" if node_type.is_spot else "")
    prices = f"{machine.spot:,.3f}", f"{machine.on_demand:,.3f}"
    costs = f"{cost.cost_spot:,.2f}", f"{cost.cost_on_demand:,.2f}"
    used = f"{cost.number} of {cost.most}"
    return [name, _machine_name(cost), used, f"{cost.hours:,.2f}", *prices, *costs]


def _machine_name(cost: MachineCost) -> str:
    return " + ".join((cost.machine.node_type.machine, *cost.machine.node_type.accelerators))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        is_text = heading in ("training", "known from", "device", "node type", "machine")
        table.add_column(heading, no_wrap=True, justify="left" if is_text else "right")
    return table
