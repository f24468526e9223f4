"""What the autoscaler of a joined cluster could start, and asking it to start that early.

A cluster that scales from zero has no GPU until one is asked for, so what runs says little about what could. Ray
has no public question for that. The autoscaler's own settings have the answer, and the head has those: the file that
Ray's launcher put there, which the autoscaler was started with, or the RayCluster object of KubeRay.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from cluster.runtime.ray_internals import kuberay_settings
from search_spaces.errors import one_line
from search_spaces.files.yaml_files import read_documents

HEAD = "node:__internal_head__"
"""A resource that only the head has."""
AUTOSCALING_CONFIG, GCS_ADDRESS = "--autoscaling-config=", "--gcs-address="
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ASK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalableNode:
    """A kind of node that the autoscaler may start."""

    name: str
    resources: Mapping[str, float]
    """Of one node, e.g. `{"CPU": 16, "GPU": 1}`."""
    max_nodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Autoscaler:
    """What is known of a cluster's autoscaler."""

    node_types: Sequence[ScalableNode] = ()
    """Empty where the cluster does not scale, or where that is unknown."""
    max_nodes: int = 0
    """Of all types together, without the head."""
    unknown: str = ""
    """Why the types are not known, although the cluster scales."""

    def at_most(self, resource: str) -> float:
        """Returns an upper bound on how much of a resource the autoscaler can add.

        Examples:
            >>> gpu = ScalableNode(name="gpu", resources={"CPU": 8, "GPU": 1}, max_nodes=4)
            >>> cpu = ScalableNode(name="cpu", resources={"CPU": 2}, max_nodes=10)
            >>> scaler = Autoscaler(node_types=[gpu, cpu], max_nodes=6)
            >>> scaler.at_most("GPU"), scaler.at_most("CPU")
            (4, 36)
        """
        amounts = [amount for each in self.node_types for amount in [each.resources.get(resource, 0)] * each.max_nodes]
        return sum(sorted(amounts, reverse=True)[: self.max_nodes])


def ask_autoscaler() -> Autoscaler:
    """Asks the head of the cluster that this process joined for the settings of its autoscaler."""
    asked = ray.remote(num_cpus=0, resources={HEAD: 0.001}, max_retries=0)(read_autoscaler)
    address = ray.get_runtime_context().gcs_address
    try:
        return ray.get(asked.remote(address), timeout=ASK_SECONDS)
    except ray.exceptions.RayError as error:
        return Autoscaler(unknown=one_line(error))


def read_autoscaler(gcs_address: str) -> Autoscaler:
    """Reads the settings of the autoscaler; runs on the head, and returns nothing but node types: the rest is secret.

    Several clusters may have their head on one machine, so the address says which one is meant.
    """
    if (path := _launcher_config(gcs_address)) is not None:
        return autoscaler_of(read_documents(path.expanduser(), what="autoscaler file")[0])
    if "RAY_CLUSTER_NAME" in os.environ and SERVICE_ACCOUNT.is_dir():
        name, namespace = os.environ["RAY_CLUSTER_NAME"], (SERVICE_ACCOUNT / "namespace").read_text().strip()
        try:
            return autoscaler_of(kuberay_settings(name, namespace))
        except OSError as error:
            return Autoscaler(unknown=f"RayCluster {name} cannot be read: {one_line(error)}")
    return Autoscaler()


def autoscaler_of(config: Mapping[str, Any]) -> Autoscaler:
    """Returns what the settings of an autoscaler allow, in the words of Ray's launcher.

    Examples:
        >>> worker = {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 4}
        >>> types = {"head": {"resources": {"CPU": 2}}, "worker": worker}
        >>> config = {"max_workers": 3, "head_node_type": "head", "available_node_types": types}
        >>> autoscaler_of(config).at_most("GPU")
        3
    """
    max_nodes = int(config.get("max_workers", 0))
    head = config.get("head_node_type")
    node_types = [
        ScalableNode(
            name=name,
            resources=dict(about.get("resources", {})),
            # What Ray's launcher takes where nothing is said: no workers like the head, else as many as there may be.
            max_nodes=int(about.get("max_workers", 0 if name == head else max_nodes)),
        )
        for name, about in config.get("available_node_types", {}).items()
    ]
    return Autoscaler(node_types=tuple(each for each in node_types if each.max_nodes), max_nodes=max_nodes)


def request_bundles(bundles: Sequence[Mapping[str, float]]) -> None:
    """Tells the autoscaler what should fit on the cluster at once, in place of the last wish; none takes that back."""
    request_resources(bundles=[dict(bundle) for bundle in bundles])


def _launcher_config(gcs_address: str) -> Path | None:
    """Finds the file with which the cluster's autoscaler was started; None where it has none."""
    # Not the files at once: looking for one of a process that ends just then is an error.
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
        if GCS_ADDRESS + gcs_address in arguments:
            found = [each for each in arguments if each.startswith(AUTOSCALING_CONFIG)]
            if found:
                return Path(found[0].removeprefix(AUTOSCALING_CONFIG))
    return None
