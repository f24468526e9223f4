"""The job server of a cluster: an address that was given, or a tunnel to the head that a cluster file describes.

A head's dashboard lets anybody run commands, so it should listen to the head alone. The tunnel is Ray's own
(over SSH) or that of `kubectl`, and ends with the `with` block.
"""

import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cluster.files.identify import ClusterFile, KubeRayFile
from cluster.remote.shell import KUBECTL, RAY, check_program, in_namespace, kubectl_names
from search_spaces.errors import ConfigError, UnavailableError, one_line
from search_spaces.uris import redact

DASHBOARD_PORT = 8265
CONNECT_SECONDS = 5.0
TUNNEL_SECONDS = 60.0
"""Longest wait for a tunnel; an SSH connection across the world takes a few."""


def check_dashboard(address: str) -> None:
    """Makes sure that a server answers at `http(s)://HOST[:PORT]`.

    Raises:
        ConfigError: The address holds a user name or a password.
        UnavailableError: There is no answer.
    """
    if redact(address) != address:
        # Not repeated: the line may end in a log.
        raise ConfigError(
            "--address holds credentials: leave them out, and set RAY_AUTH_TOKEN and RAY_AUTH_MODE=token."
        )
    place = urllib.parse.urlsplit(address)
    try:
        host, port = place.hostname or "", place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"no Ray dashboard answers at {address!r} ({one_line(error)}): its port is {DASHBOARD_PORT} unless `ray "
            "start` was told otherwise; from outside of the cluster, name its file, and a tunnel is opened for you."
        ) from None


@contextmanager
def tunnel(file: ClusterFile) -> Iterator[str]:
    """Opens a tunnel to the dashboard of a cluster that runs, and yields its address on this machine.

    Raises:
        UnavailableError: There is no tunnel within a minute; holds what the program said last.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = _tunnel_command(file, port)
    check_program(command)
    with tempfile.TemporaryFile("w+") as said:
        # A group of its own: Ctrl-C ends what uses the tunnel first, and the tunnel with the block.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            if not _opens(process, port):
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise UnavailableError(
                    f"no tunnel to the dashboard of cluster {file.name!r} ({redact(last)}): is it up? "
                    f"`dptq-sweep cluster up {file.path}` starts it."
                )
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _tunnel_command(file: ClusterFile, port: int) -> Sequence[str]:
    if not isinstance(file, KubeRayFile):
        return [*RAY, "dashboard", str(file.path), "--port", str(port), "--no-config-cache"]
    services = kubectl_names("services", f"{file.selector},ray.io/node-type=head", file.namespace)
    if not services:
        raise UnavailableError(
            f"no head of {file.kind} {file.name!r} in Kubernetes: start it with `dptq-sweep cluster up {file.path}`."
        )
    return [*KUBECTL, "port-forward", *in_namespace(file.namespace), services[0], f"{port}:{DASHBOARD_PORT}"]


def _opens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Waits for a port; returns False if the program ends first, or time is up."""
    deadline = time.monotonic() + TUNNEL_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS).close()
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False
