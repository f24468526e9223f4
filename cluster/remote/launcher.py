"""Starts and ends clusters: on a cloud's machines by Ray's launcher, on Kubernetes by `kubectl` and KubeRay.

Nothing is taken to be gone because a program said so. After `end_cluster` the provider itself is asked for what still
carries the cluster's name, since a machine that was forgotten goes on costing money.
"""

import time

from cluster.files.identify import ClusterFile, KubeRayFile, LauncherFile
from cluster.providers.registry import provider_of
from cluster.remote.shell import KUBECTL, RAY, kubectl_names, run
from cluster.runtime.ray_internals import launcher_machines
from search_spaces.errors import UnavailableError, one_line
from search_spaces.uris import redact

KUBERNETES_KINDS = "rayjobs,rayclusters,jobs,pods,services"
"""What KubeRay makes of a file."""
SECONDS_TO_VANISH = 120.0
"""Pods have 30 seconds to end by default, and their nodes' answers take a moment."""
ASK_EVERY_SECONDS = 2.0


def start_cluster(file: ClusterFile) -> None:
    """Starts a cluster, or brings a running one up to date.

    Raises:
        UnavailableError: kubectl is missing, or the launcher failed; it printed why.
    """
    if isinstance(file, KubeRayFile):
        run([*KUBECTL, "apply", "--filename", str(file.path)])
    else:
        # Without the cache: an edited file would otherwise have no effect.
        run([*RAY, "up", str(file.path), "--yes", "--no-config-cache"])


def end_cluster(file: ClusterFile, *, seconds: float = SECONDS_TO_VANISH) -> list[str]:
    """Ends a cluster, waits for its last pods and machines to vanish, and returns what is left of it.

    Raises:
        UnavailableError: kubectl is missing, the launcher failed, or the provider cannot be asked what is left.
    """
    if isinstance(file, KubeRayFile):
        run([*KUBECTL, "delete", "--filename", str(file.path), "--ignore-not-found"])
    else:
        run([*RAY, "down", str(file.path), "--yes"])
    deadline = time.monotonic() + seconds
    while (left := remaining(file)) and time.monotonic() < deadline:
        time.sleep(ASK_EVERY_SECONDS)
    return left


def remaining(file: ClusterFile) -> list[str]:
    """Returns what still carries the cluster's name: machines of a provider, objects of Kubernetes.

    Raises:
        UnavailableError: The provider cannot be asked; says what to look for by hand.
    """
    if isinstance(file, KubeRayFile):
        return kubectl_names(KUBERNETES_KINDS, file.selector, file.namespace)
    try:
        return launcher_machines(file.content)
    # A provider's library may raise anything; whatever it is, what is left is unknown.
    except Exception as error:
        raise UnavailableError(
            f"cannot ask provider {file.provider.get('type')!r} what is left of cluster {file.name!r} "
            f"({redact(one_line(error))}): look in its console for machines with the tag ray-cluster-name={file.name}."
        ) from error


def stays_behind(file: ClusterFile) -> str | None:
    """Says what a cluster leaves behind although none of its machines runs; None for nothing.

    Ray's launcher stops machines instead of deleting them unless it is told otherwise, and a stopped machine is no
    longer among those that it can be asked for, while its disk is paid for.
    """
    if not isinstance(file, LauncherFile) or (provider := provider_of(file.provider)) is None:
        return None
    if not file.provider.get("cache_stopped_nodes", provider.stops_by_default):
        return None
    return (
        f"{file.path} has no `cache_stopped_nodes: False` under `provider`: machines were stopped and not deleted, and "
        "their disks still cost money. Delete them in the console, and add the line."
    )
