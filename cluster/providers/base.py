"""What the rest of the program knows of a provider of machines; each has a module of its own beside this one.

Ray's schema looks into neither `provider` nor `node_config` of a launcher file, so the fields of both are listed here.
What a machine has and costs stands in cluster/files/prices.yaml.
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from cluster.typed_mapping import Section

COMMON_FIELDS = {
    "type", "module", "use_internal_ips", "cache_stopped_nodes", "disable_node_updaters",
    "disable_launch_config_check", "foreground_node_launch", "worker_liveness_check", "worker_rpc_drain",
}  # fmt: skip
"""What Ray's launcher reads in `provider`, for every provider."""
OWN_MACHINES_FIELDS = COMMON_FIELDS | {"head_ip", "worker_ips", "external_head_ip", "coordinator_address"}
"""The same for machines of one's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What one machine offers to trials."""

    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rental:
    """What a `node_config` asks a provider for."""

    machine: str
    """By the provider's name; empty where the file names none."""
    is_spot: bool
    accelerators: tuple[str, ...]
    """GPUs that are attached to the machine and billed besides it, one name for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """One provider of machines."""

    title: str
    """Its name for people; commands, its template and `provider.type` have that of its module."""
    module: str = ""
    """What drives it for Ray's launcher, where Ray itself does not: `provider.type` is `external`, `module` is this."""
    default_region: str
    default_machine: str
    """For workers; has a GPU, and 8 cores for it: a trial takes one, and at most eight share a GPU."""
    gpu_name: str
    """How the names of machines with GPUs begin, those included that have no price yet; a regular expression."""
    fields: Set[str]
    """Read in `provider`, besides `COMMON_FIELDS`."""
    project_field: str = ""
    """One of them that must name the project that pays."""
    stops_by_default: bool
    """Whether idle machines are stopped, and their disks paid for, unless the file forbids it."""
    machine_place: str = ""
    """Mapping inside of `node_config` that describes the machine, where it is not `node_config` itself."""
    machine_fields: Set[str]
    """Read in that mapping."""
    machine_field: str
    """The one of them that names the machine."""
    template_field: str = ""
    """One of them that may stand in for the machine's name."""
    is_spot: Callable[[Section], bool]
    """Tells whether that mapping asks for a spot machine."""
    accelerators: Callable[[Section], tuple[str, ...]] = lambda _: ()
    """Returns the GPUs that it attaches, one name for each."""
    tells_resources: bool = False
    """Whether Ray asks it for the cores and GPUs of a machine where a file leaves them out."""
    spot_labels: Mapping[str, str] = field(default_factory=dict)
    """Node selectors by which a pod on its Kubernetes asks for a spot machine, in lower case."""

    def has_gpu(self, machine: str) -> bool:
        """Tells by the name of a machine whether it has a GPU, known or not."""
        return bool(re.match(self.gpu_name, machine))

    def rental(self, node_config: Section) -> Rental:
        """Reads what is asked for.

        Raises:
            ConfigError: A value is of the wrong kind.
        """
        described = node_config.section(self.machine_place) if self.machine_place else node_config
        return Rental(
            machine=(described.text(self.machine_field) or "").rpartition("/")[2],  # some take a path, too
            is_spot=self.is_spot(described),
            accelerators=self.accelerators(described),
        )
