"""What a command prints may have nowhere to go, and its folder may be gone: one line, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from orchestrator.cli.main import main; main()"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--grid", "smoke"], ["plan", "--grid", "smoke", "--json"]])
def test_output_that_does_not_fit_on_the_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: [Errno 28] No space left on device\n"


def test_a_reader_that_has_enough_ends_a_command_without_a_word() -> None:
    first = [*COMMAND, "plan", "--grid", "full"]
    with subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.readline()
        command.stdout.close()
        said = command.stderr.read()
    assert said == ""


def test_a_working_directory_that_was_removed_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); sys.path.insert(0, {str(ROOT)!r}); {COMMAND[2]}"
    line = [sys.executable, "-c", code, "plan", "--grid", "smoke"]
    done = subprocess.run(line, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: the working directory was removed: change to one that exists.\n"
