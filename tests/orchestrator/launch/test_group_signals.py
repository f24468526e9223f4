"""A signal to the whole process group, as of timeout(1), systemd or a closed terminal, ends a launch in order."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_SECONDS = 150


def end_at(line: str, number: signal.Signals, folder: Path) -> str:
    """Launches `smoke`, signals its group once it has printed a line, and returns what it printed."""
    log = folder / "log"
    code = "from orchestrator.cli.main import main; main()"
    command = [sys.executable, "-c", code, "launch", "--grid", "smoke", "--storage", str(folder / "storage")]
    # Short, because it holds Unix sockets.
    environment = os.environ | {"HOME": str(folder), "RAY_TMPDIR": str(folder)}
    with log.open("w") as out:
        driver = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while line not in log.read_text():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    os.killpg(driver.pid, number)
    assert driver.wait(TIMEOUT_SECONDS) == 0, log.read_text()
    return log.read_text()


@pytest.mark.parametrize(
    ("line", "number"),
    [
        # Ray is starting then.
        ("sweep smoke in", signal.SIGTERM),
        ("started teacher", signal.SIGTERM),
        ("started teacher", signal.SIGHUP),
    ],
)
def test_a_signal_to_the_process_group_ends_a_launch_in_order(line: str, number: signal.Signals) -> None:
    with tempfile.TemporaryDirectory(prefix="group-", ignore_cleanup_errors=True) as folder:
        printed = end_at(line, number, Path(folder))
    assert "stopping: running trials finish their epoch" in printed
    assert "trials are not done; go on with: dptq-sweep resume smoke" in printed
    assert "GCS" not in printed
    assert "Traceback" not in printed
