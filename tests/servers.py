"""Web servers that tests talk to, each a process of this machine; no tests in here."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs

import pyarrow.fs as pafs

from tests.waiting import wait_until

SECRET = "a-key-that-nobody-may-read"
"""Of the S3 server; it takes any."""
START_SECONDS = 240
"""Longest wait for a server; MLflow's takes 10 s on an idle machine, for it makes its database first."""


@dataclass(frozen=True)
class Bucket:
    """A bucket on an S3 server of this machine."""

    name: str
    options: str
    """Query of its URIs, which says where the server is."""

    @property
    def host(self) -> str:
        """Where the server is."""
        return parse_qs(self.options)["endpoint_override"][0]

    def uri(self, path: str = "") -> str:
        return f"s3://{self.name}{path}?{self.options}"

    def objects(self) -> list[str]:
        """Every object, also those that stand for a folder."""
        filesystem, _ = pafs.FileSystem.from_uri(self.uri())
        infos = filesystem.get_file_info(pafs.FileSelector(self.name, recursive=True))
        return sorted(info.path.removeprefix(f"{self.name}/") for info in infos)


@contextmanager
def starting(module: str, *arguments: str, port_option: str) -> Iterator[Callable[[], tuple[str, Callable[[], None]]]]:
    """Starts a web server of this machine, again and again on one port; gives its URL and what kills it."""
    port = free_port()
    running: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, Callable[[], None]]:
        command = [sys.executable, "-m", module, *arguments, port_option, str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        wait_for_server(process, port, lambda: f"{module} does not start")
        # It listens before it answers, and what it is asked by a test may wait for seconds only.
        wait_until(lambda: _answers(url), lambda: f"{module} does not answer", process=process, seconds=START_SECONDS)
        return url, lambda: end(process)

    try:
        yield start
    finally:
        for process in running:
            end(process)


def wait_for_server(process: "subprocess.Popen[bytes]", port: int, what: Callable[[], str]) -> None:
    """Waits until somebody listens on a port of this machine; `what` a failure says."""

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until(listens, what, process=process, seconds=START_SECONDS, pause_seconds=0.1)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=START_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
