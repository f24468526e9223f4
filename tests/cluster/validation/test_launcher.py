"""Every way to spoil a launcher file that we know gives exactly one line, which names value, rule and hint."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from search_spaces.errors import UnavailableError

HEAD = "available_node_types/head"
SPOT = "available_node_types/spot"
AUTH = "echo 'export RAY_AUTH_MODE=token' >> ~/.bashrc"
STORE = "echo 'export DPTQ_STORAGE={}' >> ~/.bashrc"


@pytest.mark.parametrize(
    ("kind", "place", "value", "fragments"),
    [
        # Ray's own schema
        ("aws", "max_worker", 2, ["max_worker: Ray's launcher knows no such field", "'max_workers'"]),
        ("aws", "max_workers", "8", ["max_workers: '8' is text, where a whole number belongs", "without quotes"]),
        ("aws", f"{SPOT}/resources/GPU", 0.5, [".spot.resources.GPU: 0.5 is a number, where a whole number"]),
        ("aws", f"{SPOT}/resources", ..., ["spot: 'resources' is missing"]),
        ("aws", f"{SPOT}/max_worker", 2, ["spot.max_worker: ", "Did you mean 'max_workers'?"]),
        ("aws", "cluster_name", ..., ["'cluster_name' is missing"]),
        ("aws", "setup_commands", "pip install x", ["setup_commands: 'pip install x' is text, where a list belongs"]),
        # provider
        ("aws", "provider/type", "awz", ["provider.type: 'awz' is none of aws", "Did you mean 'aws'?"]),
        ("aws", "provider/regoin", "us-west-2", ["provider.regoin: Ray's launcher on AWS", "Did you mean 'region'?"]),
        ("azure", "provider/region", "eastus", ["provider.region: Ray's launcher on Azure knows no such field"]),
        ("gcp", "provider/project", "p", ["provider.project: ", "Did you mean 'project_id'?"]),
        ("gcp", "provider/project_id", None, ["provider.project_id: is empty"]),
        ("aws", "provider/cache_stopped_nodes", True, ["provider.cache_stopped_nodes: ", "paid for", "write false"]),
        ("azure", "provider/cache_stopped_nodes", ..., ["provider.cache_stopped_nodes: ", "write false"]),
        ("aws", "idle_timeout_minutes", 1, ["idle_timeout_minutes: 1 minutes", "at least 5"]),
        # machines
        ("aws", f"{SPOT}/node_config/InstanceTyp", "x", ["node_config.InstanceTyp: AWS knows", "'InstanceType'"]),
        ("gcp", f"{SPOT}/node_config/machinetype", "x", ["node_config.machinetype: Google", "'machineType'"]),
        ("azure", f"{SPOT}/node_config/azure_arm_parameters/vmsize", "x", ["vmsize: Azure knows", "'vmSize'"]),
        ("azure", f"{SPOT}/node_config/vmSize", "x", ["node_config.vmSize: Ray's launcher knows no such field"]),
        ("aws", f"{SPOT}/node_config/InstanceType", ..., ["node_config: names no machine", "InstanceType: g6"]),
        ("aws", f"{SPOT}/node_config/InstanceType", 5, ["spot.node_config: InstanceType=5: it should be a name"]),
        ("azure", f"{SPOT}/node_config/azure_arm_parameters", 5, ["azure_arm_parameters=5: it should be a mapping"]),
        ("aws", f"{SPOT}/resources/GPU", ..., ["spot.resources: g6.2xlarge has a GPU that no trial would ever get"]),
        ("gcp", f"{SPOT}/resources/GPU", 0, ["spot.resources: g2-standard-8 has a GPU"]),
        ("azure", f"{SPOT}/resources", {}, ["spot.resources: Standard_NC8as_T4_v3 has a GPU"]),
        ("aws", f"{SPOT}/resources/GPU", 4, ["spot.resources: GPU: 4, but g6.2xlarge has 1"]),
        # head
        ("aws", "head_node_type", "haed", ["head_node_type: 'haed' is none of", "Did you mean 'head'?"]),
        ("aws", f"{HEAD}/node_config/InstanceMarketOptions", {"MarketType": "spot"}, ["the head is a spot machine"]),
        ("gcp", f"{HEAD}/node_config/scheduling", [{"preemptible": True}], ["the head is a spot machine"]),
        ("gcp", f"{HEAD}/node_config/scheduling", {"provisioningModel": "SPOT"}, ["the head is a spot machine"]),
        ("azure", f"{HEAD}/node_config/azure_arm_parameters/priority", "Spot", ["the head is a spot machine"]),
        ("aws", f"{HEAD}/resources/CPU", 4, ["head.resources: the head offers {'CPU': 4", "{CPU: 0, GPU: 0}"]),
        ("aws", f"{HEAD}/resources", {}, ["head.resources: the head offers {}"]),
        # docker
        ("aws", "docker/container_name", ..., ["docker: an image without a container_name"]),
        ("aws", "docker/image", ..., ["docker: a container_name without an image"]),
        # versions
        ("aws", "docker/image", "rayproject/ray:2.55.0-py311", ["docker.image: ", "holds Ray 2.55.0, here is 2.60.0"]),
        ("aws", "docker/image", "rayproject/ray:2.60.0-py39", ["docker.image: ", "is not for Python"]),
        ("aws", "docker/image", "rayproject/ray:latest", ["docker.image: ", "holds Ray latest"]),
        ("aws", "docker/worker_image", "rayproject/ray:2.59.1", ["docker.worker_image: ", "holds Ray 2.59.1"]),
        ("aws", "setup_commands/5", "pip install 'ray[default,tune]==2.59.0' x", ["setup_commands[5]: ", "2.60.0"]),
        ("aws", "setup_commands/5", "pip install -U 'ray[default]'", ["[5]: 'ray[default]' does not pin Ray"]),
        ("aws", "setup_commands/5", "pip install https://x/ray-3.0.0.dev0-cp311-cp311-linux.whl", ["does not pin Ray"]),
        ("aws", "setup_commands/5", "pip install ~/dptq_sweep-0.0.9-py3-none-any.whl", ["is not dptq-sweep"]),
        ("local", "setup_commands/0", "python3.9 -m venv ~/venv", ["setup_commands[0]: Python 3.9 is not"]),
        ("aws", "setup_commands", ..., ["setup_commands: is empty: machines would get Ray's nightly build"]),
        # who may connect, where trials are kept
        ("aws", "setup_commands/0", "true", ["setup_commands: RAY_AUTH_MODE is None"]),
        ("aws", "setup_commands/0", AUTH.replace("token", "none"), ["RAY_AUTH_MODE is 'none'"]),
        ("aws", "file_mounts", {"/home/ray/dist": "dist"}, ["file_mounts: RAY_AUTH_MODE is token, but no machine"]),
        ("aws", "setup_commands/1", STORE.format("/home/ray/trials"), ["'/home/ray/trials' is a path", "s3://"]),
        ("aws", "setup_commands/1", "true", ["setup_commands: DPTQ_STORAGE is not set"]),
        ("local", "setup_commands/3", STORE.format("trials"), ["'trials' is a path", "absolute path that all share"]),
        # machines of your own
        ("local", "available_node_types", {}, ["available_node_types: machines of your own have no types"]),
        ("local", "provider/head_ip", ..., ["provider: 'head_ip' is missing"]),
        ("local", "provider/worker_ip", [], ["provider.worker_ip: ", "Did you mean 'worker_ips'?"]),
        # what only Ray's preparation finds
        ("aws", f"{SPOT}/min_workers", 9, ["file: `ray up` refuses it (ValueError): ", "`max_workers` is smaller"]),
    ],
)  # fmt: skip
def test_a_spoiled_file_gives_one_line(
    kind: str,
    place: str,
    value: Any,
    fragments: list[str],
    rendered: Callable[[str], Any],
    change: Callable[[Any, str, Any], None],
    findings: Callable[[Any], list[str]],
) -> None:
    config = rendered(kind)
    change(config, place, value)
    lines = findings(config)
    assert len(lines) == 1, lines
    assert [fragment for fragment in fragments if fragment not in lines[0]] == [], lines[0]


def test_all_mistakes_are_told_at_once(
    rendered: Callable[[str], Any], change: Callable[[Any, str, Any], None], findings: Callable[[Any], list[str]]
) -> None:
    config = rendered("aws")
    for place, value in (
        ("provider/regoin", "x"),
        ("idle_timeout_minutes", 1),
        (f"{SPOT}/resources/GPU", 0),
        ("docker/image", "rayproject/ray:2.1.0"),
    ):
        change(config, place, value)
    assert len(findings(config)) == 4


def test_an_explicitly_open_cluster_is_the_users_choice(
    rendered: Callable[[str], Any], change: Callable[[Any, str, Any], None], findings: Callable[[Any], list[str]]
) -> None:
    config = rendered("aws")
    change(config, "setup_commands/0", AUTH.replace("token", "disabled"))
    change(config, "file_mounts", {"/home/ray/dist": "dist"})
    assert findings(config) == []


@pytest.mark.parametrize("moved", ["ray.autoscaler._private.util", "find_spec"])
def test_a_ray_that_moved_its_checks_is_one_clear_line(
    moved: str, rendered: Callable[[str], Any], findings: Callable[[Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rendered("aws")
    if moved == "find_spec":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, moved, ModuleType(moved))
    with pytest.raises(UnavailableError, match=r"keeps the checks of `ray up` elsewhere"):
        findings(config)
