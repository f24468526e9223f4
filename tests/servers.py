"""Web servers that tests talk to, each a process of this machine; no tests in here."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow.fs as pafs

SECRET = "a-key-that-nobody-may-read"
"""Of the S3 server; it takes any."""
START_SECONDS = 300
"""Longest wait for a server; MLflow's takes 10 s on an idle machine, for it makes its database first."""


@dataclass(frozen=True)
class Bucket:
    """A bucket on an S3 server of this machine."""

    name: str
    options: str
    """Query of its URIs, which says where the server is."""

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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, Callable[[], None]]:
        command = [sys.executable, "-m", module, *arguments, port_option, str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        running.append(process)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}", lambda: end(process)
            except OSError:
                assert time.monotonic() < deadline, f"{module} does not start"
                time.sleep(0.2)

    try:
        yield start
    finally:
        for process in running:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
