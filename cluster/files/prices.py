"""What machines cost per hour, and what is in them, from a table that its user can edit: cluster/files/prices.yaml."""

import datetime
import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from cluster.files.node_types import INSTANCE_TYPE, Cluster, NodeType
from cluster.providers.base import Machine, Provider
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.files.yaml_files import read_mapping
from search_spaces.model import Frozen, Positive, parse

PRICES = Path(__file__).with_name("prices.yaml")
CPU = "cpu"
"""Kind of device of a machine without a GPU."""


class Price(Frozen):
    """A line of the table: what is paid for an hour, and for what."""

    on_demand: Positive
    """Per hour, in any currency, the same in all lines."""
    spot: Positive
    """Per hour while the provider has no better use for the machine; moves."""
    cpus: int | None = Field(default=None, ge=0)
    """Cores, where a cluster file leaves it to Ray to ask for them."""
    gpus: int = Field(default=0, ge=0)
    gpu: str | None = None
    """Kind of its GPUs: words of the name that the driver reports."""
    approximate: bool = False
    """Whether the price is an estimate that was not looked up."""

    @model_validator(mode="after")
    def _check(self) -> "Price":
        if self.spot > self.on_demand:
            raise ConfigError(f"spot={self.spot} is above on_demand={self.on_demand}: a spot price is never above it")
        if bool(self.gpus) != bool(self.gpu):
            raise ConfigError(f"gpus={self.gpus} and gpu={self.gpu!r}: give both, or neither")
        return self


class _PriceFile(Frozen):
    """A price table as it is written."""

    checked: datetime.date
    """The day on which the prices were looked up."""
    prices: dict[str, Price]


@dataclass(frozen=True, kw_only=True, slots=True)
class PricedMachine:
    """A machine of a cluster: what trials have of it, and its price."""

    node_type: NodeType
    cpus: int
    gpus: int
    kind: str
    """Of the devices that trials run on: the kind of its GPUs, or `cpu`."""
    on_demand: float
    spot: float
    is_approximate: bool

    @property
    def price(self) -> float:
        """Per hour, as the cluster file has it: spot or on demand."""
        return self.spot if self.node_type.is_spot else self.on_demand


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceTable:
    """Prices by machine."""

    prices: dict[str, Price]
    checked: datetime.date
    source: str
    """The file that a user would add a line to."""

    def machine(self, node_type: NodeType) -> PricedMachine:
        """Returns a node type as a machine with a price.

        Raises:
            ConfigError: The table has no line for it; names the file and the nearest lines. Or nothing says how many
                cores it has.
        """
        lines = [self._price(name, node_type) for name in (node_type.machine, *node_type.accelerators)]
        cores = [line.cpus for line in lines if line.cpus is not None]
        cpus = node_type.resources.get("CPU", sum(cores) if cores else None)
        if cpus is None:
            raise ConfigError(
                f"node type {node_type.name!r}: nothing says how many cores a {node_type.machine} has: add "
                f"resources.CPU to the cluster file, or cpus to its line in {self.source}."
            )
        gpus = int(node_type.resources.get("GPU", sum(line.gpus for line in lines)))
        kinds = sorted({line.gpu for line in lines if line.gpu is not None})
        if gpus and not kinds:
            raise ConfigError(
                f"node type {node_type.name!r} has {gpus} GPUs of no known kind: add gpus and gpu to the line of "
                f"{node_type.machine!r} in {self.source}."
            )
        return PricedMachine(
            node_type=node_type,
            cpus=int(cpus),
            gpus=gpus,
            kind=" ".join(kinds) if gpus else CPU,
            on_demand=sum(line.on_demand for line in lines),
            spot=sum(line.spot for line in lines),
            is_approximate=any(line.approximate for line in lines),
        )

    def _price(self, name: str, node_type: NodeType) -> Price:
        if name in self.prices:
            return self.prices[name]
        nearest = difflib.get_close_matches(name, self.prices, n=3, cutoff=0.5)
        near = f" The nearest it has: {', '.join(nearest)}." if nearest else ""
        is_group = name == node_type.name
        hint = f"Name a machine in the nodeSelector of its pods ({INSTANCE_TYPE}), or give" if is_group else "Give"
        raise ConfigError(
            f"no price for {name!r}, the machine of node type {node_type.name!r}, in {self.source}.{near} {hint} a "
            f"line for it with --prices FILE, in the form of {PRICES}."
        )


def read_prices(path: Path | None = None) -> PriceTable:
    """Reads the price table; the lines of a file win over those that come with this program.

    Raises:
        ConfigError: The file cannot be read, or a line in it breaks a rule.
    """
    shipped = _read(PRICES)
    own = _read(path) if path else shipped
    return PriceTable(prices=shipped.prices | own.prices, checked=own.checked, source=str(path or PRICES))


def find_machine(name: str, *providers: Provider) -> Machine:
    """Looks up a machine with GPUs in the table that comes with this program, by its name with one of the providers.

    Raises:
        UnknownNameError: The table has no such machine; names the nearest ones.

    Examples:
        >>> from cluster.providers.aws import PROVIDER
        >>> find_machine("g5.12xlarge", PROVIDER)
        Machine(name='g5.12xlarge', cpus=48, gpus=4)
    """
    known = {each: price for each, price in _read(PRICES).prices.items() if any(p.has_gpu(each) for p in providers)}
    if name not in known:
        raise unknown_name("instance", name, known)
    return Machine(name=name, cpus=known[name].cpus or 0, gpus=known[name].gpus)


def price_per_paid_hour(cluster: Cluster, table: PriceTable) -> tuple[float, PricedMachine]:
    """Returns what an hour of a GPU costs, or of a core in a cluster without GPUs, at the dearest machine for trials.

    A machine's price as the cluster file has it, spot or on demand, is parted equally among its GPUs or cores; the head
    and what stands idle are on top of it.

    Raises:
        ConfigError: A machine has no price, or none has room for a trial.
    """
    machines = trial_machines([table.machine(node_type) for node_type in cluster.node_types], cluster)
    dearest = max(machines, key=lambda machine: machine.price / (machine.gpus or machine.cpus))
    return dearest.price / (dearest.gpus or dearest.cpus), dearest


def trial_machines(machines: list[PricedMachine], cluster: Cluster) -> list[PricedMachine]:
    """Returns the machines that trials run on: all with a GPU where there is any, else all with a core.

    Raises:
        ConfigError: There is none.
    """
    asked = {node_type.name for node_type, _ in cluster.workers()} | {cluster.head.name}
    there = [machine for machine in machines if machine.node_type.name in asked and machine.cpus]
    found = [machine for machine in there if machine.gpus] or there
    if not found:
        raise ConfigError(
            f"cluster file {cluster.source} has no machine with a core for trials: give its node types resources and "
            "workers."
        )
    return found


def _read(path: Path) -> _PriceFile:
    content = read_mapping(path, what="price file", hint=f"it has the form of {PRICES}")
    return parse(_PriceFile, content, place=f"{path}: ")
