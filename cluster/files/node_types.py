"""The machines that a cluster file asks for: a Ray cluster launcher's YAML, or a RayCluster or RayJob of KubeRay.

Only what decides room and price is read; whether a provider or an operator accepts the file is for them to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from cluster.providers.base import Provider
from cluster.providers.registry import PROVIDERS, provider_of, spot_label
from cluster.typed_mapping import Section, as_section
from search_spaces.errors import ConfigError, unknown_name
from search_spaces.files.yaml_files import read_documents

MAX_WORKERS = 2
"""Of all node types together where a launcher's file does not say; ray/autoscaler/aws/defaults.yaml."""
GPU = "nvidia.com/gpu"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """One kind of machine of a cluster."""

    name: str
    machine: str
    """What the provider calls it, e.g. `g5.xlarge`. A group of pods whose node selector names none goes by its own
    name, so that a price file can have a line for it."""
    resources: Mapping[str, float]
    """`CPU` and `GPU` as Ray counts them. A launcher's file for AWS may leave them out, and Ray looks them up."""
    min_workers: int
    max_workers: int
    is_spot: bool
    is_head: bool
    """The head counts once, besides the workers that its type may have."""
    accelerators: tuple[str, ...] = ()
    """GPUs that are attached to the machine and billed besides it, one name for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What a cluster file asks for."""

    source: str
    """The file, for tables and errors."""
    node_types: tuple[NodeType, ...]
    max_workers: int
    """Of all node types together."""

    @property
    def head(self) -> NodeType:
        """The node type of the head."""
        return next(node_type for node_type in self.node_types if node_type.is_head)

    def workers(self) -> list[tuple[NodeType, bool]]:
        """Returns the workers that there can be, and whether each one is always there.

        Those that are always there come first. Where the node types together allow more workers than the file, the
        first types have theirs.
        """
        always = [(each, True) for each in self.node_types for _ in range(each.min_workers)]
        others = [(each, False) for each in self.node_types for _ in range(each.max_workers - each.min_workers)]
        return always + others[: self.max_workers - len(always)]


def read_cluster(path: Path) -> Cluster:
    """Reads a cluster file; the first cluster in it counts, and other documents are left alone.

    Raises:
        ConfigError: The file cannot be read, holds no cluster, or something in it is of the wrong kind.
    """
    documents = [as_section(document, f"{path}: ") for document in read_documents(path, what="cluster file")]
    for document in documents:
        if document.values.get("kind") in ("RayCluster", "RayJob"):
            return _kuberay_cluster(document, str(path))
        if "available_node_types" in document.values:
            return _launcher_cluster(document, str(path))
    raise ConfigError(
        f"cluster file {path} holds no cluster: give a file of `ray up`, with available_node_types, or a RayCluster or "
        "RayJob of KubeRay."
    )


def _launcher_cluster(document: Section, source: str) -> Cluster:
    node_types = document.section("available_node_types")
    values = document.section("provider")
    provider = provider_of(values.values)
    if provider is None:
        raise unknown_name("provider", str(values.text("type")), PROVIDERS, place=f"{source}: provider.type")
    head = document.text("head_node_type")
    if head not in node_types.values:
        raise unknown_name("node type", str(head), map(str, node_types.values), place=f"{source}: head_node_type")
    most = document.count("max_workers", MAX_WORKERS)
    read = tuple(
        _launcher_node_type(node_types.section(name), str(name), provider, most=most, is_head=name == head)
        for name in node_types.values
    )
    if (always := sum(node_type.min_workers for node_type in read)) > most:
        raise ConfigError(f"{source}: max_workers={most}: it should be at least the sum of all min_workers, {always}.")
    return Cluster(source=source, node_types=read, max_workers=most)


def _launcher_node_type(values: Section, name: str, provider: Provider, *, most: int, is_head: bool) -> NodeType:
    config = values.section("node_config")
    rental = provider.rental(config)
    if not rental.machine:
        raise ConfigError(f"{config.place} names no machine: {provider.machine_field} says which.")
    resources = values.section("resources")
    known = {key: amount for key in ("CPU", "GPU") if (amount := resources.quantity(key)) is not None}
    fewest = values.count("min_workers", 0)
    return NodeType(
        name=name,
        machine=rental.machine,
        resources=known if provider.tells_resources else {"CPU": 0.0, "GPU": 0.0} | known,
        min_workers=fewest,
        max_workers=_checked_most(values, "max_workers", default=0 if is_head else most, fewest=fewest),
        is_spot=rental.is_spot,
        is_head=is_head,
        accelerators=rental.accelerators,
    )


def _kuberay_cluster(document: Section, source: str) -> Cluster:
    spec = document.section("spec")
    if document.values["kind"] == "RayJob":
        spec = spec.section("rayClusterSpec")
    if "headGroupSpec" not in spec.values:
        raise ConfigError(f"{spec.place} has no headGroupSpec: every cluster has a head.")
    is_scaled = spec.flag("enableInTreeAutoscaling")
    groups = (_group(group, is_scaled=is_scaled) for group in spec.sections("workerGroupSpecs"))
    node_types = (_pods(spec.section("headGroupSpec"), "head", 0, 0, is_head=True), *groups)
    most = sum(node_type.max_workers for node_type in node_types)
    return Cluster(source=source, node_types=node_types, max_workers=most)


def _group(group: Section, *, is_scaled: bool) -> NodeType:
    name = group.text("groupName")
    if name is None:
        raise ConfigError(f"{group.place} has no groupName.")
    pods = group.count("numOfHosts", 1)
    replicas = group.count("replicas", 0)
    if not is_scaled:
        return _pods(group, name, replicas * pods, replicas * pods, is_head=False)
    if "maxReplicas" not in group.values:
        raise ConfigError(f"{group.place} has no maxReplicas, and so no limit: say how many there may be.")
    fewest = group.count("minReplicas", 0)
    most = _checked_most(group, "maxReplicas", default=0, fewest=fewest)
    return _pods(group, name, fewest * pods, most * pods, is_head=False)


def _pods(group: Section, name: str, fewest: int, most: int, *, is_head: bool) -> NodeType:
    """Returns a group of pods, each of which is taken to have a machine for itself."""
    pod = group.section("template").section("spec")
    # Ray runs in the first container, and counts what it may use unless `ray start` is told otherwise.
    container = next(pod.sections("containers"), Section({}, pod.place)).section("resources")
    limits, requests = container.section("limits"), container.section("requests")
    start = group.section("rayStartParams")
    selector = pod.section("nodeSelector")
    amounts = {
        "CPU": (start.quantity("num-cpus"), limits.quantity("cpu"), requests.quantity("cpu")),
        "GPU": (start.quantity("num-gpus"), limits.quantity(GPU)),
    }
    return NodeType(
        name=name,
        machine=selector.text(INSTANCE_TYPE) or name,
        resources={
            key: float(ceil(next((each for each in given if each is not None), 0))) for key, given in amounts.items()
        },
        min_workers=fewest,
        max_workers=most,
        is_spot=spot_label(selector.values) is not None,
        is_head=is_head,
    )


def _checked_most(values: Section, key: str, *, default: int, fewest: int) -> int:
    most = values.count(key, max(default, fewest))
    if most < fewest:
        raise values.wrong(key, f"at least the smallest number, {fewest}")
    return most
