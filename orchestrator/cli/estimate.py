"""What a cluster file says of costs: the estimate of `plan`, and the price of the cap of `launch` and `resume`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from cluster.files.node_types import read_cluster
from cluster.files.prices import read_prices
from orchestrator.console import make_table
from orchestrator.costs.estimate import Estimate, MachineCost, estimate
from orchestrator.costs.step_times import StepTimes, measured_by_others, measured_in, parse_step_seconds, training_of
from orchestrator.plan import Plan
from orchestrator.progress.live import format_seconds
from orchestrator.store.states import State
from orchestrator.store.store import Store
from orchestrator.store.trial import trial_of

MINUTE = 60.0


def estimate_from_options(
    plan: Plan, states: dict[str, State], store: Store, values: Mapping[str, Any]
) -> Estimate | None:
    """Estimates what the rest of a plan takes on the cluster that a command's options name, None if they name none.

    Raises:
        ConfigError: A file cannot be read, a machine has no price, or the time of a training is unknown.
    """
    if values["cluster_file"] is None:
        if values["price_file"] or values["step_seconds"]:
            raise click.UsageError("--prices and --step-seconds are for an estimate: name its --cluster FILE.")
        return None
    nodes = plan.by_uid()
    wanted = {training_of(node, nodes) for node in plan.nodes}
    step_times = StepTimes(
        [*measured_in(store, wanted), *measured_by_others()], by_hand=parse_step_seconds(values["step_seconds"])
    )
    interrupted = (node for node in plan.nodes if states[node.uid] is State.INTERRUPTED)
    return estimate(
        plan,
        states,
        {node.uid: len(trial_of(store, node).epochs()) for node in interrupted},
        read_cluster(values["cluster_file"]),
        read_prices(values["price_file"]),
        step_times,
        start_seconds=values["start_minutes"] * MINUTE,
    )


def print_estimate(estimated: Estimate, console: Console) -> None:
    """Prints an estimate: what trials take, what machines cost, and the sums."""
    trainings = make_table(
        *("training", "trials", "batch", "steps", "s/step", "known from", "device", "share", "hours"),
        right=("trials", "batch", "steps", "s/step", "share", "hours"),
    )
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
    numbers = ("used", "hours", "spot", "on demand", "cost on spot", "on demand")
    machines = make_table("node type", "machine", *numbers, right=numbers)
    for cost in estimated.machines:
        machine, node_type = cost.machine, cost.machine.node_type
        machines.add_row(
            ("head" if cost.is_head else node_type.name) + (" (spot)" if node_type.is_spot else ""),
            _machine_name(cost),
            f"{cost.number} of {cost.most}",
            f"{cost.hours:,.2f}",
            *(f"{price:,.3f}" for price in (machine.spot, machine.on_demand)),
            *(f"{price:,.2f}" for price in (cost.cost_spot, cost.cost_on_demand)),
        )
    console.print(trainings, machines, sep="\n")
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
    costs = ("cost", "cost_spot", "cost_on_demand")
    return {
        **{name: getattr(estimated, name) for name in ("wall_seconds", "gpu_hours", *costs)},
        "prices_checked": estimated.prices_checked.isoformat(),
        "start_seconds": estimated.start_seconds,
        "trainings": [
            {
                **asdict(each.training),
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
                **{name: getattr(each, name) for name in costs},
            }
            for each in estimated.machines
        ],
    }


def _machine_name(cost: MachineCost) -> str:
    return " + ".join((cost.machine.node_type.machine, *cost.machine.node_type.accelerators))
