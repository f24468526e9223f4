"""Where an autoscaler's settings are found: the file that it was started with, and the RayCluster of KubeRay."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from ray.autoscaler._private.kuberay import node_provider

from cluster.runtime import autoscaler
from cluster.runtime.autoscaler import Autoscaler, read_autoscaler
from tests.waiting import wait_until

GCS = f"192.0.2.1:{os.getpid()}"
"""Of nobody else's cluster, also where two suites run on one machine."""
CONFIG = """
cluster_name: mine
max_workers: 3
provider: {type: aws, secret: not for workers}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}}
  gpu: {resources: {CPU: 8, GPU: 1}, max_workers: 2}
"""


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[None]:
    """A process that looks like the autoscaler of a cluster, and one of another cluster's."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "other.yaml").write_text("max_workers: 0\n")
    waiting = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with ExitStack() as stack:
        for name, address in (("other.yaml", GCS[:-1]), ("config.yaml", GCS)):
            command = [*waiting, f"--autoscaling-config={tmp_path}/{name}", f"--gcs-address={address}"]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            # Some systems show the arguments a moment later, and its parent's until then.
            arguments = Path(f"/proc/{process.pid}/cmdline")
            wait_until(lambda arguments=arguments, command=command: os.fsencode(command[-1]) in arguments.read_bytes())  # type: ignore[misc]
        yield


def test_the_settings_are_those_of_the_clusters_own_autoscaler_and_only_node_types_leave_the_head(
    monitor: None,
) -> None:
    found = read_autoscaler(GCS)
    assert [(each.name, each.resources, each.max_nodes) for each in found.node_types] == [
        ("gpu", {"CPU": 8, "GPU": 1}, 2)
    ]
    assert (found.max_nodes, found.unknown) == (3, "")
    assert "secret" not in repr(found)


def test_a_cluster_without_autoscaler_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_CLUSTER_NAME", raising=False)
    assert read_autoscaler("192.0.2.2:6379") == Autoscaler()


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a head sees in Kubernetes."""
    (tmp_path / "namespace").write_text("sweeps\n")
    monkeypatch.setattr(autoscaler, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("RAY_CLUSTER_NAME", "dptq")
    monkeypatch.setattr(node_provider, "load_k8s_secrets", lambda: ({"Authorization": "Bearer t"}, "ca.crt", None))


def ray_cluster(*, is_scaled: bool) -> dict[str, Any]:
    def group(cpu: str, **limits: str) -> dict[str, Any]:
        container = {"name": "ray", "resources": {"limits": {"cpu": cpu, **limits}, "requests": {"cpu": cpu}}}
        return {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}

    workers = group("8", **{"nvidia.com/gpu": "1"}) | {
        "groupName": "gpu",
        "minReplicas": 0,
        "maxReplicas": 4,
        "replicas": 0,
    }
    spec = {"headGroupSpec": group("2"), "workerGroupSpecs": [workers], "enableInTreeAutoscaling": is_scaled}
    return {"metadata": {"name": "dptq", "namespace": "sweeps"}, "spec": spec}


class Answer:
    """Of the Kubernetes API."""

    def __init__(self, status_code: int, content: Any) -> None:
        self.status_code, self._content = status_code, content

    def json(self) -> Any:
        return self._content

    def raise_for_status(self) -> None:
        raise requests.HTTPError(f"{self.status_code} Forbidden")


def test_a_ray_cluster_that_scales_from_zero_says_what_its_groups_have(
    pod: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get(url: str, **options: Any) -> Answer:
        asked.append(url)
        return Answer(200, ray_cluster(is_scaled=True))

    monkeypatch.setattr(requests, "get", get)
    found = read_autoscaler(GCS)
    assert [(each.name, each.resources["GPU"], each.max_nodes) for each in found.node_types] == [("gpu", 1, 4)]
    assert found.at_most("CPU") == 32
    (url,) = asked
    assert url.endswith("/apis/ray.io/v1/namespaces/sweeps/rayclusters/dptq")


def test_a_ray_cluster_of_fixed_size_does_not_grow(pod: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda url, **options: Answer(200, ray_cluster(is_scaled=False)))
    assert read_autoscaler(GCS) == Autoscaler()


def test_a_head_that_may_not_ask_kubernetes_says_so(pod: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda url, **options: Answer(403, {}))
    assert read_autoscaler(GCS) == Autoscaler(unknown="RayCluster dptq cannot be read: 403 Forbidden")
