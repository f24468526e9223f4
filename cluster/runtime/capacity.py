"""What a cluster has, and what it can grow to; and whether a trial fits on any node of it, asked before one waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.runtime.autoscaler import HEAD, Autoscaler
from search_spaces.errors import ConfigError

Resources = Mapping[str, float]
COUNTED = ("CPU", "GPU")


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """The nodes of a cluster, and those that its autoscaler may add."""

    nodes: Sequence[Resources]
    """All resources of every node that runs."""
    autoscaler: Autoscaler = field(default_factory=Autoscaler)

    @property
    def resources(self) -> dict[str, float]:
        """The cores and GPUs of the whole cluster once it has grown as far as it may; no key for what it never has.

        Examples:
            >>> Capacity(nodes=[{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}]).resources
            {'CPU': 6.0, 'GPU': 1.0}
        """
        most: dict[str, float] = {}
        for name in COUNTED:
            running = sum(node.get(name, 0) for node in self.nodes)
            # Its workers are counted among those that it may have, running or not; only the head is besides them.
            grown = sum(node.get(name, 0) for node in self.nodes if HEAD in node) + self.autoscaler.at_most(name)
            most[name] = max(running, grown)
        return {name: amount for name, amount in most.items() if amount}

    @property
    def may_grow(self) -> bool:
        """Whether an autoscaler may add nodes."""
        return bool(self.autoscaler.node_types or self.autoscaler.unknown)

    def has_room_for(self, request: Resources) -> bool:
        """Tells whether an empty node of any kind is large enough."""
        kinds = [*self.nodes, *(each.resources for each in self.autoscaler.node_types)]
        return any(all(kind.get(name, 0) >= amount for name, amount in request.items()) for kind in kinds)


def alive_nodes() -> list[dict[str, Any]]:
    """Returns what Ray tells of every node that is alive, those without a core for trials included."""
    return [node for node in ray.nodes() if node["Alive"]]


def current_capacity(autoscaler: Autoscaler) -> Capacity:
    """Asks the Ray cluster of this process what it has; its autoscaler is known already."""
    return Capacity(nodes=[node["Resources"] for node in alive_nodes()], autoscaler=autoscaler)


def check_room(requests: Mapping[str, Resources], capacity: Capacity) -> None:
    """Refuses trials that would wait for ever; their requests are as Ray counts them, `{"CPU": 1, "GPU": 0.5}`.

    Raises:
        ConfigError: Something fits on no node that runs or could be started; names a trial, its need and the hint.
    """
    too_large = {name: request for name, request in requests.items() if not capacity.has_room_for(request)}
    if not too_large:
        return
    name, request = next(iter(too_large.items()))
    others = f" and {len(too_large) - 1} more" if len(too_large) > 1 else ""
    scalable = [f"{each.name} with {_shown(each.resources)}" for each in capacity.autoscaler.node_types]
    largest = max(capacity.nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
    where = f"the largest node has {_shown(largest)}"
    where += f", its autoscaler adds {', '.join(scalable)}" if scalable else ", and the cluster does not grow"
    hint = "launch without --gpus-per-trial" if request.get("GPU") else "give its nodes at least one core for trials"
    raise ConfigError(
        f"trial {name}{others} needs {_shown(request)}; no node type has that ({where}): {hint}, or join another "
        "cluster."
    )


def _shown(resources: Resources) -> str:
    """Writes cores and GPUs.

    Examples:
        >>> _shown({"CPU": 2.0, "GPU": 0.5, "memory": 1e9}), _shown({})
        ('CPU:2 GPU:0.5', 'nothing')
    """
    return " ".join(f"{name}:{resources[name]:g}" for name in COUNTED if resources.get(name)) or "nothing"
