"""Files that describe a cluster: for Ray's launcher, or of KubeRay; which one it is, and what it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import ConfigError
from search_spaces.files.yaml_files import read_documents

KUBERAY_API = "ray.io/"
KUBERAY_LABELS = {"RayCluster": "ray.io/cluster", "RayJob": "ray.io/originated-from-cr-name"}
"""Kinds of KubeRay that make a cluster, and the label by which its operator marks what belongs to one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LauncherFile:
    """A file for Ray's launcher, which knows the machines of a cloud."""

    path: Path
    name: str
    content: Mapping[str, Any]

    @property
    def provider(self) -> Mapping[str, Any]:
        """Which cloud, and how it is addressed."""
        return self.content["provider"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KubeRayFile:
    """A file for `kubectl`, with one RayCluster or RayJob and whatever goes along with it."""

    path: Path
    name: str
    kind: str
    namespace: str | None
    """None is the one that kubectl is set to."""

    @property
    def selector(self) -> str:
        """The label that the operator gives to all that belongs to the cluster.

        Examples:
            >>> KubeRayFile(path=Path("c.yaml"), name="dptq", kind="RayCluster", namespace=None).selector
            'ray.io/cluster=dptq'
        """
        return f"{KUBERAY_LABELS[self.kind]}={self.name}"


ClusterFile = LauncherFile | KubeRayFile


def read_cluster_file(path: Path) -> ClusterFile:
    """Reads as much of a cluster file as it takes to start, ask and end its cluster.

    Raises:
        ConfigError: The file cannot be read, or describes no cluster, or several.
    """
    documents = read_documents(path, what="cluster file")
    if not all(isinstance(document, dict) for document in documents):
        raise ConfigError(f"cluster file {path} holds something else than mappings: begin with `cluster_name:`.")
    if len(documents) == 1 and "cluster_name" in documents[0] and isinstance(documents[0].get("provider"), dict):
        return LauncherFile(path=path, name=str(documents[0]["cluster_name"]), content=documents[0])
    kuberay = [each for each in documents if str(each.get("apiVersion", "")).startswith(KUBERAY_API)]
    clusters = [each for each in kuberay if each.get("kind") in KUBERAY_LABELS]
    if len(clusters) != 1:
        kinds = ", ".join(str(each.get("kind", "no kind")) for each in documents) or "nothing"
        raise ConfigError(
            f"cluster file {path} describes {len(clusters)} clusters ({kinds}): it must hold `cluster_name` and "
            f"`provider` for Ray's launcher, or one {' or '.join(KUBERAY_LABELS)} for KubeRay."
        )
    metadata = clusters[0].get("metadata") or {}
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise ConfigError(f"cluster file {path}: its {clusters[0]['kind']} has no metadata.name, by which to find it.")
    namespace = metadata.get("namespace")
    return KubeRayFile(path=path, name=str(metadata["name"]), kind=clusters[0]["kind"], namespace=namespace)
