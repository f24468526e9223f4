"""The first signal asks a sweep to stop, the second one ends the driver, and an ignored one does nothing."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.launch.signals import SIGNALS, stop_on_signals
from orchestrator.store.store import Store
from orchestrator.store.sweep import Sweep
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_SECONDS = 240


@pytest.fixture(autouse=True)
def _hangups_are_heeded() -> Iterator[None]:
    """Also where the tests were started to outlive their terminal, by nohup; a child starts with the default."""
    before = signal.signal(signal.SIGHUP, lambda number, frame: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def sweep(store: Store) -> Sweep:
    return Sweep(store, "mine")


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """As a process that was started to ignore a signal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def is_stopping(sweep: Sweep) -> bool:
    return sweep.store.root.exists(sweep.stop_file)


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_first_signal_asks_to_stop_and_the_second_ends_the_driver(
    sweep: Sweep, first: signal.Signals, second: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    said: list[str] = []
    with stop_on_signals(sweep, said.append):
        assert not is_stopping(sweep)
        signal.raise_signal(first)
        assert is_stopping(sweep)
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
    assert len(said) == 1
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_from_the_start_stays_so_and_the_other_one_stops(
    sweep: Sweep, number: signal.Signals
) -> None:
    other, *_ = (each for each in SIGNALS if each != number)
    said: list[str] = []
    with ignored(number), stop_on_signals(sweep, said.append):
        signal.raise_signal(number)
        assert said == []
        assert not is_stopping(sweep)
        signal.raise_signal(other)
        assert is_stopping(sweep)
        signal.raise_signal(number)
        assert len(said) == 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    # Ray is starting after the first line, and runs after the second one.
    ("line", "number"),
    [("sweep smoke in", signal.SIGHUP), ("started teacher", signal.SIGTERM)],
)
def test_a_signal_to_the_whole_process_group_ends_a_launch_in_order(line: str, number: signal.Signals) -> None:
    """As of timeout(1), systemd, scancel or a closed terminal."""
    with tempfile.TemporaryDirectory(prefix="group-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        code = "from orchestrator.cli.main import main; main()"
        command = [sys.executable, "-c", code, "launch", "--grid", "smoke", "--storage", f"{folder}/storage"]
        # Short, because it holds Unix sockets.
        environment = os.environ | {"HOME": folder, "RAY_TMPDIR": folder}
        with log.open("w") as out:
            driver = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        wait_until(lambda: line in log.read_text(), log.read_text, process=driver)
        os.killpg(driver.pid, number)
        assert driver.wait(TIMEOUT_SECONDS) == 0, log.read_text()
        printed = log.read_text()
    assert "stopping: running trials finish their epoch" in printed
    assert "trials are not done; go on with: dptq-sweep resume smoke" in printed
    assert "GCS" not in printed
    assert "Traceback" not in printed


def test_tests_that_a_script_runs_in_the_background_are_interrupted_all_the_same(tmp_path: Path) -> None:
    """Its children ignore SIGINT until `tests/conftest.py` heeds it, in the tests and in all that they start."""
    child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    case = f"""
import signal, subprocess, sys
import pytest

def test_it():
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert subprocess.check_output([sys.executable, "-c", {child!r}], text=True) == "True\\n"
"""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_case.py").write_text(case)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    with ignored(signal.SIGINT):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
