"""`ui` with a real MLflow server: it answers, and nothing of it is left on its port."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from orchestrator.cli.main import main; main()"]


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [*COMMAND, "ui", "--storage", str(tmp_path), "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        command = subprocess.Popen(line, stdout=log, stderr=log, env=os.environ | {"HOME": str(tmp_path)})
    deadline = time.monotonic() + 120
    while not answers(port):
        assert command.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.2)
    command.send_signal(number)
    assert command.wait(30) == 0, (tmp_path / "log").read_text()
    deadline = time.monotonic() + 20
    while answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.2)
