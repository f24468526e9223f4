"""A cluster of this machine is this launch's own: nobody without its token is answered, and nothing listens outside."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


def tcp_listeners(pid: int) -> set[str]:
    """Addresses to which a process, or one below it, listens; Linux only."""
    sockets = set()
    for process in (pid, *descendants(pid)):
        try:
            sockets |= {os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:
            continue  # it ended meanwhile
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    # The state 0A is LISTEN; hexadecimal addresses have the last byte of every word first.
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


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
    assert listeners
    assert listeners <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert rest.strip() == "[]", "what this process starts later knows nothing of the token"
    assert not (short_folder / ".ray" / "auth_token").exists()
