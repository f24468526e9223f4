"""What a launch on a cluster will take, told before it: machines, GPU-hours, time and price.

A trial takes epochs * steps_per_epoch * step_seconds; a done one takes nothing, an interrupted one its epochs that are
left. `orchestrator.costs.schedule` puts them on the machines of the cluster. A machine is paid from when it is asked
for to the end of its last trial; the head, and workers that are always there, to the end of everything:

    wall time = start of the head + end of the schedule
    GPU-hours = sum over trials of hours * share of a GPU
    cost      = sum over machines of paid hours * price per hour

The range of the cost has all workers at their spot price, and all on demand; the head is as the file has it. Not in it:
the start of every trial and its loading of data, analyses and reports, epochs that are run again after a spot machine
went away, and machines that stand idle before they are given back.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.files.node_types import Cluster
from cluster.files.prices import CPU, PricedMachine, PriceTable, trial_machines
from cluster.runtime.resources import GPU_SHARE
from orchestrator.costs.schedule import Room, Timetable, TrialTime, quickest_schedule
from orchestrator.costs.step_times import StepTime, StepTimes, Training, recipe_of, steps_per_epoch, training_of
from orchestrator.plan import Node, Plan
from orchestrator.store.defaults import START_SECONDS
from orchestrator.store.states import State
from orchestrator.store.usage import HOUR
from search_spaces.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """What trials of one kind take on one kind of device."""

    training: Training
    batch_size: int
    num_trials: int
    steps: int
    """Of all these trials together."""
    kind: str
    """Of the device."""
    step_time: StepTime
    gpu_share: float

    @property
    def hours(self) -> float:
        """Of all these trials together, if they all ran on this kind of device, one after the other."""
        return self.steps * self.step_time.seconds / HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineCost:
    """What the machines of one node type take together."""

    machine: PricedMachine
    is_head: bool
    """The head itself, not workers of its type."""
    number: int
    """How many are needed, of `most`."""
    most: int
    hours: float

    @property
    def cost_spot(self) -> float:
        """With workers at their spot price."""
        return self.hours * (self.machine.price if self.is_head else self.machine.spot)

    @property
    def cost_on_demand(self) -> float:
        """With workers on demand."""
        return self.hours * (self.machine.price if self.is_head else self.machine.on_demand)

    @property
    def cost(self) -> float:
        """As the cluster file has it."""
        return self.hours * self.machine.price


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a launch will take."""

    trainings: tuple[TrainingCost, ...]
    machines: tuple[MachineCost, ...]
    wall_seconds: float
    start_seconds: float
    """That a machine takes to start."""
    gpu_hours: float
    prices_checked: datetime.date

    @property
    def cost_spot(self) -> float:
        """With all workers at their spot price: the lower end."""
        return sum(each.cost_spot for each in self.machines)

    @property
    def cost_on_demand(self) -> float:
        """With all workers on demand: the upper end."""
        return sum(each.cost_on_demand for each in self.machines)

    @property
    def cost(self) -> float:
        """As the cluster file has it."""
        return sum(each.cost for each in self.machines)


def estimate(
    plan: Plan,
    states: Mapping[str, State],
    epochs_done: Mapping[str, int],
    cluster: Cluster,
    table: PriceTable,
    step_times: StepTimes,
    *,
    start_seconds: float = START_SECONDS,
) -> Estimate:
    """Estimates what the rest of a plan takes on a cluster, whose machines take `start_seconds` to start.

    `states` are of every trial and `epochs_done` of interrupted ones, by uid; `table` has the machines' prices.

    Raises:
        ConfigError: A machine has no price or none has room for trials, or the time of a training is unknown on
            these machines, or how many images there are.
    """
    machines = [table.machine(node_type) for node_type in cluster.node_types]
    hosts = trial_machines(machines, cluster)
    kinds = sorted({machine.kind for machine in hosts})
    nodes = plan.by_uid()
    works = [_work_of(node, nodes, epochs_done.get(node.uid, 0)) for node in _left_to_run(plan, states)]
    found = _find_step_times(works, step_times, kinds)
    shares = {alike: _gpu_share(alike, times) for alike, times in found.items()}
    trials = [
        TrialTime(
            uid=work.node.uid,
            parents=work.node.parents,
            seconds={kind: work.steps * time.seconds for kind, time in found[work.alike].items()},
            gpu_share=shares[work.alike],
        )
        for work in works
    ]
    timetable, machine_costs = _pay(trials, machines, hosts, cluster, start_seconds)
    return Estimate(
        trainings=tuple(
            TrainingCost(
                training=alike[0],
                batch_size=alike[1],
                num_trials=sum(work.alike == alike for work in works),
                steps=sum(work.steps for work in works if work.alike == alike),
                kind=kind,
                step_time=time,
                gpu_share=shares[alike],
            )
            for alike, times in found.items()
            for kind, time in times.items()
        ),
        machines=machine_costs,
        wall_seconds=timetable.wall_seconds + (start_seconds if trials else 0.0),
        start_seconds=start_seconds,
        gpu_hours=timetable.gpu_seconds / HOUR,
        prices_checked=table.checked,
    )


Alike = tuple[Training, int]
"""Training and batch size: trials in which they are equal take equal steps."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left of a trial."""

    node: Node
    alike: Alike
    steps: int


def _left_to_run(plan: Plan, states: Mapping[str, State]) -> list[Node]:
    """Returns what a launch runs: neither what is done nor what diverged or starts from it."""
    left: list[Node] = []
    hopeless: set[str] = set()
    for node in plan.nodes:
        if states[node.uid] is State.DIVERGED or hopeless.intersection(node.parents):
            hopeless.add(node.uid)
        elif states[node.uid].needs_work:
            left.append(node)
    return left


def _work_of(node: Node, nodes: Mapping[str, Node], epochs_done: int) -> _Work:
    recipe, dataset = recipe_of(node), node.dataset
    steps = steps_per_epoch(recipe, dataset)
    if steps is None:
        raise ConfigError(
            f"how many training images {dataset.name} has is known only from its files: give --train-images N, which "
            "keeps so many of them; all of them if it is their number."
        )
    if not steps:
        raise ConfigError(
            f"batch_size={recipe.batch_size} is above the {dataset.num_trained} training images: lower it."
        )
    return _Work(node, (training_of(node, nodes), recipe.batch_size), steps * (recipe.epochs - epochs_done))


def _find_step_times(
    works: Sequence[_Work], step_times: StepTimes, kinds: Sequence[str]
) -> dict[Alike, dict[str, StepTime]]:
    """Returns the time of a step of every kind of training on every kind of device.

    Raises:
        ConfigError: No time is known.
    """
    found = {
        alike: {kind: time for kind in kinds if (time := step_times.find(*alike, kind))}
        for alike in dict.fromkeys(work.alike for work in works)
    }
    for kind in kinds:
        if unknown := list(dict.fromkeys(training for (training, _), times in found.items() if kind not in times)):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            stages = ",".join(f"{stage}=SECONDS" for stage in dict.fromkeys(each.stage for each in unknown))
            raise ConfigError(
                f"no step time known for {unknown[0].title}{more} on {kind}: give --step-seconds {stages}, or run one "
                "trial first, on this storage and such a machine."
            )
    return found


def _gpu_share(alike: Alike, times: Mapping[str, StepTime]) -> float:
    """Returns the share that trials had when they were measured, else the fixed one of their stage."""
    if CPU in times:
        return 0.0
    shares = [time.gpu_share for time in times.values() if time.gpu_share is not None]
    return max(shares, default=GPU_SHARE[alike[0].stage])


def _pay(
    trials: Sequence[TrialTime],
    machines: Sequence[PricedMachine],
    hosts: Sequence[PricedMachine],
    cluster: Cluster,
    start_seconds: float,
) -> tuple[Timetable, tuple[MachineCost, ...]]:
    """Schedules trials on a cluster's machines, and counts the hours of every node type."""
    by_name = {machine.node_type.name: machine for machine in machines}
    head, workers = by_name[cluster.head.name], [(by_name[each.name], stays) for each, stays in cluster.workers()]
    useful = [(machine, stays) for machine, stays in workers if machine in hosts]
    # Workers are asked for once the head runs, and what can run on the head starts then.
    hired = [(head, 0.0, True)] * (head in hosts) + [(each, start_seconds, stays) for each, stays in useful]
    rooms = [
        Room(kind=each.kind, cpus=each.cpus, gpus=each.gpus, start_seconds=seconds, is_permanent=stays)
        for each, seconds, stays in hired
    ]
    timetable = quickest_schedule(trials, rooms)
    worker_seconds = timetable.paid_seconds[len(rooms) - len(useful) :]
    paid = [(each, time) for (each, _), time in zip(useful, worker_seconds, strict=True)]
    # Workers that no trial can use and that are always there are paid all the same.
    paid += [(each, timetable.wall_seconds) for each, stays in workers if stays and each not in hosts]
    head_seconds = timetable.wall_seconds + start_seconds if trials else 0.0
    costs = [MachineCost(machine=head, is_head=True, number=1, most=1, hours=head_seconds / HOUR)]
    for name in dict.fromkeys(machine.node_type.name for machine, _ in workers):
        seconds = [time for each, time in paid if each.node_type.name == name]
        costs.append(
            MachineCost(
                machine=by_name[name],
                is_head=False,
                number=sum(time > 0 for time in seconds),
                most=sum(each.node_type.name == name for each, _ in workers),
                hours=sum(seconds) / HOUR,
            )
        )
    return timetable, tuple(costs)
