"""A cluster of this machine is this launch's own: nobody without its token is answered, and nothing listens outside."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.orchestrator.patients import descendants

OWN_CLUSTER = """
import os, sys
import ray
from cluster.runtime.session import session

@ray.remote
def token():
    return os.environ["RAY_AUTH_TOKEN"]

with session():
    print(ray.get_runtime_context().gcs_address, ray.get(token.remote()), flush=True)
    sys.stdin.read()
print([name for name in os.environ if name.startswith("RAY_AUTH")])
"""
STRANGER = """
import sys
from ray._raylet import GcsClient

client = GcsClient(address=sys.argv[1])
print(client.internal_kv_keys(b"", b"session", timeout=5))
"""

SCAN = """
import socket, sys
for port in map(int, sys.argv[2:]):
    with socket.socket() as one:
        one.settimeout(2)
        if one.connect_ex((sys.argv[1], port)) == 0:
            print(port)
"""
HOST, STRANGER_HOST = "198.51.100.1", "198.51.100.2"
"""Ends of the cable between this machine and another network; of addresses that no network has (RFC 5737)."""


@contextmanager
def another_network() -> Iterator[list[str] | None]:
    """Yields what begins a command that runs in a network with a cable to this machine; None where none can be made."""
    name = f"dptq{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    setup = (
        ["ip", "netns", "add", name],
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name],
        ["ip", "address", "add", f"{HOST}/30", "dev", name],
        ["ip", "link", "set", name, "up"],
        [*inside, "ip", "address", "add", f"{STRANGER_HOST}/30", "dev", "eth0"],
        [*inside, "ip", "link", "set", "eth0", "up"],
    )
    try:
        # Only root may, where the program `ip` is, and no container forbids it.
        is_possible = shutil.which("ip") and all(
            subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in setup
        )
        yield inside if is_possible else None
    finally:
        if shutil.which("ip"):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def tcp_listeners(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports at which a process, or one below it, listens; Linux only."""
    sockets = set()
    for process in (pid, *descendants(pid)):
        try:
            sockets |= {os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:
            continue  # it ended meanwhile
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    # The state 0A is LISTEN; hexadecimal addresses have the last byte of every word first.
    listening = (row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets)
    return {(address, int(port, 16)) for address, port in listening}


def scan(listeners: set[tuple[str, int]]) -> list[int] | None:
    """Returns the ports of this machine that another network reaches; None where none can be made.

    One that this process opens to everybody is found, which shows that the cable holds.
    """
    with another_network() as inside, socket.create_server(("0.0.0.0", 0)) as everybody:
        if inside is None:
            return None
        ports = [*sorted({port for _, port in listeners}), everybody.getsockname()[1]]
        command = [*inside, sys.executable, "-S", "-c", SCAN, HOST, *map(str, ports)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        reached = [int(port) for port in found.stdout.split()]
        assert reached.pop() == ports[-1], "the other network reaches this machine"
    return reached


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for those of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="own-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.ray
@pytest.mark.slow
def test_nobody_without_the_token_is_answered_and_nothing_listens_outside_this_machine(short_folder: Path) -> None:
    places = {"RAY_TMPDIR": str(short_folder), "HOME": str(short_folder)}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | places

    def ask(address: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", STRANGER, address]
        return subprocess.run(command, env=bare | variables, capture_output=True, text=True, timeout=120, check=False)

    with subprocess.Popen(
        [sys.executable, "-c", OWN_CLUSTER], env=bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdin is not None
        address, token = driver.stdout.readline().split()
        listeners = tcp_listeners(driver.pid)
        reached = scan(listeners)
        known = ask(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
        strangers = [
            ask(address, RAY_AUTH_MODE="disabled"),
            ask(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * len(token)),
        ]
        driver.stdin.close()
        rest = driver.stdout.read()
    assert known.returncode == 0, known.stderr
    assert [each.returncode == 0 for each in strangers] == [False, False], [each.stdout for each in strangers]
    assert all(token not in each.stderr for each in strangers)
    here = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert {address for address, _ in listeners} <= here
    assert len(listeners) >= 3, "those of Ray's head"
    assert rest.strip() == "[]", "what this process starts later knows nothing of the token"
    assert not (short_folder / ".ray" / "auth_token").exists()
    if reached is None:
        pytest.skip("all but the scan passed: another network takes root and the program `ip`")
    assert reached == []
