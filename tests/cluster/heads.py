"""Ray clusters on this machine that leave others alone: heads as people start them, and nodes of one process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ray.cluster_utils import Cluster

from cluster.remote.shell import RAY
from tests.servers import wait_for_server

END_SECONDS = 30


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    address: str
    """For `ray.init`."""
    dashboard: str
    folder: Path
    """Of its sockets, logs and copies of code."""


@contextmanager
def running_head(node_types: Mapping[str, Any] | None = None) -> Iterator[Head]:
    """Starts a head with two cores and its job server, and ends it, and only it, with the block.

    Args:
        node_types: What its autoscaler may add, in the words of Ray's launcher; such nodes are processes of this
            machine that count what they do not have.
    """
    gcs, dashboard, agent, client = free_ports(4)
    # Short, because Ray puts sockets below it.
    folder = Path(tempfile.mkdtemp(prefix="dptq-head-", dir="/tmp"))
    started = [
        *(*RAY, "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", f"--temp-dir={folder}/ray"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--ray-client-server-port={client}", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
        *("--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=100000000"),
    ]
    variables = {
        **os.environ,
        # A job's `python` is the first on the path of its head, as in an image.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
    }
    # No checkout of ours, nor a folder that has one: what workers import must come with the job.
    variables.pop("PYTHONPATH", None)
    if node_types:
        config = autoscaling_config(node_types, f"127.0.0.1:{gcs}")
        (folder / "autoscaling.yaml").write_text(json.dumps(config))
        started.append(f"--autoscaling-config={folder}/autoscaling.yaml")
        variables |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen(
            started, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, cwd=folder, start_new_session=True
        )
    try:
        wait_for_server(process, dashboard, (folder / "start.log").read_text)
        yield Head(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", folder)
    finally:
        # With --block, a head ends all that it started itself; not so the nodes that its autoscaler added.
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        end_what_mentions(str(folder))
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def several_nodes(num_cpus: int) -> Iterator[Cluster]:
    """Starts a head of so many cores, to which a test adds nodes, and ends them all with the block."""
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # Else the address is written where `ray.init` and `auto` of other processes look for theirs.
        with mock.patch.dict(os.environ, RAY_TMPDIR=folder):
            # Without a port of its own Ray fails where another cluster has the usual one.
            head = {"num_cpus": num_cpus, "include_dashboard": False, "dashboard_port": None}
            cluster = Cluster(initialize_head=True, head_node_args=head)
            try:
                yield cluster
            finally:
                cluster.shutdown()


def autoscaling_config(node_types: Mapping[str, Any], gcs_address: str) -> dict[str, Any]:
    """Returns settings by which Ray's own fake provider adds processes of this machine as nodes."""
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": gcs_address,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "foreground_node_launch": True,
        "worker_liveness_check": False,
    }
    lists = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
    head = {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "fake",
        "max_workers": 3,
        "provider": provider,
        "auth": {},
        "upscaling_speed": 1,
        "idle_timeout_minutes": 5,
        "available_node_types": {"ray.head.default": head, **node_types},
        "head_node_type": "ray.head.default",
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
    } | {name: [] for name in lists}


def end_what_mentions(folder: str) -> None:
    """Ends the processes that were started for a folder of ours: nodes that an autoscaler left."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = folder in (process / "cmdline").read_text(errors="replace")
            if is_ours and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on."""
    asked = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in asked]
    for each in asked:
        each.close()
    return ports
