"""`ui` ends its server, with the processes that it started: nothing is left on its port."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.waiting import wait_until, wait_until_gone

ROOT = Path(__file__).resolve().parents[3]
# As `mlflow server` does: what listens is a child, which is not told of signals.
SERVER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""
UI = """
import sys
from orchestrator.cli.main import main
from orchestrator.tracking import backend

backend.ui_command = lambda *arguments: [sys.executable, "-c", sys.argv[1]]
main(["ui", "--storage", sys.argv[2], "--port", sys.argv[3]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        command = subprocess.Popen(
            [sys.executable, "-c", UI, SERVER, str(tmp_path), str(free_port())], cwd=ROOT, stdout=log, stderr=log
        )
        read = (tmp_path / "log").read_text
        wait_until(lambda: read().endswith("\n") and read().split()[-1].isdigit(), read, process=command)
        command.send_signal(number)
        assert command.wait(60) == 0, read()
    wait_until_gone([int(read().split()[-1])])
